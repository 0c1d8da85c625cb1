"""A real S3 server, once for all tests of a session, and a clean place on it for each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import WRITER, S3Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The server, with the bucket ``data`` and two identities."""
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A fresh prefix, ``s3://data/…``, with the writer's keys in the environment and a cache of the test's own."""
    import s3fs

    use_identity(s3_server, monkeypatch)
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    yield f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"
    s3fs.S3FileSystem.clear_instance_cache()


def use_identity(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, *identity: Any, endpoint: str | None = None
) -> None:
    """Puts keys and endpoint into the environment, and nothing of an earlier identity is kept."""
    import fsspec
    import s3fs

    for name, value in server.environment(*(identity or [WRITER]), endpoint=endpoint).items():
        monkeypatch.setenv(name, value)
    fast = {"connect_timeout": 2, "read_timeout": 20, "retries": {"max_attempts": 1}}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"use_listings_cache": False, "config_kwargs": fast})
    s3fs.S3FileSystem.clear_instance_cache()
