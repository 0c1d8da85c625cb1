"""Credentials and endpoint of an object store, set once for every dataset: the catalog names neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from spelling_transfer.storage.remote_errors import RemoteError

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

    options = {**_DEFAULTS, **_read_entry(conf_source, env)}
    fsspec.config.conf[_ENTRY] = options


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
    return {str(key): value for key, value in entry.items()}
