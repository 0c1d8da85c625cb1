"""``kedro doctor``: what is installed, signed in and reachable, and what to do about what is not."""

import json
import shutil
import socket

import pytest

from spelling_transfer.commands import doctor
from spelling_transfer.tokenizer.chat import _embedded_folder


@pytest.fixture
def project(toy_project, monkeypatch):
    """The toy project with a tokenizer, seen by a user without accounts."""
    monkeypatch.setenv("HOME", str(toy_project.path / "home"))
    for variable in ("LIGHTNING_API_KEY", "WANDB_API_KEY", "HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    toy_project.write(
        "conf/base/catalog/shared.yml", "tokenizer: {type: spelling_transfer.storage.ChatTokenizerDataset}\n"
    )
    return toy_project


def rows(result) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_a_machine_in_order_passes_and_lists_what_is_optional(project):
    result = project.kedro("doctor", "--offline", "--json")
    assert result.exit_code == 0, result.output
    found = rows(result)
    assert found["packages"]["ok"]
    assert found["tokenizer"]["found"].startswith("sha256 aeb13307")
    assert not found["Lightning AI"]["ok"]
    assert not found["Lightning AI"]["needed"]
    assert "LIGHTNING_API_KEY" in found["Lightning AI"]["remedy"]


def test_the_printed_page_says_the_same_and_what_to_do(project):
    result = project.kedro("doctor", "--offline")
    assert result.exit_code == 0
    assert "Needed for GPU nodes: set LIGHTNING_USER_ID" in " ".join(result.stdout.split())
    assert "All that 'kedro run' needs is here." in result.stdout


def test_credentials_in_place_are_named_and_not_shown(project, monkeypatch):
    monkeypatch.setenv("LIGHTNING_API_KEY", "made-up-secret")
    result = project.kedro("doctor", "--offline", "--json")
    assert rows(result)["Lightning AI"]["found"] == "LIGHTNING_API_KEY"
    assert "made-up-secret" not in result.output


def test_an_altered_tokenizer_fails_with_its_remedy(project):
    folder = project.path / "tokenizer"
    shutil.copytree(_embedded_folder(), folder)
    (folder / "tokenizer_config.json").unlink()
    project.write(
        "conf/base/catalog/shared.yml",
        "tokenizer: {type: spelling_transfer.storage.ChatTokenizerDataset, folder: tokenizer}\n",
    )
    result = project.kedro("doctor", "--offline", "--json")
    assert result.exit_code == 1
    assert "tokenizer_config.json: cannot be read" in rows(result)["tokenizer"]["remedy"]


def test_a_package_that_is_too_old_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["click>=999", "no-such-package-here>=1", "pyyaml>=6"])
    found = {check.name: check for check in doctor.check_installed()}
    assert found["click"].remedy == "pip install 'click>=999'"
    assert found["no-such-package-here"].found == "not installed"
    assert found["packages"].found == "1 of 3 as asked for"
    assert not found["packages"].ok


def test_places_are_written_to_and_left_as_they_were(project):
    before = sorted(project.path.iterdir())
    found = {check.name: check for check in doctor.check_places("data/runs")}
    assert all(found[name].ok for name in ("folder", "storage"))
    assert found["storage"].found == str(project.path / "data" / "runs")
    assert sorted(project.path.iterdir()) == before


def test_a_place_that_cannot_be_written_is_found_by_writing(project):
    project.write("data", "a file where the folder should be")
    found = {check.name: check for check in doctor.check_places("data/runs")}
    assert not found["storage"].ok
    assert found["storage"].needed
    assert "Not a directory" in found["storage"].found


def test_a_store_is_written_to_with_the_keys_at_hand(project, s3, s3_server, monkeypatch):
    assert {check.name: check.ok for check in doctor.check_places(s3)}["storage"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    found = {check.name: check for check in doctor.check_places(s3)}["storage"]
    assert not found.ok
    assert s3 in found.found
    assert "storage" not in {check.name for check in doctor.check_places(s3, offline=True)}


def test_too_little_memory_is_named(project, monkeypatch):
    monkeypatch.setattr(doctor, "_MEMORY_NEEDED_MB", 10**9)
    found = {check.name: check for check in doctor.check_places("data")}["memory"]
    assert not found.ok
    assert "End other programs" in found.remedy


def test_hosts_are_tried_and_only_an_open_one_is_reachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert [check.ok for check in doctor.check_reachable({"127.0.0.1": port})] == [True]
    (closed,) = doctor.check_reachable({"127.0.0.1": port})
    assert (closed.ok, closed.needed, closed.found) == (False, False, "Connection refused")


def test_without_offline_the_hosts_are_looked_at(project, monkeypatch):
    monkeypatch.setattr(doctor, "HOSTS", {"127.0.0.1": 1})
    result = project.kedro("doctor", "--json")
    assert result.exit_code == 0
    assert rows(result)["127.0.0.1"]["group"] == "reachable"
