"""Bundles on S3 or a store that speaks its language. The server checks the SHA-256 of everything it takes."""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from spelling_transfer.storage.remote_errors import check_endpoint, error_code, explain_remote, is_loopback_url
from spelling_transfer.storage.stores.base import (
    FILES,
    LOCKS,
    MANIFESTS,
    ContentChangedError,
    Counter,
    Sink,
    Stored,
    StoreError,
    content_key,
    manifest_key,
)
from spelling_transfer.storage.stores.s3_client import ATTEMPTS, make_client, server_time
from spelling_transfer.storage.stores.s3_parts import FileInParts, send_parts

_BLOCK_BYTES = 1 << 18
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_MISSING = {"NoSuchKey", "404", "NotFound"}


class S3Store:
    """Bundles below ``s3://bucket/prefix``."""

    def __init__(self, url: str, *, encryption: str = "auto", jobs: int = 8) -> None:
        """Makes the client; nothing is sent yet.

        Raises:
            StoreError: The URL has no bucket or leads out of it, or the endpoint is plain HTTP on another machine.
        """
        bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise StoreError(f"{url}: names no bucket; it is s3://bucket/prefix.")
        if prefix and any(part in {"", ".", ".."} for part in prefix.split("/")):
            raise StoreError(f"{url}: a prefix has no empty part, no '.' and no '..'; it is s3://bucket/prefix.")
        self.url = url.rstrip("/")
        self._bucket, self._prefix, self._jobs = bucket, f"{prefix}/" if prefix else "", jobs
        self._client = make_client(jobs + 2)
        endpoint = str(self._client.meta.endpoint_url)
        check_endpoint(endpoint)
        if encryption == "auto":
            encryption = "none" if is_loopback_url(endpoint) else "AES256"
        self._encryption = {} if encryption == "none" else {"ServerSideEncryption": encryption}

    def list_content(self) -> dict[str, Stored]:
        """Returns what content is there, by its hash."""
        return {key.rsplit("/", 1)[-1]: stored for key, stored in self._list(FILES)}

    def put_bytes(self, sha256: str, data: bytes) -> None:
        """Stores content that is in memory; the server refuses it if its hash is another."""
        self._put(content_key(sha256), data, sha256)

    def put_file(self, sha256: str, file: Path, count: Counter) -> None:
        """Stores a large file in parts, several at once, and goes on where an earlier attempt was cut off."""
        parts, key = FileInParts(file, sha256), self._prefix + content_key(sha256)
        for _ in range(ATTEMPTS):
            with self._explained("write", key):
                if send_parts(
                    self._client, self._bucket, key, parts, jobs=self._jobs, encryption=self._encryption, count=count
                ):
                    return
        raise StoreError(f"{self.url}: an upload of {file} was ended by somebody else each time. Run again later.")

    def get_content(self, sha256: str, target: Path, sink: Sink) -> None:
        """Appends to ``target`` what it lacks of some content; goes on where a connection breaks."""
        key = self._prefix + content_key(sha256)
        failures = 0
        while True:
            have = target.stat().st_size if target.exists() else 0
            try:
                with self._explained("read", key):
                    if self._append(key, target, have, sink):
                        return
            except StoreError as error:
                grown = (target.stat().st_size if target.exists() else 0) > have
                failures = 0 if grown else failures + 1
                if failures >= ATTEMPTS or not _may_pass(error.__cause__):
                    raise
                time.sleep(min(0.1 * 2**failures, 3.0))

    def delete_content(self, hashes: Iterable[str]) -> None:
        """Removes content, a thousand objects a request."""
        keys = [{"Key": self._prefix + content_key(sha256)} for sha256 in hashes]
        for start in range(0, len(keys), 1000):
            with self._explained("write", FILES):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": keys[start : start + 1000], "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise StoreError(f"{self.url}: {errors[0].get('Key')} cannot be removed ({errors[0].get('Code')}).")

    def list_manifests(self) -> list[int]:
        """Returns the numbers of the versions, the oldest first."""
        names = (key.rsplit("/", 1)[-1].removesuffix(".json") for key, _ in self._list(MANIFESTS))
        return sorted(int(name) for name in names if name.isdigit())

    def read_manifest(self, number: int) -> bytes:
        """Returns a version's manifest."""
        return self._read(manifest_key(number))

    def create_manifest(self, number: int, data: bytes) -> bool:
        """Writes a version's manifest by a conditional put, unless that number is taken."""
        try:
            self._put(manifest_key(number), data, hashlib.sha256(data).hexdigest(), IfNoneMatch="*")
        except StoreError as error:
            if error_code(error.__cause__ or error) not in _CONFLICT:
                raise
            # The answer to a first attempt may have been lost on the way: then what is there is ours.
            return self.read_manifest(number) == data
        return True

    def delete_manifest(self, number: int) -> None:
        """Removes a version's manifest."""
        self._delete(manifest_key(number))

    def put_lock(self, name: str, data: bytes) -> None:
        """Writes a lock, or writes it again to keep it young."""
        self._put(f"{LOCKS}/{name}", data, hashlib.sha256(data).hexdigest())

    def list_locks(self) -> dict[str, Stored]:
        """Returns the locks by name."""
        return {key.rsplit("/", 1)[-1]: stored for key, stored in self._list(LOCKS)}

    def read_lock(self, name: str) -> bytes:
        """Returns what a lock says; nothing if it is gone."""
        try:
            return self._read(f"{LOCKS}/{name}")
        except FileNotFoundError:
            return b""

    def delete_lock(self, name: str) -> None:
        """Removes a lock, if it is there."""
        self._delete(f"{LOCKS}/{name}")

    def clean_up(self, older_than_seconds: float) -> int:
        """Ends uploads in parts that were begun long ago: their parts are stored and paid for, and nobody sees them."""
        removed = 0
        with self._explained("write", FILES):
            answer = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=f"{self._prefix}{FILES}/")
            now = server_time(answer)
            for upload in answer.get("Uploads", []):
                if now - upload["Initiated"].timestamp() > older_than_seconds:
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    removed += 1
        return removed

    def _put(self, key: str, data: bytes, sha256: str, **conditions: str) -> None:
        checksum = b64encode(bytes.fromhex(sha256)).decode()
        with self._explained("write", key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=data,
                ChecksumSHA256=checksum,
                **self._encryption,
                **conditions,
            )

    def _read(self, key: str) -> bytes:
        with self._explained("read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            with closing(answer["Body"]) as body:
                return bytes(body.read())

    def _delete(self, key: str) -> None:
        with self._explained("write", key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def _list(self, folder: str) -> Iterator[tuple[str, Stored]]:
        with self._explained("read", folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/"
            )
            for page in pages:
                now = server_time(page)
                for entry in page.get("Contents", []):
                    yield entry["Key"], Stored(int(entry["Size"]), now - entry["LastModified"].timestamp())

    def _append(self, key: str, target: Path, have: int, sink: Sink) -> bool:
        extra = {"Range": f"bytes={have}-"} if have else {}
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **extra)
        except self._client.exceptions.ClientError as error:
            if error_code(error) in {"InvalidRange", "416"}:  # all of it is there, or more than all of it
                return True
            raise
        with closing(answer["Body"]) as body, target.open("ab") as out:
            for block in body.iter_chunks(_BLOCK_BYTES):
                out.write(block)
                sink(block)
        return True

    @contextmanager
    def _explained(self, action: Any, key: str) -> Iterator[None]:
        try:
            yield
        except (StoreError, ContentChangedError):
            raise
        except Exception as error:
            where = f"s3://{self._bucket}/{key if key.startswith(self._prefix) else self._prefix + key}"
            code = error_code(error)
            if code in _MISSING and action == "read":
                raise _MissingError(
                    f"{where}: a version refers to it, and it is missing. Push the bundle again from a folder that "
                    "has it."
                ) from error
            message = explain_remote(error, where, action)
            if message is None and code is None:
                raise
            raise StoreError(message or f"{where}: the store refuses ({code}: {error}).") from error


class _MissingError(StoreError, FileNotFoundError):
    pass


def _may_pass(error: BaseException | None) -> bool:
    # What the server has decided stays decided; what happened on the way may not happen again.
    code = error_code(error) if error is not None else None
    return code is None or code in {"SlowDown", "InternalError", "ServiceUnavailable", "500", "503", "RequestTimeout"}
