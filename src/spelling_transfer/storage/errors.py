"""What went wrong with a file or an object store, in words that say what to do about it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Literal

from kedro.io import DatasetError

from spelling_transfer.errors import SpellingTransferError, causes, first_line

DOCS = "docs/data_transfer.md"

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
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WHERE = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the entry 's3' of conf/local/credentials.yml"
_REFUSED = f"the credentials are refused ({{code}}). {_WHERE} to ones that are valid there."
_DENIED = f"this identity may not {{action}} there ({{code}}). {DOCS} has the rights that it needs."
_NO_TEXT = (  # the answer to HEAD
    f"refused (403). The credentials are wrong, or they do not allow to {{action}} there. {_WHERE}; {DOCS} has the "
    "rights that they need."
)
_REGION = "the bucket is in another region. Set AWS_DEFAULT_REGION to the bucket's region."
_FULL = "the store is full ({code}). Make room there, and run the same command again."
_TROUBLE = "the store reports a server error ({code}). Run the same command again later{hint}."
_MEANINGS = {
    "NoSuchBucket": "the bucket does not exist. Create it, or correct the name of the bucket.",
    "BadDigest": "the server received other bytes than were sent (BadDigest). Run the same command again.",
    "RequestTimeTooSkewed": "the clock of this machine is wrong ({code}). Set it by the network's time and run again.",
    **dict.fromkeys(("AuthorizationHeaderMalformed", "ExpiredToken", "ExpiredTokenException"), _REFUSED),
    **dict.fromkeys(("InvalidAccessKeyId", "InvalidToken", "RequestExpired"), _REFUSED),
    **dict.fromkeys(("SignatureDoesNotMatch", "TokenRefreshRequired"), _REFUSED),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "UnauthorizedOperation"), _DENIED),
    **dict.fromkeys(("403", "Forbidden"), _NO_TEXT),
    **dict.fromkeys(("301", "PermanentRedirect", "IllegalLocationConstraintException"), _REGION),
    **dict.fromkeys(("XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"), _FULL),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "InternalError", "503", "500", "RequestTimeout"), _TROUBLE),
}
"""What the codes in an S3 server's answers mean, and what to do."""


class RemoteError(SpellingTransferError):
    """An object store cannot be used as it is asked to be."""


class BundleError(SpellingTransferError):
    """A bundle or its manifest is missing or damaged, or cannot be made."""


class DatasetFileError(DatasetError, SpellingTransferError):
    """A dataset's file or folder is missing, damaged, or cannot be written; the message says what to do."""


class DatasetWriteError(DatasetFileError):
    """A dataset cannot be written; what was there before is untouched."""


def cannot_read(location: str, error: Exception, made_by: str = "") -> str:
    """Says that a file cannot be read, why, and what to do about it.

    Args:
        location: The file.
        error: What came back.
        made_by: What makes it, where no node of a pipeline does; see ``made_by`` of the catalog's metadata.
    """
    if (message := explain_remote(error, location, "read")) is not None:
        return message
    command = made_by if made_by.startswith("kedro ") else "kedro run"
    maker = f"'{command}'" if made_by else "the pipeline that makes it"
    chain = list(causes(error))
    known = (each for each in chain if isinstance(each, OSError) and each.filename and each.errno != errno.ENOENT)
    if "://" in location and (here := next(known, None)) is not None:
        if here.errno in _DISK_FULL:
            return cannot_write(str(here.filename), here)  # the copy that this machine keeps of it
        return f"{here.filename} cannot be read or written: {here.strerror or reason(here)}."
    # s3fs says what is missing, and puts the server's own answer behind it.
    missing = any(isinstance(cause, FileNotFoundError) for cause in chain)
    if isinstance(chain[-1], FileNotFoundError) or ("://" in location and missing):
        return f"there is no {location}. Run {maker} first."
    message = f"{location} cannot be read: {reason(error)}."
    # pyarrow reports damaged pages as an OSError of its own, which has no number; those of the system have one.
    root = chain[-1]
    if isinstance(root, ValueError | EOFError) or (isinstance(root, OSError) and root.errno is None):
        message += f" The file was cut short or altered: delete it and run {maker} again."
    return message


def cannot_write(location: str, error: Exception) -> str:
    """Says that a file or folder cannot be written, why, and how much room is left where that is the reason."""
    if (explained := explain_remote(error, location, "write")) is not None:
        return f"{explained} Nothing was left half-written."
    message = f"{location} cannot be written: {reason(error)}."
    if any(isinstance(cause, OSError) and cause.errno in _DISK_FULL for cause in causes(error)):
        folder = next((parent for parent in Path(location).parents if parent.exists()), Path())
        message += f" {shutil.disk_usage(folder).free / 1e6:.0f} MB are free there: make room and run again."
    return f"{message} Nothing was left half-written."


def reason(error: BaseException) -> str:
    """Returns what the system said of an error, else its innermost cause, in one line."""
    *before, root = causes(error)
    # The outermost: a missing folder is made while that is handled, and a page of a failed run is written while its
    # error is, which is at the end of the chain then.
    root = next((one for one in before if isinstance(one, OSError) and one.errno not in (None, errno.ENOENT)), root)
    if isinstance(root, OSError) and root.strerror:
        in_the_way = isinstance(root, FileExistsError | NotADirectoryError | IsADirectoryError) and root.filename
        return f"{root.strerror} ({root.filename2 or root.filename})" if in_the_way else root.strerror
    return first_line(root)


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
            if code not in _MEANINGS:
                return None
            # Servers of other makers than Amazon answer with trouble to a write when they have no room.
            hint = "; on a server of your own, see whether its disk is full" if action == "write" else ""
            return f"{location}: {_MEANINGS[code].format(code=code, action=action, hint=hint)}"
        name = type(cause).__name__
        if name in {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
            return f"{location}: no AWS credentials were found. {_WHERE}."
        if name in {"ProfileNotFound", "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError"}:
            return f"{location}: {str(cause).rstrip('.')}. {_WHERE}."
        if name in {"SSLError", "ClientConnectorCertificateError"}:
            return f"{location}: the certificate of the endpoint cannot be trusted ({first_line(cause)})."
        if name in _UNREACHABLE:
            return (
                f"{location}: the endpoint cannot be reached, or the connection broke ({first_line(cause)}). Check the "
                "network and the endpoint (AWS_ENDPOINT_URL_S3, or 'endpoint_url' in conf/local/credentials.yml), "
                "then run the same command again."
            )
    return None


def error_code(error: BaseException) -> str | None:
    """Returns the code in an S3 server's answer, such as ``NoSuchBucket``, or ``None`` where this is no answer."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict) or not isinstance(response.get("Error"), dict):
        return None
    return str(response["Error"].get("Code") or "") or None
