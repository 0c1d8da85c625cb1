"""Large files on S3: sent in parts, several at once; an interrupted upload is resumed."""

from __future__ import annotations

import hashlib
import math
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spelling_transfer.storage.bundles.stores.base import PART_BYTES, Counter
from spelling_transfer.storage.errors import BundleError, error_code

_MAX_PARTS = 9_000  # of 10,000 that S3 allows


class FileInParts:
    """A file whose parts are known by their hashes."""

    def __init__(self, file: Path, sha256: str) -> None:
        """Reads the file once: S3 checks parts only, so the parts must be known to be those that make up the whole.

        Args:
            file: The file.
            sha256: What the hash of the whole must be.

        Raises:
            BundleError: It is another.
        """
        self.path = file
        self.part_bytes = max(PART_BYTES, math.ceil(file.stat().st_size / _MAX_PARTS / 2**20) << 20)
        whole, self.digests = hashlib.sha256(), list[bytes]()
        with file.open("rb") as stream:
            while part := stream.read(self.part_bytes):
                whole.update(part)
                self.digests.append(hashlib.sha256(part).digest())
        if whole.hexdigest() != sha256:
            raise BundleError(f"{file}: changed while it was read. Run again when nothing writes to it.")

    def read(self, number: int) -> bytes:
        """Returns a part; the first is 1.

        Raises:
            BundleError: It is not what it was.
        """
        with self.path.open("rb") as stream:
            stream.seek((number - 1) * self.part_bytes)
            data = stream.read(self.part_bytes)
        if hashlib.sha256(data).digest() != self.digests[number - 1]:
            raise BundleError(f"{self.path}: changed while it was sent. Run again when nothing does.")
        return data


def send_parts(
    client: Any, bucket: str, key: str, file: FileInParts, *, jobs: int, encryption: dict[str, str], count: Counter
) -> bool:
    """Sends what the server lacks of a file and makes an object of its parts.

    Args:
        client: A client of boto3.
        bucket: The bucket.
        key: The object.
        file: The file.
        jobs: How many parts at once.
        encryption: What to ask for at rest, as arguments of a request.
        count: Called with the bytes of each part.

    Returns:
        Whether the object is there now; not if somebody ended the upload without completing it.

    Raises:
        BundleError: The file changes; nothing can be seen of it.
        botocore.exceptions.ClientError: The server refuses.
    """
    target = {"Bucket": bucket, "Key": key}
    target["UploadId"] = _resume(client, target) or _begin(client, target, encryption)

    def send(number: int) -> dict[str, Any]:
        data, digest = file.read(number), file.digests[number - 1]
        checksum = b64encode(digest).decode()
        part = there.get(number)
        if part is None or not _same_part(part, data, digest):
            part = client.upload_part(**target, PartNumber=number, Body=data, ChecksumSHA256=checksum)
        count(len(data))
        return {"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": checksum}

    try:
        there = {part["PartNumber"]: part for part in _parts(client, target)}
        with ThreadPoolExecutor(jobs) as pool:
            parts = list(pool.map(send, range(1, len(file.digests) + 1)))
        client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
    except client.exceptions.ClientError as error:
        # Somebody who sends the same content has completed it, or an attempt whose answer was lost.
        if error_code(error) not in {"NoSuchUpload", "404"}:
            raise
        return _is_there(client, bucket, key)
    return True


def _begin(client: Any, target: dict[str, str], encryption: dict[str, str]) -> str:
    answer = client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256", **encryption)
    return str(answer["UploadId"])


def _resume(client: Any, target: dict[str, str]) -> str | None:
    answer = client.list_multipart_uploads(Bucket=target["Bucket"], Prefix=target["Key"])
    uploads = [upload for upload in answer.get("Uploads", []) if upload["Key"] == target["Key"]]
    return str(max(uploads, key=lambda upload: upload["Initiated"])["UploadId"]) if uploads else None


def _parts(client: Any, target: dict[str, str]) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_parts").paginate(**target):
        yield from page.get("Parts", [])


def _same_part(part: dict[str, Any], data: bytes, digest: bytes) -> bool:
    if part.get("Size") != len(data):
        return False
    if checksum := part.get("ChecksumSHA256"):
        return b64decode(checksum) == digest
    # A store that does not list checksums lists the MD5, which S3 has as a part's tag.
    return str(part.get("ETag", "")).strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()


def _is_there(client: Any, bucket: str, key: str) -> bool:
    try:
        client.head_object(Bucket=bucket, Key=key)
    except client.exceptions.ClientError as error:
        if error_code(error) not in {"NoSuchKey", "404", "NotFound"}:
            raise
        return False
    return True
