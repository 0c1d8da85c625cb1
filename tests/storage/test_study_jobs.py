"""What trials on several machines share: material once a machine, checkpoints whole and newest last, one adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from light_study import LightStudy, light_defaults
from lightning_platform import until
from s3_fixtures import use_identity
from s3_server import READER, S3Server

from spelling_transfer.storage import RemoteError, study_jobs
from spelling_transfer.storage.bundles.manifest import FileFacts
from spelling_transfer.storage.bundles.stores import BundleStore, StoreError
from spelling_transfer.storage.bundles.stores.base import content_key
from spelling_transfer.storage.bundles.versions import read_version
from spelling_transfer.storage.errors import BundleError
from spelling_transfer.storage.study_jobs import KeptAtPlace
from spelling_transfer.storage.study_place import Sender, StudyPlace
from spelling_transfer.study.interfaces import Evaluation, TrialOutcome
from spelling_transfer.study.monitor import TrialInterruptedError


class Report:
    """What a trial reports to; the machine is asked to stop at a step."""

    checkpoint_every = 7

    def __init__(self, machine: Path, stop_at: int | None = None, seen: tuple[Evaluation, ...] = ()) -> None:
        self.folder, self.stop_at, self.curve = machine / "trials" / "0003", stop_at, list(seen)

    def __call__(self, evaluation: Evaluation) -> str:
        self.curve.append(evaluation)
        return "complete"

    def progress(self, step: int) -> None:
        if step == self.stop_at:
            raise TrialInterruptedError

    def metrics(self, row: Any) -> None: ...


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StudyPlace:
    url = request.getfixturevalue("s3") if request.param == "bucket" else str(tmp_path / "place")
    return StudyPlace(url, "mine")


def train(place: StudyPlace, report: Report) -> TrialOutcome:
    return KeptAtPlace(LightStudy().open(), place)(light_defaults(), report)  # type: ignore[arg-type]


def goes_on_elsewhere(place: StudyPlace, tmp_path: Path) -> bool:
    """Whether a trial that was interrupted at step 18 goes on from step 14 on a machine that has nothing of it."""
    first = Report(tmp_path / "first", stop_at=18)
    with pytest.raises(TrialInterruptedError):
        train(place, first)
    second = Report(tmp_path / "second", seen=tuple(first.curve))
    assert train(place, second) == LightStudy().open()(light_defaults(), Report(tmp_path / "alone"))  # type: ignore[arg-type]
    return "from 14" in (tmp_path / "second/trials/0003/steps.log").read_text().splitlines()


def test_an_interrupted_trial_goes_on_elsewhere(place: StudyPlace, tmp_path: Path) -> None:
    assert goes_on_elsewhere(place, tmp_path)


@pytest.mark.parametrize("broken", [(StudyPlace, "fetch"), (Sender, "send")])
def test_the_test_above_fails_where_checkpoints_do_not_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: tuple[type, str]
) -> None:
    monkeypatch.setattr(*broken, lambda *_: None)
    assert not goes_on_elsewhere(StudyPlace(str(tmp_path / "place"), "mine"), tmp_path)


def keep(place: StudyPlace, trial: Path, *steps: int) -> BundleStore:
    """Sends checkpoints one after the other; each is in a file of its own."""
    (trial / "checkpoints").mkdir(parents=True, exist_ok=True)
    sender = Sender(place.store(trial), trial)
    for step in steps:
        (trial / "checkpoints" / f"step={step}.ckpt").write_text(f"weights after {step} steps")
        (trial / "checkpoints" / f"step={step - 20}.ckpt").unlink(missing_ok=True)
        sender.send()
    return place.store(trial)


def steps_of(trial: Path) -> list[str]:
    return sorted(file.name for file in (trial / "checkpoints").glob("*.ckpt"))


def test_the_newest_checkpoints_alone_are_kept(place: StudyPlace, tmp_path: Path) -> None:
    store = keep(place, tmp_path / "0003", 10, 20, 30, 40)
    assert store.list_manifests() == [3, 4]
    assert len(store.list_content()) == 3
    place.fetch(tmp_path / "b" / "0003")
    assert steps_of(tmp_path / "b" / "0003") == ["step=30.ckpt", "step=40.ckpt"]


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(
    place: StudyPlace, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    store = keep(place, tmp_path / "0003", 10, 20)
    (newest,) = set(read_version(store, 2).hashes) - set(read_version(store, 1).hashes)
    store.delete_content([newest])
    if damage == "altered":
        store._write(content_key(newest), b"other", hashlib.sha256(b"other").hexdigest())
    place.fetch(tmp_path / "b" / "0003")
    assert steps_of(tmp_path / "b" / "0003") == ["step=10.ckpt"]
    assert "version 2" in caplog.text


def test_a_place_that_falls_silent_is_no_damage(
    place: StudyPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = keep(place, tmp_path / "0003", 10, 20)

    def say_nothing(*_: object) -> None:
        raise StoreError("the place cannot be reached")

    monkeypatch.setattr(type(store), "get_content", say_nothing)
    with pytest.raises(StoreError, match="cannot be reached"):  # or the trial would begin anew
        place.fetch(tmp_path / "b" / "0003")


def test_a_checkpoint_that_changes_while_it_is_sent_is_sent_again(
    place: StudyPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = tmp_path / "0003"
    store = keep(place, trial, 10)
    sender, put_bytes = Sender(store, trial), type(store).put_bytes
    file = trial / "checkpoints" / "step=20.ckpt"
    file.write_text("half")

    def write_meanwhile(self: BundleStore, sha256: str, data: bytes) -> None:
        put_bytes(self, sha256, data)
        file.write_text("the whole")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(store), "put_bytes", write_meanwhile)
        sender.try_to_send()
    assert store.list_manifests() == [1]
    sender.try_to_send()
    place.fetch(tmp_path / "b" / "0003")
    assert (tmp_path / "b" / "0003" / "checkpoints" / file.name).read_text() == "the whole"


def test_of_a_trial_that_has_ended_the_adapter_stays(place: StudyPlace, tmp_path: Path) -> None:
    trial, other = tmp_path / "0003", tmp_path / "0004"
    keep(place, trial, 10, 20)
    (trial / "adapter").mkdir()
    (trial / "adapter" / "adapter_model.safetensors").write_text("adapter")
    for file in (trial / "checkpoints").iterdir():
        file.unlink()
    place.discard(trial)
    place.fetch(tmp_path / "b" / "0003")
    kept = [path.name for path in (tmp_path / "b" / "0003").rglob("*") if path.is_file() and path.name[0] != "."]
    assert kept == ["adapter_model.safetensors"]
    assert len(place.store(trial).list_content()) == 1
    store = keep(place, other, 10)
    place.discard(other)  # it was pruned
    assert store.list_manifests() == []
    assert store.list_content() == {}


def test_material_is_fetched_once_a_machine_and_checked(
    place: StudyPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    (study / "material" / "base_model").mkdir(parents=True)
    (study / "launch.json").write_text("{}")
    (study / "material" / "base_model" / "config.json").write_text("the model")
    for other in ("study.db", "material/weights.safetensors", "workers.log"):
        (study / other).write_text("of this machine")
    version = place.put_material(study)
    assert place.put_material(study) == version
    store = place._material

    def on_machine(name: str) -> Path:
        monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / name))
        return place.get_material(version)

    first = on_machine("first")
    names = {path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()}
    assert {name for name in names if name[0] != "."} == {"launch.json", "material/base_model/config.json"}
    store.delete_content(store.list_content())
    assert on_machine("first") == first
    with pytest.raises(BundleError, match="missing"):
        on_machine("second")
    assert not list((tmp_path / "second" / "studies").iterdir())  # not a part of it


def test_material_that_somebody_else_put_in_its_place_is_not_used(
    place: StudyPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "launch.json").write_text('{"factory": "ours:make"}')
    version, store = place.put_material(tmp_path / "study"), place._material
    evil = b'{"factory": "runpy:run_path"}'
    facts = FileFacts(sha256=hashlib.sha256(evil).hexdigest(), size_bytes=len(evil))
    forged = read_version(store).model_copy(update={"files": {"launch.json": facts}}).sealed()
    store.put_bytes(facts.sha256, evil)
    store.delete_manifest(1)
    store.create_manifest(1, forged.to_bytes())
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BundleError, match="version 1 is not what this study sent"):
        place.get_material(version)
    assert not list((tmp_path / "cache" / "studies").iterdir())


@pytest.mark.parametrize(
    ("settle", "message"),
    [
        (lambda server, patch: use_identity(server, patch, READER), "may not write"),
        (lambda server, patch: use_identity(server, patch, endpoint="http://127.0.0.1:1"), "cannot be reached"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_clear_error(
    s3: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, settle: Callable[..., None], message: str
) -> None:
    settle(s3_server, monkeypatch)
    with pytest.raises(RemoteError, match=message) as caught:
        StudyPlace(s3, "mine").check()
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_sent_while_the_trial_goes_on(
    place: StudyPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_jobs, "_LOOK_SECONDS", 0.05)
    store = place.store(tmp_path / "trials" / "0003")

    class Waits(Report):
        def progress(self, step: int) -> None:
            if step == 8:
                until(store.list_manifests)

    train(place, Waits(tmp_path))


def test_what_a_trial_leaves_is_at_the_place_before_its_end_is_recorded(place: StudyPlace, tmp_path: Path) -> None:
    report = Report(tmp_path)
    train(place, report)  # in less time than there is between two looks
    assert len(place.store(report.folder).list_content()) == 1
