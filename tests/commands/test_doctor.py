"""``kedro doctor``: what is installed, signed in and reachable, and what to do about what is not."""

import json
import shutil
import socket
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from json_server import json_server
from kedro.io import DataCatalog, MemoryDataset

from kedro_lightning.platform.jobs import JobRequest, JobsApi
from kedro_lightning.platform.studios import StudiosApi
from kedro_lightning.run_state import RunState, StateFile
from spelling_transfer.commands import doctor
from spelling_transfer.commands.project import enter_project, load_context
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.tokenizer.chat import embedded_folder
from spelling_transfer.tracking import runs


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
    assert "Everything that 'kedro run' needs is available." in result.stdout


def test_brackets_in_a_path_are_shown(capsys):
    doctor._print([doctor.Check("files", "storage", True, True, "/data/[old]/[/x]")])
    assert "/data/[old]/[/x]" in capsys.readouterr().out


def test_credentials_in_place_are_named_and_not_shown(project, monkeypatch):
    monkeypatch.setenv("LIGHTNING_API_KEY", "made-up-secret")
    result = project.kedro("doctor", "--offline", "--json")
    assert rows(result)["Lightning AI"]["found"] == "LIGHTNING_API_KEY"
    assert "made-up-secret" not in result.output


def test_the_tokenizer_that_the_profile_names_is_the_models_own(tokenizer, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")  # saved again by another program
    for named, problems in ((tokenizer.sha256, []), ("0" * 64, ["together"]), (None, ["together"])):
        profile = ModelProfile(name="mine", tokenizer_sha256=named)
        values = {"tokenizer": tokenizer, "base_model": ModelFolder(tmp_path), "params:model_profile": profile}
        catalog = DataCatalog({name: MemoryDataset(value, copy_mode="assign") for name, value in values.items()})
        assert [check.name for check in doctor.check_files(catalog) if not check.ok] == problems


def test_a_tokenizer_that_is_not_the_models_own_is_seen_before_anything_is_prepared(project):
    (project.path / "model").mkdir()
    project.write("model/config.json", "{}")
    project.write("model/tokenizer.json", "{}")
    entry = "base_model: {type: spelling_transfer.storage.ModelFolderDataset, filepath: model}\n"
    project.write("conf/base/catalog/model.yml", entry)
    result = project.kedro("doctor", "--offline", "--json")
    assert result.exit_code == 1
    assert "the model's own tokenizer, as conf/smollm2" in rows(result)["together"]["remedy"]


def test_an_altered_tokenizer_fails_with_its_remedy(project):
    folder = project.path / "tokenizer"
    shutil.copytree(embedded_folder(), folder)
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
    assert found["packages"].found == "1 of 3 as required"
    assert not found["packages"].ok


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///a%20b/study", "dir_info": {"editable": True}}, "pip install -e '/a b/study'"),
        ({"url": "file:///home/me/study", "dir_info": {}}, "pip install 'spelling-transfer @ file:///home/me/study'"),
        (
            {"url": "file:///dist/spelling_transfer-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'spelling-transfer @ file:///dist/spelling_transfer-0.1.0-py3-none-any.whl'",
        ),
        (
            {"url": "https://example.org/study.git", "vcs_info": {"vcs": "git", "commit_id": "1f0c"}},
            "pip install 'spelling-transfer @ git+https://example.org/study.git@1f0c'",
        ),
        (None, "pip install spelling-transfer==0.1.0"),
    ],
    ids=["editable", "folder", "wheel", "repository", "index"],
)
def test_what_is_missing_is_installed_from_where_this_package_came(tmp_path, monkeypatch, origin, command):
    installed = tmp_path / "spelling_transfer-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: spelling-transfer\nVersion: 0.1.0\nRequires-Dist: no-such-package-here\n"
    )
    if origin is not None:
        (installed / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(tmp_path)
    found = {check.name: check for check in doctor.check_installed()}
    assert found["packages"].found == "0 of 1 as required"
    assert found["packages"].remedy == command


def test_places_are_written_to_and_left_as_they_were(project):
    before = sorted(project.path.iterdir())
    found = {check.name: check for check in doctor.check_places("data/runs")}
    assert all(found[name].ok for name in ("folder", "storage"))
    assert found["storage"].found == str(project.path / "data" / "runs")
    assert sorted(project.path.iterdir()) == before


def test_a_project_that_cannot_be_opened_is_a_finding_among_the_others(project, monkeypatch):
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "no/name")
    project.write("conf/far/globals.yml", "storage_root: ${run_folder:s3://data/study}\n")
    project.write(
        "conf/far/catalog/prep.yml",
        "words: {type: spelling_transfer.storage.ParquetDataset, filepath: '${globals:storage_root}/words.parquet'}\n",
    )
    result = project.kedro("doctor", "--offline", "--env=far", "--json")
    assert result.exit_code == 1
    found = rows(result)
    assert not found["project"]["ok"]
    assert "'no/name' cannot name a run" in found["project"]["found"]
    assert found["packages"]["ok"]
    assert "AWS (S3)" in found


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


