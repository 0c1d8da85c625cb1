"""A project to plan studies in, and how a refusal looks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_fixtures import source, store  # noqa: F401 - for the tests of bundles
from click.testing import CliRunner, Result
from kedro.framework.cli.cli import KedroCLI
from lightning_platform import connection, fake_platform, platform
from tests.serving.conftest import deployable, make_deployable

__all__ = ["connection", "deployable", "fake_platform", "make_deployable", "platform"]

ROOT = Path(__file__).parents[2]

_FILES = (
    "conf/base/globals.yml",
    "conf/base/parameters/tuning.yml",
    "conf/base/parameters/model.yml",
    "conf/base/parameters/tracking.yml",
    "conf/base/catalog/tuning.yml",
)
_FOLDERS = ("conf/base/study", "conf/qwen3_4b")


class TuningProject:
    """A copy of the part of the project's configuration that a plan is made of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in (*_FILES, *_FOLDERS):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if name in _FOLDERS else shutil.copy
            copy(ROOT / name, path / name)
        for name in ("pyproject.toml", ".kedro.yml", ".telemetry"):
            shutil.copy(ROOT / name, path)
        (path / "conf" / "local").mkdir()
        (path / "src").mkdir()

    def tune(self, *arguments: str) -> Result:
        """Runs ``kedro tune``."""
        return CliRunner().invoke(KedroCLI(self.path), ["tune", *arguments], prog_name="kedro")

    def plan(self, *arguments: str) -> dict[str, Any]:
        """Returns what ``--dry-run --json`` prints."""
        result = self.tune(*arguments, "--dry-run", "--json")
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.stdout))

    def settings(self, *arguments: str) -> dict[str, Any]:
        """Returns what ``--show-config --json`` prints of each setting."""
        result = self.tune(*arguments, "--show-config", "--json")
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.stdout)["settings"])

    def write(self, name: str, content: str) -> Path:
        """Writes a file of the project."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file


@pytest.fixture
def tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TuningProject:
    """A project whose folder is the current one; nobody is signed in to Weights & Biases."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("KEDRO_ENV", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return TuningProject(tmp_path)


@pytest.fixture
def assert_refused() -> Callable[..., None]:
    """Checks exit code and message of a command that cannot go on."""

    def check(result: Result, exit_code: int, *parts: str) -> None:
        assert result.exit_code == exit_code, result.output
        for part in parts:
            assert part in " ".join(result.stderr.split()), result.stderr
        assert "Traceback" not in result.output

    return check
