"""How files elsewhere are reached: credentials and endpoint, set once for every dataset, encrypted on the way."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from kedro_lightning import clean_secret, clean_variables
from spelling_transfer.files import write_bytes
from spelling_transfer.storage.errors import RemoteError

_ENTRY = "s3"
_ALLOWED = (
    "key",
    "secret",
    "token",
    "profile",
    "endpoint_url",
    "client_kwargs",
    "config_kwargs",
    "s3_additional_kwargs",
)
_DEFAULTS: dict[str, Any] = {
    # A listing that is kept in memory does not see what another machine has written since.
    "use_listings_cache": False,
    "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 6, "mode": "standard"}},
}


def set_up_stores(conf_source: Path, env: str | None) -> None:
    """Makes ``s3://`` work everywhere in this process.

    By default that is AWS's own chain (variables, profile, role of the machine), with ``AWS_ENDPOINT_URL_S3`` for a
    store that is not Amazon's. An entry ``s3`` in the environment's ``credentials.yml``, else in
    ``conf/local/credentials.yml``, comes before it; its keys are those of ``s3fs.S3FileSystem``.

    Raises:
        RemoteError: The entry has an unknown key or no value; the message never shows a value.
    """
    import fsspec

    clean_variables("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    fsspec.config.conf[_ENTRY] = {**_DEFAULTS, **_read_entry(conf_source, env)}


def _read_entry(conf_source: Path, env: str | None) -> dict[str, Any]:
    for folder in dict.fromkeys([env or "local", "local"]):
        for file in sorted((conf_source / folder).glob("credentials*.y*ml")):
            try:
                content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                # The parser's own message quotes the line, which may hold a secret.
                raise RemoteError(f"{file}: cannot be read as YAML ({type(error).__name__}).") from None
            if isinstance(content, dict) and content.get(_ENTRY) is not None:
                return _check(file, content[_ENTRY])
    return {}


def _check(file: Path, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise RemoteError(f"{file}: '{_ENTRY}' holds keys and values: {', '.join(_ALLOWED)}.")
    if unknown := sorted(set(map(str, entry)) - set(_ALLOWED)):
        raise RemoteError(f"{file}: {_ENTRY}.{unknown[0]} is unknown. Known: {', '.join(_ALLOWED)}.")
    if ("key" in entry) != ("secret" in entry):
        raise RemoteError(f"{file}: {_ENTRY} needs both 'key' and 'secret', or neither.")
    return {str(key): clean_secret(value) if isinstance(value, str) else value for key, value in entry.items()}


def check_transport(filesystem: Any) -> None:
    """Refuses a store that is spoken to without encryption; on this machine itself it may be.

    Args:
        filesystem: An fsspec file system; only those of S3 have an endpoint.

    Raises:
        RemoteError: The endpoint is plain HTTP on another machine.
    """
    options = getattr(filesystem, "storage_options", None) or {}
    endpoint = options.get("endpoint_url") or (options.get("client_kwargs") or {}).get("endpoint_url")
    if "s3" in protocols(filesystem) and endpoint is None:
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
    if parts.scheme == "http" and is_loopback_url(endpoint):
        return
    shown = endpoint.rpartition("@")[2]  # without a password
    raise RemoteError(
        f"endpoint_url: {shown!r} is not encrypted: an endpoint begins with https://; http:// is allowed for "
        "127.0.0.1 and localhost alone."
    )


def is_loopback_url(url: str) -> bool:
    """Returns whether a URL leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def protocols(filesystem: Any) -> tuple[str, ...]:
    """Returns the schemes of URLs that a file system serves."""
    protocol = getattr(filesystem, "protocol", ())
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def write_whole(filesystem: Any, path: str, data: bytes) -> None:
    """Writes a small file of an fsspec file system, whole or not at all; an object store writes no other way."""
    if "file" in protocols(filesystem):
        write_bytes(Path(path), data)
    else:
        filesystem.pipe_file(path, data)


def cache_folder() -> Path:
    """Returns where copies of remote content are kept: ``SPELLING_TRANSFER_CACHE``, else below the user's cache."""
    if own := os.environ.get("SPELLING_TRANSFER_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spelling-transfer"
