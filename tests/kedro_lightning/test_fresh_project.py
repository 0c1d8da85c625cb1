"""The plugin in a project that `kedro new` has just made, as the page on Studios shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kedro.framework.cli.utils import find_run_command

PAGE = Path(__file__).parents[2] / "docs" / "lightning_studio_setup.md"
SECTION = PAGE.read_text().partition("## In a project of your own\n")[2].partition("\n## ")[0]
NOTHING_INSTALLED = (
    "environments: {default: {plugins: [monitoring, data_mount]}}\n"  # a test leaves its own packages alone
)
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def project(platform, tmp_path: Path) -> Path:
    return tmp_path / "fresh"


def run(line: str, project: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kedro")), *line.split()[1:]]
    folder = project if project.exists() else project.parent
    environment = {**os.environ, "SHARED_DATA": str(project / "data/shared")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_node_with_a_tag_becomes_a_job(platform, project: Path) -> None:
    # Of variables the machine has those of the tests alone: SHARED_DATA is one of the driver.
    platform.world.extra_env = {"DO_NOT_TRACK": "1", "PYTHONPATH": str(PAGE.parents[1] / "src")}
    shown = {}
    for language, text in BLOCKS:
        if language == "bash":
            for line in text.strip().splitlines():
                if line.startswith("kedro "):
                    shown[line] = run(line, project)
                    assert shown[line].returncode == 0, f"{line}\n{shown[line].stdout}{shown[line].stderr}"
        else:
            place, _, content = text.removeprefix("# ").partition("\n")
            (project / place).write_text(content + (NOTHING_INSTALLED if place.endswith("compute.yml") else ""))
    assert [job["name"].rsplit("-", 2)[0] for job in platform.jobs] == ["train"]
    assert platform.jobs[0]["state"] == "completed"
    assert json.loads((project / "data/shared/model.json").read_text())["mean"] == 2
    assert "train  T4" in shown["kedro compute plan"].stdout
    assert "1 job on rented machines" in shown["kedro run --runner=kedro_lightning.StudioRunner"].stderr
    assert "USD in all" in shown["kedro compute cost"].stdout
    assert platform.running == []


@pytest.mark.parametrize("page", ["lightning_studio_setup.md", "non_thinking_policy.md"])
def test_the_package_of_a_project_finds_its_run_command(page: str, tmp_path: Path, monkeypatch) -> None:
    """``python -m fresh`` asks ``fresh.cli`` for it, once there is one."""
    (content,) = re.findall(
        r"^# src/fresh/cli\.py$(.*?)^```", (PAGE.parent / page).read_text(), re.DOTALL | re.MULTILINE
    )
    package = f"fresh_{Path(page).stem}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "cli.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_run_command(package).name == "run"


def test_the_plugin_speaks_of_no_project() -> None:
    """Its words are those of any project: nothing of this study is in its code."""
    words = re.compile(r"spelling|qwen|transfer_learning|\bletters?\b", re.IGNORECASE)
    package = PAGE.parents[1] / "src" / "kedro_lightning"
    found = [
        f"{path.name}: {line}"
        for path in package.rglob("*.py")
        for line in path.read_text().splitlines()
        if words.search(line)
    ]
    assert found == []