def test_machines_that_no_run_here_waits_for_are_named_and_the_others_are_not(toy_project, platform, connection):
    toy_project.write("conf/base/compute.yml", "studios: {tuning: {name: spelling-tuning, nodes: [x]}}\n")
    studio = StudiosApi(connection).create("spelling-tuning")

    enter_project()

    def found() -> list[tuple[bool, str]]:
        return [(check.ok, check.found) for check in doctor.check_machines(load_context())]

    api = JobsApi(connection)
    left, mine = (
        api.create(JobRequest(name, "sleep 60", "lit-t4-1", studio.id, ("kedro-compute",))) for name in ("left", "mine")
    )
    state = RunState("run-1", jobs={"train#1": {"job_id": mine.id}})
    StateFile(toy_project.path, state).write()
    assert found() == [(False, "left"), (True, "none")]
    StateFile(toy_project.path, replace(state, finished=True)).write()
    assert found()[0] == (False, "left, mine")
    StudiosApi(connection).start(studio, "lit-cpu-4")
    for job in (left, mine):
        platform.module.set_job(platform.world.jobs[job.id], state="completed")
    assert found() == [(True, "none without a run"), (False, "spelling-tuning")]
    platform.fault("GET /v1/.*", status=400, times=99)
    assert [(check.ok, check.name) for check in doctor.check_machines(load_context())] == [(False, "rented machines")]


def test_without_an_account_no_platform_is_asked(project):
    enter_project()
    assert list(doctor.check_machines(load_context())) == []


def test_hosts_are_tried_and_only_an_open_one_is_reachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert [check.ok for check in doctor.check_reachable({"127.0.0.1": port})] == [True]
    (closed,) = doctor.check_reachable({"127.0.0.1": port})
    assert (closed.ok, closed.needed, closed.found) == (False, False, "Connection refused")


def test_without_offline_the_hosts_are_looked_at(project, monkeypatch):
    monkeypatch.setattr(doctor, "HOSTS", {"127.0.0.1": 1})
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", "wandb.local")
        found = rows(project.kedro("doctor", "--json"))
    assert found["127.0.0.1"]["group"] == "reachable"
    assert found["Weights & Biases"]["remedy"].startswith("WANDB_BASE_URL, or base_url in wandb's own settings: Input ")
    monkeypatch.setattr(runs, "server_url", lambda: "http://localhost:1")
    result = project.kedro("doctor", "--json")
    assert result.exit_code == 0
    assert rows(result)["127.0.0.1"]["group"] == "reachable"
    assert rows(result)["localhost"]["group"] == "reachable"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://wandb.example", {"wandb.example": 443}),
        ("http://wandb.example/", {"wandb.example": 80}),
        ("https://wandb.example:8080/api", {"wandb.example": 8080}),
    ],
)
def test_the_host_of_tracking_is_the_one_that_runs_are_sent_to(monkeypatch, url, host):
    monkeypatch.setattr(runs, "server_url", lambda: url)
    assert doctor._tracking_host() == host


def test_no_host_of_tracking_is_written_down_here():
    written = Path(doctor.__file__).read_text("utf-8")
    assert "wandb.ai" not in written  # the client's default has changed before


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that has nothing and notes what it is asked."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []
    with json_server(lambda _: (404, ""), asked=asked) as url:
        yield SimpleNamespace(url=url, asked=asked)


@pytest.fixture
def with_a_model_of_the_hub(project, hub, monkeypatch):
    """The project, whose model is the hub's, where no other host is looked at."""
    monkeypatch.setattr(doctor, "HOSTS", {})
    monkeypatch.setattr(runs, "server_url", lambda: "http://localhost:1")
    kind, revision = "spelling_transfer.storage.HubModelDataset", "0" * 40
    entry = {"type": kind, "repo_id": "someone/tiny", "revision": revision, "endpoint": hub.url}
    project.write("conf/base/catalog/shared.yml", json.dumps({"base_model": entry}))
    return project


def test_to_look_downloads_nothing_and_a_model_that_is_not_here_yet_is_no_fault(with_a_model_of_the_hub, hub):
    result = with_a_model_of_the_hub.kedro("doctor", "--json")
    found = rows(result)["base_model"]
    assert (result.exit_code, found["ok"], found["needed"], found["found"]) == (0, False, False, "not downloaded")
    assert "hf download someone/tiny --revision 000" in found["remedy"]
    assert hub.asked == []
    offline = with_a_model_of_the_hub.kedro("doctor", "--offline", "--json")
    assert (offline.exit_code, rows(offline)["base_model"]["needed"]) == (1, True)


def test_without_its_guard_to_look_would_download(with_a_model_of_the_hub, hub, monkeypatch):
    monkeypatch.setattr(doctor, "_no_downloads", nullcontext)
    with_a_model_of_the_hub.kedro("doctor", "--json")
    assert hub.asked != []
