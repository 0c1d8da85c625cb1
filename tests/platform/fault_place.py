"""Where faults are played: a server behind a proxy, folders to send, children to kill, and what must hold then."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import s3fs
from faulty_proxy import FaultyProxy
from s3_server import WRITER, S3Server

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import write_manifest
from spelling_transfer.storage import ModelFolderDataset, ParquetDataset, open_store, pull_bundle, push_bundle
from spelling_transfer.storage.bundles.local_files import RECORD, STAGING
from spelling_transfer.storage.bundles.verify import verify_bundle, verify_store

PART = 8 << 20
_CHILD = Path(__file__).with_name("fault_child.py")
_REQUESTS_BYTES = 200_000  # listings, the manifest, headers
_COMPARABLE_BYTES = 2_000_000  # below this the requests outweigh the content


@dataclass
class Outcome:
    """What a round showed.

    Attributes:
        kind: The fault.
        interrupted: Whether it came before the work was done.
        missing_bytes: Content that was missing when the work was resumed; ``None`` where nothing was.
        moved_bytes: Bytes that went over the wire then, requests included.
        seconds: How long the round took.
    """

    kind: str
    interrupted: bool = False
    missing_bytes: int | None = None
    moved_bytes: int | None = None
    seconds: float = 0.0


def worst_ratio(outcomes: Iterable[Outcome]) -> float:
    """Returns the most bytes that a resumed transfer moved, as a multiple of those that were missing."""
    return max(
        (
            (outcome.moved_bytes or 0) / outcome.missing_bytes
            for outcome in outcomes
            if outcome.missing_bytes is not None and outcome.missing_bytes >= _COMPARABLE_BYTES
        ),
        default=0.0,
    )


class FaultPlace:
    """A server behind a proxy, and a folder to work in.

    Args:
        place: Where to work.
        seed: Of the moments and the data.
        scale: Large files of so many parts beside the small ones.
    """

    def __init__(self, place: Path, seed: int = 0, scale: int = 1) -> None:
        # Uploads that lose their connection leave tasks behind that asyncio would report one by one.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        # A killed server comes back only after the transfer has given up, so it may give up soon.
        patience = {"connect_timeout": 2, "read_timeout": 20, "retries": {"max_attempts": 2, "mode": "standard"}}
        fsspec.config.conf["s3"] = {"use_listings_cache": False, "config_kwargs": patience}
        self.place, self.scale = place, scale
        self.random = random.Random(seed)
        self.server = S3Server(folder=made(place / "server")).start()
        self.proxy = FaultyProxy(self.server.port)
        self.number = 0
        self.next_round()

    def next_round(self) -> None:
        """Makes a folder and a prefix that no round before has used."""
        self.number += 1
        self.work = made(self.place / f"round{self.number}")
        self.url = f"s3://{self.server.bucket}/round{self.number}"
        self.proxy.bytes_per_second = self.proxy.cut_between = None

    def close(self) -> None:
        """Ends server and proxy."""
        self.proxy.close()
        self.server.stop()

    # What must hold --------------------------------------------------------------------------------------------------

    def _check_versions(self) -> None:
        """A version that is listed is whole."""
        store = self._store()
        for number in store.list_manifests():
            assert verify_store(store, number)[1] == []

    def _check_target(self, target: Path, allowed: list[dict[str, bytes]]) -> None:
        """A file that is seen is one of a version, whole; a folder that says what it is, is that."""

        for name, data in files(target).items():
            assert data in [version[name] for version in allowed if name in version], f"{name} is partial"
        if (target / RECORD).exists():
            assert verify_bundle(str(target / RECORD)) == []

    def _finish_push(self, source: Path, outcome: Outcome) -> None:
        time.sleep(0.2)  # the server may still be at what it has received
        hashes = {digest_of(data): len(data) for data in files(source).values()}
        there = self._store().list_content()
        missing = sum(size for sha256, size in hashes.items() if sha256 not in there) - self._parts_there(hashes, there)
        before = self.proxy.sent_bytes
        self._push(source)
        outcome.missing_bytes, outcome.moved_bytes = missing, self.proxy.sent_bytes - before
        self._check_moved(outcome)
        self._check_versions()

    def _finish_pull(self, source: Path, target: Path, outcome: Outcome) -> None:
        staged = {path.name: path.stat().st_size for path in target.glob(f"{STAGING}/*") if len(path.name) >= 64}
        here = {digest_of(data) for data in files(target).values()}
        hashes = {digest_of(data): len(data) for data in files(source).values()}
        missing = sum(
            size - staged.get(sha256, staged.get(f"{sha256}.partial", 0))
            for sha256, size in hashes.items()
            if sha256 not in here
        )
        before = self.proxy.received_bytes
        self._pull(target)
        outcome.missing_bytes, outcome.moved_bytes = missing, self.proxy.received_bytes - before
        self._check_moved(outcome)
        assert files(target) == files(source)

    def _check_moved(self, outcome: Outcome) -> None:
        assert outcome.moved_bytes is not None
        assert outcome.missing_bytes is not None
        assert outcome.moved_bytes <= 1.1 * outcome.missing_bytes + _REQUESTS_BYTES, (
            f"{outcome.moved_bytes} bytes for {outcome.missing_bytes} that were missing"
        )

    def _parts_there(self, hashes: dict[str, int], there: Any) -> int:
        client, total = self.server.client(), 0
        uploads = client.list_multipart_uploads(Bucket=self.server.bucket, Prefix=f"round{self.number}/").get(
            "Uploads", []
        )
        latest: dict[str, Any] = {}
        for upload in sorted(uploads, key=lambda upload: upload["Initiated"]):
            latest[upload["Key"]] = upload
        for key, upload in latest.items():
            if key.rsplit("/", 1)[-1] in hashes and key.rsplit("/", 1)[-1] not in there:
                parts = client.list_parts(Bucket=self.server.bucket, Key=key, UploadId=upload["UploadId"])
                total += sum(part["Size"] for part in parts.get("Parts", []))
        return total

    # Tools -----------------------------------------------------------------------------------------------------------

    def _make_source(self, name: str = "source", *, large: bool = True) -> Path:
        folder = self.work / name
        for number in range(30):
            file = folder / f"part{number % 3}" / f"{number}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.random.randbytes(self.random.randrange(1, 200_000)))
        (folder / "empty").touch()
        if large:
            (folder / "model.safetensors").write_bytes(self.random.randbytes(PART * self.scale + PART // 2))
        return folder

    def _change(self, folder: Path) -> None:
        for number in (1, 5, 7):
            (folder / f"part{number % 3}" / f"{number}.bin").write_bytes(self.random.randbytes(150_000))
        (folder / "part0" / "0.bin").unlink()

    def _make_model(self, name: str) -> Path:
        folder = made(self.work / name)
        (folder / "config.json").write_text(json.dumps({"name": name}))
        (folder / "model.safetensors").write_bytes(self.random.randbytes(6_000_000))
        write_manifest(folder, {"name": name})
        return folder

    def _moment(self, most_seconds: float) -> float:
        return self.random.random() ** 1.5 * most_seconds

    def _environment(self, identity: Any = WRITER) -> dict[str, str]:
        return {
            **self.server.environment(identity, endpoint=self.proxy.endpoint),
            "SPELLING_TRANSFER_CACHE": str(self.work / "cache"),
        }

    def _store(self, identity: Any = WRITER) -> Any:
        os.environ.update(self._environment(identity))
        return open_store(self.url)

    def _push(self, source: Path, store: Any = None) -> None:
        push_bundle(source, store or self._store())

    def _pull(self, target: Path, number: int | None = None) -> None:
        pull_bundle(self._store(), target, number=number)

    def _table(self, filepath: str) -> Any:
        os.environ.update(self._environment())
        s3fs.S3FileSystem.clear_instance_cache()  # its connections may be dead
        return ParquetDataset(filepath=filepath)

    def _load_table(self, filepath: str) -> Any:
        return self._table(filepath).load()

    def _load_model(self) -> str:
        os.environ.update(self._environment())
        s3fs.S3FileSystem.clear_instance_cache()
        folder = ModelFolderDataset(filepath=f"{self.url}/model").load()
        return str(json.loads((folder.path / "config.json").read_text())["name"])

    def _try(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except SpellingTransferError:  # one clear error, whatever broke
            return False
        return True

    @contextmanager
    def _server_dies(self, after_seconds: float) -> Iterator[None]:
        def die() -> None:
            self.server.kill()
            self.proxy.cut_all()

        timer = threading.Timer(after_seconds, die)
        timer.start()
        try:
            yield
        finally:
            timer.join()
            self.server.start()

    def _start(self, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(_CHILD), *map(str, arguments)]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **self._environment()},
        )  # fmt: skip
        assert child.stdout is not None
        line = child.stdout.readline()
        if line.strip() != "ready":
            raise RuntimeError(child.communicate()[1][-2000:])
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
        return child

    def _go(self, child: subprocess.Popen[str]) -> Any:
        out, errors = child.communicate()
        if child.returncode:
            raise RuntimeError(errors[-2000:])
        return json.loads(out)["done"]

    def _child(self, *arguments: object, kill_after: float | None = None) -> Any:
        """Returns what the child did, or ``None`` if it was killed before it was done."""
        child = self._start(*arguments)
        if kill_after is None:
            return self._go(child)
        time.sleep(kill_after)
        child.kill()
        out, _ = child.communicate()
        return json.loads(out)["done"] if out.strip() else None


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Returns what a reader sees: files under their names, not what a transfer keeps for itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".bundle." not in str(path.relative_to(folder)) and not path.name.endswith(".partial")
    }


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def value(frame: Any) -> int:
    values = set(frame["value"])
    assert len(frame) == 2_000_000
    assert len(values) == 1
    return int(values.pop())
