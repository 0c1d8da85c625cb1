"""Bundles on S3 or a store that speaks its language. The server checks the SHA-256 of everything it takes."""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

from spelling_transfer.storage.access import check_endpoint, is_loopback_url
from spelling_transfer.storage.bundles.stores.base import (
    FILES,
    BundleStore,
    Counter,
    MissingError,
    Receiver,
    Stored,
    StoreError,
    content_key,
)
from spelling_transfer.storage.bundles.stores.s3_parts import FileInParts, send_parts
from spelling_transfer.storage.errors import BundleError, error_code, explain_remote

_ATTEMPTS = 6
_BLOCK_BYTES = 1 << 18
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_MISSING = {"NoSuchKey", "404", "NotFound"}
_TEMPORARY = {"SlowDown", "InternalError", "ServiceUnavailable", "500", "503", "RequestTimeout"}


class S3Store(BundleStore):
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
        self._client = _make_client(jobs + 2)
        endpoint = str(self._client.meta.endpoint_url)
        check_endpoint(endpoint)
        if encryption == "auto":
            encryption = "none" if is_loopback_url(endpoint) else "AES256"
        self._encryption = {} if encryption == "none" else {"ServerSideEncryption": encryption}

    def put_file(self, sha256: str, file: Path, count: Counter) -> None:
        """Stores a large file in parts, several at once, without those that an earlier attempt has sent."""
        parts, key = FileInParts(file, sha256), self._prefix + content_key(sha256)
        for _ in range(_ATTEMPTS):
            with self._explained("write", key):
                if send_parts(
                    self._client, self._bucket, key, parts, jobs=self._jobs, encryption=self._encryption, count=count
                ):
                    return
        raise StoreError(f"{self.url}: an upload of {file} was ended by another process each time. Run again later.")

    def get_content(self, sha256: str, target: Path, receive: Receiver) -> None:
        """Appends to ``target`` what it lacks of some content; resumes where a connection breaks."""
        key = self._prefix + content_key(sha256)
        failures = 0
        while True:
            have = _size(target)
            try:
                with self._explained("read", key):
                    return self._append(key, target, have, receive)
            except StoreError as error:
                failures = 0 if _size(target) > have else failures + 1
                if failures >= _ATTEMPTS or not _is_temporary(error.__cause__):
                    raise
                time.sleep(min(0.1 * 2**failures, 3.0))

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

    def _list(self, folder: str) -> Iterator[tuple[str, Stored]]:
        with self._explained("read", folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/"
            )
            for page in pages:
                now = _server_time(page)
                for entry in page.get("Contents", []):
                    age = now - entry["LastModified"].timestamp()
                    yield entry["Key"].rsplit("/", 1)[-1], Stored(int(entry["Size"]), age)

    def _read(self, key: str) -> bytes:
        with self._explained("read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            with closing(answer["Body"]) as body:
                return bytes(body.read())

    def _write(self, key: str, data: bytes, sha256: str, **conditions: str) -> None:
        with self._explained("write", key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=data,
                ChecksumSHA256=b64encode(bytes.fromhex(sha256)).decode(),
                **self._encryption,
                **conditions,
            )

    def _create(self, key: str, data: bytes) -> bool:
        try:
            self._write(key, data, hashlib.sha256(data).hexdigest(), IfNoneMatch="*")
        except StoreError as error:
            if error_code(error.__cause__ or error) not in _CONFLICT:
                raise
            # The answer to a first attempt may have been lost on the way: then what is there is ours.
            return self._read(key) == data
        return True

    def _delete(self, keys: Sequence[str]) -> None:
        if len(keys) == 1:
            with self._explained("write", keys[0]):
                self._client.delete_object(Bucket=self._bucket, Key=self._prefix + keys[0])
            return
        for start in range(0, len(keys), 1000):
            objects = [{"Key": self._prefix + key} for key in keys[start : start + 1000]]
            with self._explained("write", FILES):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            if errors := answer.get("Errors"):
                raise StoreError(f"{self.url}: {errors[0].get('Key')} cannot be removed ({errors[0].get('Code')}).")

    def _append(self, key: str, target: Path, have: int, receive: Receiver) -> None:
        extra = {"Range": f"bytes={have}-"} if have else {}
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **extra)
        except self._client.exceptions.ClientError as error:
            if error_code(error) in {"InvalidRange", "416"}:  # all of it is there, or more than all of it
                return
            raise
        with closing(answer["Body"]) as body, target.open("ab") as out:
            for block in body.iter_chunks(_BLOCK_BYTES):
                out.write(block)
                receive(block)

    @contextmanager
    def _explained(self, action: Literal["read", "write"], key: str) -> Iterator[None]:
        try:
            yield
        except BundleError:
            raise
        except Exception as error:
            where = f"s3://{self._bucket}/{key if key.startswith(self._prefix) else self._prefix + key}"
            code = error_code(error)
            if code in _MISSING and action == "read":
                raise MissingError(
                    f"{where}: a version refers to it, and it is missing. Push the bundle again from a folder that "
                    "has it."
                ) from error
            message = explain_remote(error, where, action)
            if message is None and code is None:
                raise
            raise StoreError(message or f"{where}: the store refuses ({code}: {error}).") from error


def _make_client(connections: int) -> Any:
    """Returns a client of boto3 with the credentials and the endpoint of every dataset; nothing is sent yet."""
    import boto3
    import fsspec
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    options: dict[str, Any] = dict(fsspec.config.conf.get("s3", {}))
    more = dict(options.get("client_kwargs") or {})
    config = Config(
        max_pool_connections=connections,
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
        # SHA-256 is sent with everything and compared with the manifest after everything: a second sum adds nothing.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    ).merge(Config(**(options.get("config_kwargs") or {})))
    try:
        core = Session()
        # Each object of a listing has a time, and the parser that guesses its form costs more than all the rest of it.
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_time)
        session = boto3.Session(
            aws_access_key_id=options.get("key"),
            aws_secret_access_key=options.get("secret"),
            aws_session_token=options.get("token"),
            profile_name=options.get("profile"),
            region_name=more.get("region_name"),
            botocore_session=core,
        )
        endpoint = options.get("endpoint_url") or more.get("endpoint_url")
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(explain_remote(error, "s3", "read") or f"s3: {error}.") from error


def _parse_time(value: Any) -> datetime:
    """Returns a time in a server's answer: ISO 8601 in its body, another form in its headers."""
    with suppress(TypeError, ValueError):
        if (found := datetime.fromisoformat(value)).tzinfo is not None:
            return found
    from botocore.utils import parse_timestamp

    parsed: datetime = parse_timestamp(value)
    return parsed


def _server_time(answer: dict[str, Any]) -> float:
    """Returns the time of an answer by the server's clock, in seconds."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _is_temporary(error: BaseException | None) -> bool:
    # What the server has decided stays decided; what happened on the way may not happen again.
    code = error_code(error) if error is not None else None
    return code is None or code in _TEMPORARY
