"""Bundles on S3 or a store that speaks its language. The server checks the SHA-256 of everything it takes."""

from __future__ import annotations

import hashlib
import math
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

PART_BYTES = 8 << 20
_MAX_PARTS = 9_000  # of 10,000 that S3 allows
_BLOCK_BYTES = 1 << 18
_ATTEMPTS = 6
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_MISSING = {"NoSuchKey", "404", "NotFound"}


class S3Store:
    """Bundles below ``s3://bucket/prefix``."""

    def __init__(self, url: str, *, encryption: str = "auto", jobs: int = 8) -> None:
        """Makes the client; nothing is sent yet.

        Raises:
            StoreError: The URL has no bucket, or the endpoint is plain HTTP on another machine.
        """
        bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not bucket:
            raise StoreError(f"{url}: names no bucket; it is s3://bucket/prefix.")
        self.url = url.rstrip("/")
        self._bucket, self._prefix, self._jobs = bucket, f"{prefix}/" if prefix else "", jobs
        self._client = _make_client(jobs)
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
        part_bytes = max(PART_BYTES, math.ceil(file.stat().st_size / _MAX_PARTS / 2**20) << 20)
        # The whole is hashed first, as S3 checks parts only; the parts must then be those that made up the whole.
        whole, digests = _hash_parts(file, part_bytes)
        if whole != sha256:
            raise ContentChangedError(f"{file}: changed while it was read. Run again when nothing writes to it.")
        for _ in range(_ATTEMPTS):
            if self._put_parts(self._prefix + content_key(sha256), file, part_bytes, digests, count):
                return
        raise StoreError(f"{self.url}: an upload of {file} was ended by somebody else each time. Run again later.")

    def _put_parts(self, key: str, file: Path, part_bytes: int, digests: list[bytes], count: Counter) -> bool:
        """Returns whether the content is there now; not if somebody ended the upload without completing it."""
        target = {"Bucket": self._bucket, "Key": key}
        with self._explained("write", key):
            target["UploadId"] = self._resume(target) or self._begin(target)

            def send(number: int) -> dict[str, Any]:
                with file.open("rb") as stream:
                    stream.seek((number - 1) * part_bytes)
                    data = stream.read(part_bytes)
                if hashlib.sha256(data).digest() != digests[number - 1]:
                    raise ContentChangedError(f"{file}: changed while it was sent. Run again when nothing does.")
                checksum = b64encode(digests[number - 1]).decode()
                part = there.get(number)
                if part is None or not _same_part(part, data, digests[number - 1]):
                    part = self._client.upload_part(**target, PartNumber=number, Body=data, ChecksumSHA256=checksum)
                count(len(data))
                return {"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": checksum}

            try:
                there = {part["PartNumber"]: part for part in self._parts(target)}
                with ThreadPoolExecutor(self._jobs) as pool:
                    parts = list(pool.map(send, range(1, len(digests) + 1)))
                self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
            except self._client.exceptions.ClientError as error:
                # Somebody who sends the same content has completed it, or an attempt whose answer was lost.
                if error_code(error) not in {"NoSuchUpload", "404"}:
                    raise
                return self._is_there(key)
        return True

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
                if failures >= _ATTEMPTS or not _may_pass(error.__cause__):
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
            now = _server_time(answer)
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
                now = _server_time(page)
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

    def _begin(self, target: dict[str, str]) -> str:
        answer = self._client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256", **self._encryption)
        return str(answer["UploadId"])

    def _resume(self, target: dict[str, str]) -> str | None:
        answer = self._client.list_multipart_uploads(Bucket=target["Bucket"], Prefix=target["Key"])
        uploads = [upload for upload in answer.get("Uploads", []) if upload["Key"] == target["Key"]]
        return str(max(uploads, key=lambda upload: upload["Initiated"])["UploadId"]) if uploads else None

    def _parts(self, target: dict[str, str]) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator("list_parts").paginate(**target):
            yield from page.get("Parts", [])

    def _is_there(self, key: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=key)
        except self._client.exceptions.ClientError as error:
            if error_code(error) not in _MISSING:
                raise
            return False
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


def _make_client(jobs: int) -> Any:
    import boto3
    import fsspec
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    options: dict[str, Any] = dict(fsspec.config.conf.get("s3", {}))
    more = dict(options.get("client_kwargs") or {})
    config = Config(
        max_pool_connections=jobs + 2,
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
        # SHA-256 is sent with everything and compared with the manifest after everything: a second sum adds nothing.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    ).merge(Config(**(options.get("config_kwargs") or {})))
    try:
        session = boto3.Session(
            aws_access_key_id=options.get("key"),
            aws_secret_access_key=options.get("secret"),
            aws_session_token=options.get("token"),
            profile_name=options.get("profile"),
            region_name=more.get("region_name"),
        )
        endpoint = options.get("endpoint_url") or more.get("endpoint_url")
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(explain_remote(error, "s3", "read") or f"s3: {error}.") from error


def _hash_parts(file: Path, part_bytes: int) -> tuple[str, list[bytes]]:
    whole, digests = hashlib.sha256(), []
    with file.open("rb") as stream:
        while part := stream.read(part_bytes):
            whole.update(part)
            digests.append(hashlib.sha256(part).digest())
    return whole.hexdigest(), digests


def _same_part(part: dict[str, Any], data: bytes, digest: bytes) -> bool:
    if part.get("Size") != len(data):
        return False
    if checksum := part.get("ChecksumSHA256"):
        return b64decode(checksum) == digest
    # A store that does not list checksums lists the MD5, which S3 has as a part's tag.
    return str(part.get("ETag", "")).strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()


def _server_time(answer: dict[str, Any]) -> float:
    from email.utils import parsedate_to_datetime

    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()


def _may_pass(error: BaseException | None) -> bool:
    # What the server has decided stays decided; what happened on the way may not happen again.
    code = error_code(error) if error is not None else None
    return code is None or code in {"SlowDown", "InternalError", "ServiceUnavailable", "500", "503", "RequestTimeout"}
