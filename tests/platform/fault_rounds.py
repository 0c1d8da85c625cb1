"""Rounds of faults: something is killed or cut at a random moment; then what is visible must be whole.

Each round raises ``AssertionError`` if corrupt or partial data could be seen, if acknowledged data is gone, or if
resuming sends much more than was missing.
"""

from __future__ import annotations

import hashlib
import resource
import shutil
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
from fault_place import PART, FaultPlace, Outcome, files, made, value
from faulty_proxy import FaultyProxy
from s3_server import READER, SMALL, WRONG, S3Server

from spelling_transfer.storage import BundleError
from spelling_transfer.storage.bundles.verify import verify_store

__all__ = ["FaultRounds", "Outcome"]


class FaultRounds(FaultPlace):
    """The faults, each played by name."""

    @property
    def kinds(self) -> dict[str, Callable[[Outcome], None]]:
        """The faults by name."""
        return {
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

    def run(self, kind: str) -> Outcome:
        """Plays one fault."""
        self.next_round()
        outcome, begun = Outcome(kind), time.perf_counter()
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
        old = files(target)
        outcome.interrupted = self._child("pull", self.url, target, kill_after=self._moment(0.9)) is None
        self._check_target(target, [old, files(source)])
        self._finish_pull(source, target, outcome)

    def _killed_save(self, outcome: Outcome) -> None:
        self._killed_table(f"{self.url}/table.parquet", outcome)

    def _killed_local_save(self, outcome: Outcome) -> None:
        self._killed_table(str(self.work / "table.parquet"), outcome)

    def _killed_table(self, filepath: str, outcome: Outcome) -> None:
        assert self._child("save-table", filepath, 1) == 1
        done = self._child("save-table", filepath, 2, kill_after=self._moment(0.5))
        outcome.interrupted = done is None
        assert value(self._load_table(filepath)) in ({1, 2} if done is None else {2})
        assert self._child("save-table", filepath, 3) == 3
        assert value(self._load_table(filepath)) == 3

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
        self._check_target(target, [{}, files(source)])
        self._finish_pull(source, target, outcome)

    def _server_killed_in_save(self, outcome: Outcome) -> None:
        filepath = f"{self.url}/table.parquet"
        assert self._child("save-table", filepath, 1) == 1
        frame = pd.DataFrame({"value": [2] * 2_000_000, "row": range(2_000_000)})
        with self._server_dies(self._moment(0.5)):
            saved = self._try(lambda: self._table(filepath).save(frame))
        outcome.interrupted = not saved
        assert value(self._load_table(filepath)) in ({2} if saved else {1, 2})

    # The way ---------------------------------------------------------------------------------------------------------

    def _cut_connections(self, outcome: Outcome) -> None:
        source, target = self._make_source(), self.work / "target"
        self.proxy.cut_between = (3_000_000, 30_000_000)
        outcome.interrupted = not self._try(lambda: self._push(source))
        self._check_versions()
        if not outcome.interrupted:
            outcome.interrupted = not self._try(lambda: self._pull(target))
            self._check_target(target, [{}, files(source)])
        self.proxy.cut_between = None
        self._finish_push(source, outcome)
        self._pull(target)
        assert files(target) == files(source)

    def _slow_connections(self, outcome: Outcome) -> None:
        source, target = self._make_source(large=False), self.work / "target"
        self.proxy.bytes_per_second = 2_000_000
        self._push(source)
        self._pull(target)
        assert files(target) == files(source)

    # Others ----------------------------------------------------------------------------------------------------------

    def _two_pushers(self, outcome: Outcome) -> None:
        left, right = self._make_source("left"), self._make_source("right")
        children = [self._start("push", folder, self.url) for folder in (left, right)]
        results = [self._go(child) for child in children]
        assert sorted(result["number"] for result in results) == [1, 2]
        for result, folder in zip(results, (left, right), strict=True):
            target = self.work / f"target{result['number']}"
            self._pull(target, number=result["number"])
            assert files(target) == files(folder)

    def _flipped_byte(self, outcome: Outcome) -> None:
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
        self._check_target(target, [{}, files(source)])
        assert verify_store(self._store(), drop_damaged=True)[1]
        self._finish_push(source, outcome)
        self._pull(target)
        assert files(target) == files(source)

    def _wrong_secret(self, outcome: Outcome) -> None:
        self._refused(outcome, WRONG)

    def _read_only(self, outcome: Outcome) -> None:
        self._refused(outcome, READER)

    def _refused(self, outcome: Outcome, identity: Any) -> None:
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
        data = self.random.randbytes(1000)
        sha256 = hashlib.sha256(b"another").hexdigest()
        outcome.interrupted = not self._try(lambda: self._store().put_bytes(sha256, data))
        assert outcome.interrupted
        assert self._store().list_content() == {}

    def _full_disk(self, outcome: Outcome) -> None:
        source, target = self._make_source(), self.work / "target"
        self._push(source)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.random.randrange(10_000, 4_000_000), limits[1]))
        try:
            outcome.interrupted = not self._try(lambda: self._pull(target))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert outcome.interrupted
        self._check_target(target, [{}, files(source)])
        self._finish_pull(source, target, outcome)

    def _full_server(self, outcome: Outcome) -> None:
        usual = self.server, self.proxy
        with S3Server(folder=made(self.work / "small"), options=SMALL) as small:
            self.server, self.proxy = small, FaultyProxy(small.port)
            try:
                source = self._make_source(large=False)
                self._push(source)
                small.fill()
                self._change(source)
                (source / "model.safetensors").write_bytes(self.random.randbytes(PART * self.scale + PART // 2))
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
