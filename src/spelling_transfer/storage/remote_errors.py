"""What an object store's refusals mean, in words that say what to do; and that nothing goes to one unencrypted."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

from spelling_transfer.errors import SpellingTransferError, causes

DOCS = "docs/data_transfer.md"

_CREDENTIALS = {
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "UnauthorizedOperation"}
_WHERE = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the entry 's3' of conf/local/credentials.yml"


class RemoteError(SpellingTransferError):
    """An object store cannot be used as it is asked to be."""


def explain_remote(error: BaseException, location: str, action: Literal["read", "write"]) -> str | None:
    """Returns what is wrong with an object store and what to do about it.

    Args:
        error: What came back, with its causes.
        location: What was to be read or written.
        action: Which of the two.

    Returns:
        The message; ``None`` where the error does not come from a store, or only says that one object is missing.
    """
    for cause in causes(error):
        if isinstance(cause, RemoteError):
            return str(cause)
        if code := error_code(cause):
            return _explain_code(code, location, action)
        name = type(cause).__name__
        if name in {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
            return f"{location}: no AWS credentials were found. {_WHERE}."
        if name in {"ProfileNotFound", "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError"}:
            return f"{location}: {str(cause).rstrip('.')}. {_WHERE}."
        if name in {"SSLError", "ClientConnectorCertificateError"}:
            return f"{location}: the certificate of the endpoint cannot be trusted ({_line(cause)})."
        if name in _UNREACHABLE:
            return (
                f"{location}: the endpoint cannot be reached, or the connection broke ({_line(cause)}). Check the "
                "network and the endpoint (AWS_ENDPOINT_URL_S3, or 'endpoint_url' in conf/local/credentials.yml), "
                "then run the same command again."
            )
    return None


_UNREACHABLE = {
    "ClientConnectorError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "EndpointConnectionError",
    "HTTPClientError",
    "IncompleteReadError",
    "ReadTimeoutError",
    "ResponseStreamingError",
}


def error_code(error: BaseException) -> str | None:
    """Returns the code in an S3 server's answer, such as ``NoSuchBucket``, or ``None`` where this is no answer."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict) or not isinstance(response.get("Error"), dict):
        return None
    return str(response["Error"].get("Code") or "") or None


def _explain_code(code: str, location: str, action: str) -> str | None:
    if code == "NoSuchBucket":
        return f"{location}: the bucket does not exist. Create it, or correct the name of the bucket."
    if code in _CREDENTIALS:
        return f"{location}: the credentials are refused ({code}). {_WHERE} to ones that are valid there."
    if code in _DENIED:
        return f"{location}: this identity may not {action} there ({code}). {DOCS} has the rights that it needs."
    if code in {"403", "Forbidden"}:  # the answer to HEAD has no text
        return (
            f"{location}: refused (403). The credentials are wrong, or they do not allow to {action} there. {_WHERE}; "
            f"{DOCS} has the rights that they need."
        )
    if code in {"301", "PermanentRedirect", "IllegalLocationConstraintException"}:
        return f"{location}: the bucket is in another region. Set AWS_DEFAULT_REGION to the bucket's region."
    if code == "BadDigest":
        return f"{location}: the server received other bytes than were sent (BadDigest). Run the same command again."
    if code == "RequestTimeTooSkewed":
        return f"{location}: the clock of this machine is wrong ({code}). Set it by the network's time and run again."
    if code in {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"}:
        return f"{location}: the store is full ({code}). Make room there, and run the same command again."
    if code in {"SlowDown", "ServiceUnavailable", "InternalError", "503", "500", "RequestTimeout"}:
        # Servers of other makers than Amazon answer so to a write when they have no room.
        hint = "; on a server of your own, see whether its disk is full" if action == "write" else ""
        return f"{location}: the store has trouble of its own ({code}). Run the same command again later{hint}."
    return None


def check_transport(filesystem: Any) -> None:
    """Refuses a store that is spoken to without encryption; on this machine itself it may be.

    Args:
        filesystem: An fsspec file system; only those of S3 have an endpoint.

    Raises:
        RemoteError: The endpoint is plain HTTP on another machine.
    """
    options = getattr(filesystem, "storage_options", None) or {}
    endpoint = options.get("endpoint_url") or (options.get("client_kwargs") or {}).get("endpoint_url")
    if "s3" in _protocols(filesystem) and endpoint is None:
        import os

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        check_endpoint(str(endpoint))


def check_endpoint(endpoint: str) -> None:
    """Refuses an endpoint that is plain HTTP on another machine.

    Raises:
        RemoteError: It is, or it is no URL of a web server.
    """
    parts = urlsplit(endpoint)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return
    raise RemoteError(
        f"endpoint_url: {endpoint!r} is not encrypted: an endpoint begins with https://; http:// is allowed for "
        "127.0.0.1 and localhost alone."
    )


def is_loopback_url(url: str) -> bool:
    """Returns whether a URL leads to this machine itself."""
    return _is_loopback(urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = getattr(filesystem, "protocol", ())
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
