"""A pull brings a folder to a version, whole, and destroys no change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_fixtures import LARGE, content

from spelling_transfer.storage.bundles import pull
from spelling_transfer.storage.bundles.local_files import RECORD, STAGING
from spelling_transfer.storage.bundles.pull import fetch_content, pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, open_store
from spelling_transfer.storage.bundles.verify import verify_bundle, verify_store
from spelling_transfer.storage.bundles.versions import prune, read_version
from spelling_transfer.storage.errors import BundleError


def test_only_what_changed_is_sent_and_fetched_and_what_is_gone_goes(store: BundleStore, source: Path, tmp_path: Path):
    target = tmp_path / "target"
    push_bundle(source, store)
    pull_bundle(store, target)
    (target / "own.txt").write_text("not of the bundle")
    (source / "03_primary/words.parquet").unlink()
    (source / "08_reporting/empty").write_text("no longer")
    assert push_bundle(source, store).sent_bytes == len("no longer")
    result = pull_bundle(store, target)
    assert (result.received_bytes, result.removed_files) == (len("no longer"), 1)
    assert not (target / "03_primary").exists()
    assert (target / "own.txt").read_text() == "not of the bundle"
    pull_bundle(store, target, number=1)
    assert (target / "03_primary/words.parquet").is_file()
    assert (target / "08_reporting/empty").read_bytes() == b""


def test_what_another_bundle_brought_stays(store: BundleStore, source: Path, tmp_path: Path):
    push_bundle(source, store)
    models, kept = tmp_path / "models", content(source)
    models.mkdir()
    (models / "best.txt").write_text("tuned there")
    others = open_store(str(tmp_path / "others"))
    for text in ("tuned there", "and better"):
        (models / "best.txt").write_text(text)
        push_bundle(models, others)
    for number in (1, 2):
        assert pull_bundle(others, source, number=number).removed_files == 0
    assert content(source) == {**kept, "best.txt": b"and better"}
    (models / "best.txt").rename(models / "other.txt")
    push_bundle(models, others)
    prune(others, keep=1)
    pull_bundle(store, source, overwrite=True)  # the record is of a version below the oldest that the others have
    kept = content(source)
    assert pull_bundle(others, source).removed_files == 0
    assert content(source) == {**kept, "other.txt": b"and better"}


@pytest.mark.parametrize(("first", "second"), [("table", "table/2026/table"), ("table/2026/table", "table")])
def test_a_file_may_become_a_folder_and_a_folder_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
):
    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    store, source, target = open_store(str(tmp_path / "store")), tmp_path / "source", tmp_path / "target"
    for name in (first, second):
        shutil.rmtree(source, ignore_errors=True)
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text(name)
        push_bundle(source, store)
        with monkeypatch.context() as patch:
            patch.setattr(pull, "write_bytes", cut)  # when all is in place but the record
            with pytest.raises(KeyboardInterrupt):
                pull_bundle(store, target)
        pull_bundle(store, target)
    assert content(target) == {second: second.encode()}


def test_a_folder_of_ones_own_in_the_way_of_a_file_is_named(tmp_path: Path):
    store, source, mine = open_store(str(tmp_path / "store")), tmp_path / "source", tmp_path / "target/table/mine"
    source.mkdir()
    (source / "table").touch()
    push_bundle(source, store)
    mine.mkdir(parents=True)
    with pytest.raises(BundleError, match=f"Is a directory .{mine.parent}"):
        pull_bundle(store, tmp_path / "target")
    assert mine.is_dir()


def test_credentials_that_an_older_version_brought_stay(store: BundleStore, source: Path, tmp_path: Path):
    key = "conf/local/credentials.yml"
    (source / key).parent.mkdir(parents=True)
    (source / key).write_text("s3: {key: mine}")
    push_bundle(source, store, include=["*", key])
    pull_bundle(store, tmp_path / "target")
    push_bundle(source, store)
    assert pull_bundle(store, tmp_path / "target").removed_files == 0
    assert (tmp_path / "target" / key).is_file()


def test_changes_made_here_are_not_destroyed_unless_asked(store: BundleStore, source: Path, tmp_path: Path):
    target = tmp_path / "target"
    push_bundle(source, store)
    pull_bundle(store, target)
    mine = target / "06_models/adapter/model.safetensors"
    mine.write_bytes(b"tuned here")
    (source / "06_models/adapter/model.safetensors").write_bytes(b"tuned there")
    push_bundle(source, store)
    with pytest.raises(BundleError, match=r"06_models/adapter/model\.safetensors: changed here"):
        pull_bundle(store, target)
    assert mine.read_bytes() == b"tuned here"
    pull_bundle(store, target, overwrite=True)
    assert mine.read_bytes() == b"tuned there"


@pytest.mark.parametrize("name", ["06_models/adapter/model.safetensors", "08_reporting/empty", "new.txt"])
def test_changes_made_while_a_version_is_fetched_are_not_destroyed_either(
    store: BundleStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    target = tmp_path / "target"
    push_bundle(source, store)
    pull_bundle(store, target)
    (source / "06_models/adapter/model.safetensors").write_bytes(b"tuned there")
    (source / "new.txt").write_text("new there")
    (source / "08_reporting/empty").unlink()
    push_bundle(source, store)
    before = content(target)

    def edit_and_fetch(*arguments: Any) -> int:
        (target / name).write_bytes(b"made here")
        return fetch_content(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pull, "fetch_content", edit_and_fetch)
        with pytest.raises(BundleError, match=f"{name}: changed here while version 2 was fetched"):
            pull_bundle(store, target)
        assert {key: data for key, data in content(target).items() if STAGING not in key} == {
            **before,
            name: b"made here",
        }
        pull_bundle(store, target, overwrite=True)
    assert content(target) == content(source)


def test_results_go_back_the_same_way(store: BundleStore, source: Path, tmp_path: Path):
    rented = tmp_path / "rented"
    push_bundle(source, store)
    pull_bundle(store, rented)
    (rented / "07_model_output").mkdir()
    (rented / "07_model_output/scores.csv").write_text("task,score\n")
    push_bundle(rented, store)
    result = pull_bundle(store, source)
    assert (source / "07_model_output/scores.csv").read_text() == "task,score\n"
    assert result.received_files == 1


def test_a_pull_that_was_cut_off_while_putting_files_into_place_is_resumed(
    store: BundleStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "target"
    push_bundle(source, store)
    pull_bundle(store, target)
    for name in ("08_reporting/empty", "06_models/adapter/model.safetensors", "new.txt"):
        (source / name).write_text("second")
    (source / "08_reporting/a ü 漢.txt").unlink()
    push_bundle(source, store)
    original = Path.replace

    def cut(self: Path, other: Path) -> Path:
        if self.parent.name == STAGING != other.parent.name:
            raise KeyboardInterrupt
        return original(self, other)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", cut)
            with pytest.raises(KeyboardInterrupt):
                pull_bundle(store, target)
        assert not (target / RECORD).exists()  # nothing says that this is a version
    pull_bundle(store, target)
    assert content(target) == content(source)
    assert verify_bundle(str(target / RECORD)) == []


@pytest.mark.parametrize(
    ("ending", "left"), [("", b"damaged"), (".partial", b"dam"), (".partial", b"much more than that")]
)
def test_what_an_earlier_pull_left_is_not_trusted(
    store: BundleStore, source: Path, tmp_path: Path, ending: str, left: bytes
):
    push_bundle(source, store)
    manifest = read_version(store)
    facts = manifest.files["06_models/adapter/model.safetensors"]
    staging = tmp_path / "target" / STAGING
    staging.mkdir(parents=True)
    (staging / f"{facts.sha256}{ending}").write_bytes(left)
    counted: dict[int, int] = {}

    def progress(total: int) -> Callable[[int], None]:
        counted[total] = 0

        def count(n_bytes: int) -> None:
            counted[total] += n_bytes

        return count

    pull_bundle(store, tmp_path / "target", jobs=1, progress=progress)
    assert content(tmp_path / "target") == content(source)
    assert list(counted) == list(counted.values()) == [sum(manifest.hashes.values())]


def test_files_that_are_there_already_as_the_version_has_them_are_taken_over(
    store: BundleStore, source: Path, tmp_path: Path
):
    push_bundle(source, store)
    same = tmp_path / "target/06_models/adapter/model.safetensors"
    same.parent.mkdir(parents=True)
    same.write_bytes(b"weights")
    pull_bundle(store, tmp_path / "target")
    assert content(tmp_path / "target") == content(source)


def forge(store: BundleStore, source: Path, name: str) -> None:
    push_bundle(source, store)
    manifest = read_version(store)
    files = {name: manifest.files["08_reporting/a ü 漢.txt"]}
    store.create_manifest(2, manifest.model_copy(update={"number": 2, "files": files}).sealed().to_bytes())


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt"])
def test_a_forged_manifest_writes_nothing_outside(store: BundleStore, source: Path, tmp_path: Path, name: str):
    forge(store, source, name)
    with pytest.raises(BundleError, match="the name"):
        pull_bundle(store, tmp_path / "a" / "target")
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_link_in_the_target_is_not_followed_outside(store: BundleStore, source: Path, tmp_path: Path):
    forge(store, source, "linked/evil.txt")
    (tmp_path / "target").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "target" / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="through a link that leads out"):
        pull_bundle(store, tmp_path / "target")
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_a_version_no_longer_has_is_not_removed_through_a_link(store: BundleStore, source: Path, tmp_path: Path):
    target, outside = tmp_path / "target", tmp_path / "outside"
    push_bundle(source, store)
    pull_bundle(store, target)
    (target / "06_models").rename(outside)
    (target / "06_models").symlink_to(outside)
    (source / "06_models/adapter/model.safetensors").unlink()
    push_bundle(source, store, exclude=["06_models/*"])
    with pytest.raises(BundleError, match="through a link that leads out"):
        pull_bundle(store, target)
    assert (outside / "adapter/model.safetensors").is_file()


def test_a_file_that_was_renamed_in_case_alone_stays_on_a_disk_without_case(
    store: BundleStore, source: Path, tmp_path: Path
):
    target = tmp_path / "target"
    (source / "Words.txt").write_text("apple")
    push_bundle(source, store)
    pull_bundle(store, target)
    (source / "Words.txt").rename(source / "words.txt")
    push_bundle(source, store)
    (target / "words.txt").hardlink_to(target / "Words.txt")  # as such a disk has it: two names for one file
    pull_bundle(store, target)
    assert (target / "Words.txt").is_file()


@pytest.mark.parametrize("difference", [-1, 1])
def test_content_of_another_size_than_the_manifest_says_is_never_seen(
    store: BundleStore, source: Path, tmp_path: Path, difference: int
):
    push_bundle(source, store)
    manifest = read_version(store)
    facts = manifest.files["06_models/adapter/model.safetensors"]
    lie = facts.model_copy(update={"size_bytes": facts.size_bytes + difference})
    forged = manifest.model_copy(update={"number": 2, "files": {"a.bin": lie}}).sealed()
    store.create_manifest(2, forged.to_bytes())
    with pytest.raises(BundleError, match="is damaged there"):
        pull_bundle(store, tmp_path / "target")
    assert not (tmp_path / "target/a.bin").exists()
    (problem,) = verify_store(store)[1]
    assert (problem.file, problem.kind) == ("a.bin", "size")


def test_a_full_disk_is_said_and_leaves_nothing_that_looks_whole(store: BundleStore, source: Path, tmp_path: Path):
    import resource

    (source / "large.bin").write_bytes(LARGE)
    push_bundle(source, store)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(BundleError, match="cannot be written"):
            pull_bundle(store, tmp_path / "target")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(tmp_path / "target").keys() <= {f"{STAGING}/{n}" for n in read_version(store).hashes}
    assert not (tmp_path / "target" / RECORD).exists()
    pull_bundle(store, tmp_path / "target")
    assert content(tmp_path / "target") == content(source)
