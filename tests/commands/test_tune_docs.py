"""``kedro tune docs``: the findings of the last study, put where they are read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.cli.cli import KedroCLI

ROOT = Path(__file__).parents[2]
FINDINGS = "data/08_reporting/tuning/reports/tuning_results.md"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("pyproject.toml", ".kedro.yml", ".telemetry", "conf/base/globals.yml", "conf/base/catalog/tuning.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "conf" / "local").mkdir()
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def docs(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(KedroCLI(project), ["tune", "docs", *arguments], prog_name="kedro")


def test_it_writes_the_findings_and_says_where(project: Path) -> None:
    (project / FINDINGS).parent.mkdir(parents=True)
    (project / FINDINGS).write_text("# What tuning found\n", encoding="utf-8")
    result = docs(project)
    assert result.exit_code == 0, result.output
    assert "docs/tuning_results.md" in result.output
    assert (project / "docs" / "tuning_results.md").read_text() == "# What tuning found\n"
    assert docs(project, "--output", "elsewhere.md").exit_code == 0
    assert (project / "elsewhere.md").read_text() == "# What tuning found\n"
    assert "The answer of the evaluation is left out: there is none yet" in result.output


def test_without_a_study_it_says_what_to_run(project: Path) -> None:
    result = docs(project)
    assert result.exit_code == 1
    assert "no study has been finished yet" in result.output
    assert "Traceback" not in result.output
    assert not (project / "docs").exists()
