"""A project to plan studies in, and how a refusal looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bundle_fixtures import source, store  # noqa: F401 - for the tests of bundles
from click.testing import Result
from lightning_platform import connection, fake_platform, platform
from tests.conftest import ProjectCopy
from tests.serving.conftest import deployable, make_deployable

__all__ = ["connection", "deployable", "fake_platform", "make_deployable", "platform"]


class TuningProject(ProjectCopy):
    """A copy of the project to plan studies in."""

    def tune(self, *arguments: str) -> Result:
        """Runs ``kedro tune``."""
        return self.kedro_here("tune", *arguments)

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
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("KEDRO_ENV", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return TuningProject(tmp_path)


def assert_refused(result: Result, exit_code: int, *parts: str) -> None:
    """Checks exit code and message of a command that cannot go on."""
    assert result.exit_code == exit_code, result.output
    for part in parts:
        assert part in " ".join(result.stderr.split()), result.stderr
    assert "Traceback" not in result.output
