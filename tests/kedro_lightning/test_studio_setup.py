"""Setting up Studios: one a task, the same every time, asleep at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedro_lightning.config import ComputeConfig
from kedro_lightning.errors import ComputeError, SettingsError
from kedro_lightning.platform.studios import StudiosApi
from kedro_lightning.studio_setup import load_steps, set_up


def config(tmp_path: Path, **environment) -> ComputeConfig:
    return ComputeConfig.model_validate(
        {
            "studios": {"tuning": {"name": "spelling-tuning", "idle_minutes": 7}},
            "environments": {"default": {"variables": {"GREETING": "hello"}, **environment}},
            "data": {"mounts": {"data/shared": str(tmp_path / "mount")}},
        }
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that is the installed one, so that nothing has to be installed."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "spelling-transfer"\n')
    return folder


def test_a_studio_becomes_what_is_declared_and_sleeps_again(platform, connection, project, tmp_path: Path) -> None:
    api = StudiosApi(connection)
    settings = config(tmp_path, startup=["echo $GREETING > started.txt"])
    for _ in range(2):  # again changes nothing
        assert set_up(api, settings, "tuning", project) == []
    (studio,) = platform.world.studios.values()
    assert studio["codeConfig"]["idleShutdownSeconds"] == 7 * 60
    assert studio["codeConfig"]["disableAutoShutdown"] is False
    assert studio["_in_use"] is None
    assert {entry["name"]: entry["value"] for entry in studio["env"]} == {"GREETING": "hello"}
    folder = Path(platform.world.root) / "studios" / studio["id"]
    assert (folder / "started.txt").read_text() == "hello\n"
    assert (tmp_path / "mount").is_dir()
    assert not [entry for entry in platform.world.log if entry["path"].endswith("keep-alive")]


def test_other_packages_are_a_problem_that_is_named(platform, connection, project, tmp_path, monkeypatch) -> None:
    from kedro_lightning import studio_setup

    installed: list[str] = []
    real = StudiosApi.run

    def run(self, studio, command):
        if "pip install" in command:
            installed.append(command)
            return "", 0
        return real(self, studio, command)

    monkeypatch.setattr(StudiosApi, "run", run)
    monkeypatch.setattr(studio_setup, "package_versions", lambda project: {"kedro": "0.0.1"})
    (problem,) = set_up(StudiosApi(connection), config(tmp_path), "tuning", project)
    assert "kedro==0.0.1" in installed[0]
    assert problem.endswith("0.0.1 here")


def test_a_studio_without_kedro_is_a_problem_as_its_jobs_could_not_begin(
    platform, connection, project, tmp_path, monkeypatch
) -> None:
    (project / "pyproject.toml").write_text('[project]\nname = "fresh"\n')  # it is not installed here
    real = StudiosApi.run

    def run(self, studio, command):
        if "import kedro_lightning" in command:
            return "ModuleNotFoundError: No module named 'kedro_lightning'", 1
        return ("", 0) if "pip install" in command else real(self, studio, command)

    monkeypatch.setattr(StudiosApi, "run", run)
    (problem,) = set_up(StudiosApi(connection), config(tmp_path), "tuning", project)
    assert problem.endswith("environments.default.packages")


def test_a_step_that_fails_is_named_and_the_machine_is_stopped(platform, connection, project, tmp_path: Path) -> None:
    settings = config(tmp_path, startup=["echo no such disk; exit 4"])
    with pytest.raises(ComputeError, match=r"exit code 4[\s\S]*no such disk"):
        set_up(StudiosApi(connection), settings, "tuning", project)
    (studio,) = platform.world.studios.values()
    assert studio["_in_use"] is None


def test_a_mount_that_cannot_be_written_is_a_problem(platform, connection, project, tmp_path: Path) -> None:
    settings = ComputeConfig.model_validate(
        {**config(tmp_path).model_dump(), "data": {"mounts": {"data/shared": "/proc/nowhere"}}}
    )
    with pytest.raises(ComputeError, match="/proc/nowhere"):
        set_up(StudiosApi(connection), settings, "tuning", project)


def test_half_a_key_is_a_problem(platform, connection, project, tmp_path: Path) -> None:
    settings = ComputeConfig.model_validate({**config(tmp_path).model_dump(), "secrets": ["AWS_ACCESS_KEY_ID"]})
    assert set_up(StudiosApi(connection), settings, "tuning", project) == [
        "secrets: AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY"
    ]


def test_an_unknown_plugin_and_an_unknown_task_are_named(platform, connection, project, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no 'firewall'\. Known: data_mount, environment, monitoring"):
        load_steps(("firewall",))
    with pytest.raises(SettingsError, match=r"no task 'cooking'\. Known: tuning"):
        set_up(StudiosApi(connection), config(tmp_path), "cooking", project)
