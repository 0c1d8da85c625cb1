"""Rounds of faults: something is killed or cut at a random moment; then what is visible must be whole.

Each round raises ``AssertionError`` if corrupt or partial data could be seen, if acknowledged data is gone, or if going
on sends much more than was missing.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
from faulty_proxy import FaultyProxy
from s3_server import READER, SMALL, WRITER, WRONG, S3Server

_CHILD = Path(__file__).with_name("fault_child.py")
_REQUESTS_BYTES = 200_000  # listings, the manifest, headers
_PART = 8 << 20


@dataclass
class Outcome:
    """What a round showed.

    Attributes:
        kind: The fault.
        interrupted: Whether it came before the work was done.
        missing_bytes: Content that was missing when the work went on; ``None`` where nothing went on.
        moved_bytes: Bytes that went over the wire then, requests included.
        seconds: How long the round took.
    """

    kind: str
    interrupted: bool = False
    missing_bytes: int | None = None
    moved_bytes: int | None = None
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class FaultRounds:
    """A server behind a proxy, a folder to push, and the faults."""

    def __init__(self, place: Path, seed: int = 0, scale: int = 1) -> None:
        """Starts the server.

        Args:
            place: Where to work.
            seed: Of the moments and the data.
            scale: Large files of so many parts beside the small ones.
        """
        # Uploads that lose their connection leave tasks behind that asyncio would tell of one by one.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        # A killed server comes back only after the transfer has given up, so it may give up soon.
        patience = {"connect_timeout": 2, "read_timeout": 20, "retries": {"max_attempts": 2, "mode": "standard"}}
        fsspec.config.conf["s3"] = {"use_listings_cache": False, "config_kwargs": patience}
        self.place, self.scale = place, scale
        self.random = random.Random(seed)
        self.server = S3Server(folder=_made(place / "server")).start()
        self.proxy = FaultyProxy(self.server.port)
        self.number = 0
        self.kinds: dict[str, Callable[[Outcome], None]] = {
            "client killed in push": self._killed_push,
            "client killed in pull": self._killed_pull,
            "server killed in push": self._server_killed_in_push,
            "server killed in pull": self._server_killed_in_pull,
            "client killed in save of a table": self._killed_save,
            "client killed in save of a model": self._killed_model,
            "server killed in save": self._server_killed_in_save,
            "client killed in local save": self._killed_local_save,
            "connections cut": self._cut_connections,
            "slow connections": self._slow_connections,
            "two pushers at once": self._two_pushers,
            "byte flipped at rest": self._flipped_byte,
            "wrong secret": self._wrong_secret,
            "read-only identity": self._read_only,
            "wrong digest": self._wrong_digest,
            "full disk": self._full_disk,
            "full disk of the server": self._full_server,
        }

    def close(self) -> None:
        """Ends server and proxy."""
        self.proxy.close()
        self.server.stop()

    def run(self, kind: str) -> Outcome:
        """Plays one fault."""
        self.number += 1
        outcome, begun = Outcome(kind), time.perf_counter()
        self.work = _made(self.place / f"round{self.number}")
        self.url = f"s3://{self.server.bucket}/round{self.number}"
        self.proxy.bytes_per_second = self.proxy.cut_between = None
        try:
            self.kinds[kind](outcome)
        finally:
            self.proxy.bytes_per_second = self.proxy.cut_between = None
            shutil.rmtree(self.work, ignore_errors=True)
        outcome.seconds = time.perf_counter() - begun
        return outcome

    # Killed clients ------------------------------------------------------------------------------------------------

    def _killed_push(self, outcome: Outcome) -> None:
        source = self._make_source()
        outcome.interrupted = self._child("push", source, self.url, kill_after=self._moment(0.9)) is None
        self._check_versions()
        self._finish_push(source, outcome)

    def _killed_pull(self, outcome: Outcome) -> None:
        source, target = self._make_source(), self.work / "target"
        self._push(source)
        if self.random.random() < 0.5:  # over an older version
            self._pull(target)
            self._change(source)
            self._push(source)
        old = _files(target)
        outcome.interrupted = self._child("pull", self.url, target, kill_after=self._moment(0.9)) is None
        self._check_target(target, [old, _files(source)])
        self._finish_pull(source, target, outcome)

    def _killed_save(self, outcome: Outcome) -> None:
        self._killed_table(f"{self.url}/table.parquet", outcome)

    def _killed_local_save(self, outcome: Outcome) -> None:
        self._killed_table(str(self.work / "table.parquet"), outcome)

    def _killed_table(self, filepath: str, outcome: Outcome) -> None:
        assert self._child("save-table", filepath, 1) == 1
        done = self._child("save-table", filepath, 2, kill_after=self._moment(0.5))
        outcome.interrupted = done is None
        assert _value(self._load_table(filepath)) in ({1, 2} if done is None else {2})
        assert self._child("save-table", filepath, 3) == 3
        assert _value(self._load_table(filepath)) == 3

    def _killed_model(self, outcome: Outcome) -> None:
        first, second = self._make_model("first"), self._make_model("second")
        assert self._child("save-model", f"{self.url}/model", first)
        done = self._child("save-model", f"{self.url}/model", second, kill_after=self._moment(0.4))
        outcome.interrupted = done is None
        assert self._load_model() in ([first.name, second.name] if done is None else [second.name])
        assert self._child("save-model", f"{self.url}/model", second)
        assert self._load_model() == second.name

    # A killed server -----------------------------------------------------------------------------------------------

    def _server_killed_in_push(self, outcome: Outcome) -> None:
        source = self._make_source()
        acknowledged: dict[str, int] = {}
        store = self._store()
        put = store.put_bytes

        def note(sha256: str, data: bytes) -> None:
            put(sha256, data)
            acknowledged[sha256] = len(data)

        store.put_bytes = note
        with self._server_dies(self._moment(0.9)):
            outcome.interrupted = not self._try(lambda: self._push(source, store))
        there = self._store().list_content()
        assert {sha256: there[sha256].size_bytes for sha256 in acknowledged} == acknowledged
        self._check_versions()
        self._finish_push(source, outcome)

    def _server_killed_in_pull(self, outcome: Outcome) -> None:
        source, target = self._make_source(), self.work / "target"
        self._push(source)
        with self._server_dies(self._moment(0.9)):
            outcome.interrupted = not self._try(lambda: self._pull(target))
        self._check_target(target, [{}, _files(source)])
        self._finish_pull(source, target, outcome)

    def _server_killed_in_save(self, outcome: Outcome) -> None:
        import pandas as pd

        filepath = f"{self.url}/table.parquet"
        assert self._child("save-table", filepath, 1) == 1
        frame = pd.DataFrame({"value": [2] * 2_000_000, "row": range(2_000_000)})
        with self._server_dies(self._moment(0.5)):
            saved = self._try(lambda: self._table(filepath).save(frame))
        outcome.interrupted = not saved
        assert _value(self._load_table(filepath)) in ({2} if saved else {1, 2})

    # The way ---------------------------------------------------------------------------------------------------------

    def _cut_connections(self, outcome: Outcome) -> None:
        source, target = self._make_source(), self.work / "target"
        self.proxy.cut_between = (3_000_000, 30_000_000)
        outcome.interrupted = not self._try(lambda: self._push(source))
        self._check_versions()
        if not outcome.interrupted:
            outcome.interrupted = not self._try(lambda: self._pull(target))
            self._check_target(target, [{}, _files(source)])
        self.proxy.cut_between = None
        self._finish_push(source, outcome)
        self._pull(target)
        assert _files(target) == _files(source)

    def _slow_connections(self, outcome: Outcome) -> None:
        source, target = self._make_source(large=False), self.work / "target"
        self.proxy.bytes_per_second = 2_000_000
        self._push(source)
        self._pull(target)
        assert _files(target) == _files(source)

    # Others ----------------------------------------------------------------------------------------------------------

    def _two_pushers(self, outcome: Outcome) -> None:
        left, right = self._make_source("left"), self._make_source("right")
        children = [self._start("push", folder, self.url) for folder in (left, right)]
        results = [self._go(child) for child in children]
        assert sorted(result["number"] for result in results) == [1, 2]
        for result, folder in zip(results, (left, right), strict=True):
            target = self.work / f"target{result['number']}"
            self._pull(target, number=result["number"])
            assert _files(target) == _files(folder)

    def _flipped_byte(self, outcome: Outcome) -> None:
        from spelling_transfer.storage.bundles.verify import verify_store

        source, target = self._make_source(), self.work / "target"
        self._push(source)
        client, prefix = self.server.client(), f"round{self.number}/files/"
        entries = client.list_objects_v2(Bucket=self.server.bucket, Prefix=prefix)["Contents"]
        key = self.random.choice([entry["Key"] for entry in entries if entry["Size"]])
        data = bytearray(client.get_object(Bucket=self.server.bucket, Key=key)["Body"].read())
        data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        client.put_object(Bucket=self.server.bucket, Key=key, Body=bytes(data))
        outcome.interrupted = not self._try(lambda: self._pull(target))
        assert outcome.interrupted
        self._check_target(target, [{}, _files(source)])
        assert verify_store(self._store(), drop_damaged=True)[1]
        self._finish_push(source, outcome)
        self._pull(target)
        assert _files(target) == _files(source)

    def _wrong_secret(self, outcome: Outcome) -> None:
        self._refused(outcome, WRONG)

    def _read_only(self, outcome: Outcome) -> None:
        self._refused(outcome, READER)

    def _refused(self, outcome: Outcome, identity: Any) -> None:
        from spelling_transfer.storage.errors import BundleError

        source = self._make_source(large=False)
        self._push(source)
        before = set(self._store().list_content()), self._store().list_manifests()
        self._change(source)
        message = ""
        try:
            self._push(source, self._store(identity))
        except BundleError as error:
            outcome.interrupted, message = True, str(error)
        assert outcome.interrupted
        assert identity.secret not in message
        assert (set(self._store().list_content()), self._store().list_manifests()) == before
        self._finish_push(source, outcome)

    def _wrong_digest(self, outcome: Outcome) -> None:
        import hashlib

        data = self.random.randbytes(1000)
        sha256 = hashlib.sha256(b"another").hexdigest()
        outcome.interrupted = not self._try(lambda: self._store().put_bytes(sha256, data))
        assert outcome.interrupted
        assert self._store().list_content() == {}

    def _full_disk(self, outcome: Outcome) -> None:
        import resource

        source, target = self._make_source(), self.work / "target"
        self._push(source)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.random.randrange(10_000, 4_000_000), limits[1]))
        try:
            outcome.interrupted = not self._try(lambda: self._pull(target))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert outcome.interrupted
        self._check_target(target, [{}, _files(source)])
        self._finish_pull(source, target, outcome)

    def _full_server(self, outcome: Outcome) -> None:
        usual = self.server, self.proxy
        with S3Server(folder=_made(self.work / "small"), options=SMALL) as small:
            self.server, self.proxy = small, FaultyProxy(small.port)
            try:
                source = self._make_source(large=False)
                self._push(source)
                small.fill()
                self._change(source)
                (source / "model.safetensors").write_bytes(self.random.randbytes(_PART * self.scale + _PART // 2))
                outcome.interrupted = not self._try(lambda: self._push(source))
                assert outcome.interrupted
                assert self._store().list_manifests() == [1]
                self._check_versions()
                small.kill()
                self.proxy.cut_all()
                small.options = []
                small.start()
                self._finish_push(source, outcome)
            finally:
                self.proxy.close()
                self.server, self.proxy = usual

    # What must hold --------------------------------------------------------------------------------------------------

    def _check_versions(self) -> None:
        """A version that is listed is whole."""
        from spelling_transfer.storage.bundles.verify import verify_store

        store = self._store()
        for number in store.list_manifests():
            assert verify_store(store, number)[1] == []

    def _check_target(self, target: Path, allowed: list[dict[str, bytes]]) -> None:
        """A file that is seen is one of a version, whole; a folder that says what it is, is that."""
        from spelling_transfer.storage.bundles.local_files import RECORD
        from spelling_transfer.storage.bundles.verify import verify_bundle

        for name, data in _files(target).items():
            assert data in [version[name] for version in allowed if name in version], f"{name} is partial"
        if (target / RECORD).exists():
            assert verify_bundle(str(target / RECORD)) == []

    def _finish_push(self, source: Path, outcome: Outcome) -> None:
        time.sleep(0.2)  # the server may still be at what it has received
        hashes = {_sha256(data): len(data) for data in _files(source).values()}
        there = self._store().list_content()
        missing = sum(size for sha256, size in hashes.items() if sha256 not in there) - self._parts_there(hashes, there)
        before = self.proxy.sent_bytes
        self._push(source)
        outcome.missing_bytes, outcome.moved_bytes = missing, self.proxy.sent_bytes - before
        self._check_moved(outcome)
        self._check_versions()

    def _finish_pull(self, source: Path, target: Path, outcome: Outcome) -> None:
        from spelling_transfer.storage.bundles.local_files import STAGING

        staged = {path.name: path.stat().st_size for path in target.glob(f"{STAGING}/*") if len(path.name) >= 64}
        here = {_sha256(data) for data in _files(target).values()}
        hashes = {_sha256(data): len(data) for data in _files(source).values()}
        missing = sum(
            size - staged.get(sha256, staged.get(f"{sha256}.partial", 0))
            for sha256, size in hashes.items()
            if sha256 not in here
        )
        before = self.proxy.received_bytes
        self._pull(target)
        outcome.missing_bytes, outcome.moved_bytes = missing, self.proxy.received_bytes - before
        self._check_moved(outcome)
        assert _files(target) == _files(source)

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
            (folder / "model.safetensors").write_bytes(self.random.randbytes(_PART * self.scale + _PART // 2))
        return folder

    def _change(self, folder: Path) -> None:
        for number in (1, 5, 7):
            (folder / f"part{number % 3}" / f"{number}.bin").write_bytes(self.random.randbytes(150_000))
        (folder / "part0" / "0.bin").unlink()

    def _make_model(self, name: str) -> Path:
        from spelling_transfer.models.folder import write_manifest

        folder = _made(self.work / name)
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
        from spelling_transfer.storage.bundles.stores import open_store

        os.environ.update(self._environment(identity))
        return open_store(self.url)

    def _push(self, source: Path, store: Any = None) -> None:
        from spelling_transfer.storage.bundles.push import push_bundle

        push_bundle(source, store or self._store())

    def _pull(self, target: Path, number: int | None = None) -> None:
        from spelling_transfer.storage.bundles.pull import pull_bundle

        pull_bundle(self._store(), target, number=number)

    def _table(self, filepath: str) -> Any:
        import s3fs

        from spelling_transfer.storage import ParquetDataset

        os.environ.update(self._environment())
        s3fs.S3FileSystem.clear_instance_cache()  # its connections may be dead
        return ParquetDataset(filepath=filepath)

    def _load_table(self, filepath: str) -> Any:
        return self._table(filepath).load()

    def _load_model(self) -> str:
        import s3fs

        from spelling_transfer.storage import ModelFolderDataset

        os.environ.update(self._environment())
        s3fs.S3FileSystem.clear_instance_cache()
        folder = ModelFolderDataset(filepath=f"{self.url}/model").load()
        return str(json.loads((folder.path / "config.json").read_text())["name"])

    def _try(self, act: Callable[[], object]) -> bool:
        from spelling_transfer.errors import SpellingTransferError

        try:
            act()
        except SpellingTransferError:  # one clear error, whatever broke
            return False
        return True

    @contextmanager
    def _server_dies(self, after_seconds: float) -> Iterator[None]:
        import threading

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


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    """Returns what a reader sees: files under their names, not what a transfer keeps for itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".bundle." not in str(path.relative_to(folder)) and not path.name.endswith(".partial")
    }


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _value(frame: Any) -> int:
    values = set(frame["value"])
    assert len(frame) == 2_000_000
    assert len(values) == 1
    return int(values.pop())
