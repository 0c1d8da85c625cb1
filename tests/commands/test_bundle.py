"""``kedro bundle``: what its commands print, and how they end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from spelling_transfer.commands.bundle import bundle
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, open_store

if TYPE_CHECKING:
    from conftest import ToyProject


def test_the_commands(store: BundleStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def kedro(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(bundle, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert "version 1, 7 files" in kedro("push", source, store.url, "--note", "first")
    assert "nothing new since version 1" in kedro("push", source, store.url)
    assert json.loads(kedro("push", source, store.url, "--json"))["sent_bytes"] == 0
    assert "fetched 6 files" in kedro("pull", store.url, "target")
    assert "all as said" in kedro("verify", "target")
    assert "is no store" in kedro("verify", "target", "--version", "1", code=2)
    assert "7 files, all as said" in kedro("verify", store.url)
    listed = kedro("list", store.url)
    assert "first" in listed
    assert re.search(r" 20\d\d-\d\d-\d\d \d\d:\d\d ", listed)
    assert json.loads(kedro("list", store.url, "--json"))[0]["n_files"] == 7
    (tmp_path / "target/08_reporting/a ü 漢.txt").write_text("changed")
    assert "1 not as the manifest says" in kedro("verify", "target", code=1)
    (source / "08_reporting/a ü 漢.txt").write_text("another")
    kedro("push", source, store.url)
    assert "changed here" in kedro("pull", store.url, "target", code=1)
    assert "would remove 1 versions" in kedro("prune", store.url, "--keep", 1, "--dry-run")
    assert json.loads(kedro("prune", store.url, "--keep", 1, "--json"))["removed"] == [1]
    kedro("prune", store.url, "--keep", 0, code=2)
    kedro("pull", tmp_path / "nothing", "target", code=1)
    assert json.loads(kedro("schema"))["title"] == "BundleManifest"
    for command in ("push", "pull", "list", "prune", "verify"):
        assert "Example" in kedro(command, "--help")


def test_a_note_of_somebody_else_gives_a_terminal_no_orders(store: BundleStore, source: Path):
    push_bundle(source, store, note="\x1b[2J\x1b]0;\x07\x9b1m")
    output = CliRunner().invoke(bundle, ["list", store.url]).output
    assert "2J" in output
    assert not {"\x1b", "\x07", "\x9b"} & set(output)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "spelling_transfer.storage.bundles.push.push_bundle", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    result = CliRunner().invoke(bundle, ["push", str(source), str(tmp_path / "store")])
    assert result.exit_code == 130
    assert "the same command resumes from there" in result.output


def test_keys_are_made_for_the_owner_alone_and_never_overwritten(tmp_path: Path, source: Path, monkeypatch):
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    private = tmp_path / "key.pem"
    assert CliRunner().invoke(bundle, ["keygen", str(private)]).exit_code == 0
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes()
    refused = CliRunner().invoke(bundle, ["keygen", str(private)])
    assert (refused.exit_code, private.read_bytes()) == (1, before)
    assert "never overwritten" in refused.output
    store = open_store(str(tmp_path / "store"))
    push_bundle(source, store, sign_key=private)
    pull_bundle(store, tmp_path / "target", public_key=tmp_path / "key.pub")


@pytest.mark.parametrize("place", ["data", "data/studies"])
def test_a_library_s_link_to_its_cache_is_left_out_and_named(toy_project: ToyProject, tmp_path: Path, place: str):
    toy_project.write("data/studies/first/study.db", "records")
    toy_project.write(
        "conf/base/catalog/work.yml",
        "studies: {type: spelling_transfer.storage.WorkFolderDataset, filepath: data/studies}\n",
    )
    link = toy_project.path / "data/studies/first/wandb/debug-core.log"
    link.parent.mkdir()
    link.symlink_to("/somewhere/.cache/wandb/logs/core-debug.log")
    result = toy_project.kedro("bundle", "push", place, str(tmp_path / "store"), "--json")
    assert result.exit_code == 0, result.output
    assert "and no dataset needs it" in result.stderr
    pushed = json.loads(result.stdout)
    assert pushed["n_files"] == 1
    (left_out,) = pushed["left_out"]
    assert left_out.startswith(str(link.relative_to(toy_project.path / place)))


def test_credentials_stay_here_unless_each_is_named(toy_project: ToyProject, tmp_path: Path):
    secret = "key: the-secret-of-the-store\n"
    names = ["conf/local/credentials.yml", "conf/local/deep/keys", "conf/prod/credentials_s3.yml"]
    names += ["conf/prod/credentials/aws.yml", "home/.aws/credentials", ".env", ".env.prod"]
    names += ["home/ours.pem", "home/.ssh/id_ed25519", "home/tls.key"]
    for name in names:
        toy_project.write(name, secret)
    store = tmp_path.parent / f"{tmp_path.name}-store"
    for options in ([], ["--include", "conf/*", "--include", "home/*", "--include", ".*"]):
        result = toy_project.kedro("bundle", "push", ".", str(store), *options)
        assert result.exit_code == 0, result.output
        for name in names:
            assert f"left out: {name}: may hold credentials" in result.stderr
        assert not [file for file in store.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    result = toy_project.kedro("bundle", "push", ".", str(store), "--include", ".env", "--json")
    assert json.loads(result.stdout)["n_files"] == 1
    result = toy_project.kedro("bundle", "push", "conf", str(store.with_name("of-conf")), "--json")
    assert [each.partition(":")[0] for each in json.loads(result.stdout)["left_out"]] == [
        "local/credentials.yml", "local/deep/keys", "prod/credentials/aws.yml", "prod/credentials_s3.yml"
    ]  # fmt: skip


@pytest.mark.parametrize("link", ["data/words.parquet", "data"])
def test_a_link_in_the_place_of_a_dataset_is_refused(toy_project: ToyProject, tmp_path: Path, link: str):
    toy_project.write("data.txt" if link == "data" else "data/counts.json", "{}")
    (toy_project.path / link).symlink_to("/somewhere/else")
    folder, store = ("." if link == "data" else "data"), str(tmp_path.parent / f"{tmp_path.name}-store")
    result = toy_project.kedro("bundle", "push", folder, store)
    assert result.exit_code == 1
    assert f"{link}: a link to /somewhere/else" in result.stderr
    assert toy_project.kedro("bundle", "push", folder, store, "--exclude", Path(link).name).exit_code == 0


def test_the_environment_may_come_from_a_variable(toy_project: ToyProject, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEDRO_ENV", "nowhere")
    result = toy_project.kedro("bundle", "list", "store")
    assert result.exit_code == 1
    assert "there is no environment 'nowhere'" in result.stderr
