"""What comparing files with a manifest finds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from bundle_fixtures import content, damage
from click.testing import CliRunner

from spelling_transfer.commands.bundle import bundle
from spelling_transfer.storage import BundleFilesDataset
from spelling_transfer.storage.bundles.local_files import RECORD, file_facts
from spelling_transfer.storage.bundles.manifest import seal
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore
from spelling_transfer.storage.bundles.verify import Problem, read_manifest, verify_bundle, verify_store
from spelling_transfer.storage.bundles.versions import read_version
from spelling_transfer.storage.errors import BundleError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A bundle of a table and a text, as local preparation would leave it."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "notes").mkdir()
    pd.DataFrame({"word": ["straw", "berry"], "length": [5, 5]}).to_parquet(tmp_path / "tables/words.parquet")
    (tmp_path / "tables/notes.txt").write_text("two words\n")
    dataset = BundleFilesDataset(root=str(tmp_path), files=["tables/words.parquet", "tables/notes.txt"])
    file = tmp_path / "notes" / "manifest.json"
    file.write_text(json.dumps(seal({"root": "..", "files": dataset.load()})))
    return file


def kinds(manifest: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for problem in verify_bundle(str(manifest)):
        found.setdefault(problem.file, set()).add(problem.kind)
    return found


def test_facts_of_a_table_are_its_rows_and_columns(manifest: Path):
    facts = read_manifest(str(manifest))["files"]["tables/words.parquet"]
    assert facts["rows"] == 2
    assert facts["schema"] == {"word": "large_string", "length": "int64"}
    assert facts["size_bytes"] == (manifest.parents[1] / "tables/words.parquet").stat().st_size


def test_a_whole_bundle_has_no_problem(manifest: Path):
    assert verify_bundle(str(manifest)) == []


def test_a_flipped_byte_is_found(manifest: Path):
    file = manifest.parents[1] / "tables/words.parquet"
    data = bytearray(file.read_bytes())
    for place in (10, len(data) // 2, len(data) - 20):
        data[place] ^= 1
        file.write_bytes(data)
        assert "tables/words.parquet" in kinds(manifest)
        data[place] ^= 1
    file.write_bytes(data)
    assert kinds(manifest) == {}


def test_a_missing_file_is_found(manifest: Path):
    (manifest.parents[1] / "tables/notes.txt").unlink()
    assert kinds(manifest) == {"tables/notes.txt": {"missing"}}


def test_an_extra_row_and_another_column_are_named(manifest: Path):
    file = manifest.parents[1] / "tables/words.parquet"
    frame = pd.read_parquet(file)
    pd.concat([frame, frame.tail(1)]).reset_index(drop=True).to_parquet(file)
    assert {"rows", "sha256"} <= kinds(manifest)["tables/words.parquet"]
    assert "rows is 3, the manifest says 2" in "\n".join(map(str, verify_bundle(str(manifest))))
    frame.assign(length=[5.0, 5.0]).to_parquet(file)
    assert "schema" in kinds(manifest)["tables/words.parquet"]


def test_a_file_cut_short_is_a_problem_and_no_crash(manifest: Path):
    file = manifest.parents[1] / "tables/words.parquet"
    file.write_bytes(file.read_bytes()[:100])
    assert kinds(manifest) == {"tables/words.parquet": {"unreadable"}}


def test_a_file_outside_is_none_of_the_bundle(manifest: Path):
    outside = manifest.parent.parent / "outside.txt"
    outside.write_text("x")
    content = json.loads(manifest.read_text())
    content["files"] = {"../../outside.txt": file_facts(str(outside))}
    manifest.write_text(json.dumps(seal(content)))
    with pytest.raises(BundleError, match="leads out of the root"):
        verify_bundle(str(manifest))


def test_an_edited_manifest_is_found(manifest: Path):
    content = json.loads(manifest.read_text())
    content["parameters"] = {"seed": 1}
    manifest.write_text(json.dumps(content))
    assert kinds(manifest) == {"manifest.json": {"manifest"}}


@pytest.mark.parametrize(
    "content",
    [None, "{", "[]", '{"files": {}}', "[" * 100_000, '{"root": 1, "files": {}}', '{"root": "", "files": {"a": 1}}'],
)
def test_no_manifest_is_one_clear_error(tmp_path: Path, content: str | None):
    file = tmp_path / "manifest.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BundleError, match="manifest"):
        verify_bundle(str(file))
    assert CliRunner().invoke(bundle, ["verify", str(file)]).exit_code == 2


@pytest.mark.parametrize("place", ["s3://bucket/manifest.json", "s3://bucket/study"])
def test_what_cannot_be_compared_is_not_called_altered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store.example.org")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(bundle, ["verify", place])
    assert (result.exit_code, "not encrypted" in result.output) == (2, True)


def test_an_error_of_the_system_is_not_called_an_alteration(
    store: BundleStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    push_bundle(source, store)
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))  # where nothing can be kept
    assert CliRunner().invoke(bundle, ["verify", store.url]).exit_code == 2


def test_the_command_says_what_it_found(manifest: Path):
    result = CliRunner().invoke(bundle, ["verify", str(manifest)])
    assert (result.exit_code, result.output) == (0, f"{manifest}: 2 files, all as said\n")
    (manifest.parents[1] / "tables/notes.txt").write_text("three words\n")
    result = CliRunner().invoke(bundle, ["verify", str(manifest), "--json"])
    assert result.exit_code == 1
    report = json.loads(result.output)
    assert {Problem(**problem).kind for problem in report["problems"]} == {"size", "sha256"}


def test_a_bundle_elsewhere_is_verified_through_its_url(manifest: Path):

    memory = fsspec.filesystem("memory")
    memory.put(str(manifest.parents[1]), "/bundle", recursive=True)
    assert verify_bundle("memory://bundle/notes/manifest.json") == []
    memory.pipe("/bundle/tables/notes.txt", b"two wordz\n")
    assert [problem.kind for problem in verify_bundle("memory://bundle/notes/manifest.json")] == ["sha256"]
    memory.rm("/bundle", recursive=True)


def test_a_flipped_byte_is_found_never_seen_and_repaired(
    store: BundleStore, source: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    push_bundle(source, store)
    target, sha256 = tmp_path / "target", read_version(store).files["03_primary/words.parquet"].sha256
    server = request.getfixturevalue("s3_server") if store.url.startswith("s3://") else None
    damage(store, sha256, server)
    with pytest.raises(BundleError, match=f"content {sha256[:12]} is damaged there"):
        pull_bundle(store, target)
    assert content(target) == {} or not (target / "03_primary/words.parquet").exists()
    assert not (target / RECORD).exists()
    _, problems = verify_store(store)
    assert [(problem.file, problem.kind) for problem in problems] == [("03_primary/words.parquet", "sha256")]
    verify_store(store, drop_damaged=True)
    assert [problem.kind for problem in verify_store(store)[1]] == ["missing"]
    assert push_bundle(source, store).sent_files == 1
    assert verify_store(store)[1] == []
    pull_bundle(store, target)
    assert content(target) == content(source)
