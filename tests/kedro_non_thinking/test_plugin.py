"""The policy in a project that knows nothing of it: made by ``kedro new``, as docs/non_thinking_policy.md shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import DEFAULT, ROOT

PIPELINE = """
from kedro.pipeline import node, pipeline


def use(settings):
    return settings


def register_pipelines():
    return {"__default__": pipeline([node(use, "params:generation", "settings_in_use", name="use")])}
"""
_DOCUMENT = (ROOT / "docs/non_thinking_policy.md").read_text(encoding="utf-8")
(SECTION,) = re.findall(r"^## In a fresh Kedro project$(.*?)^## ", _DOCUMENT, re.DOTALL | re.MULTILINE)
KEPT = "generation:\n  max_new_tokens: 24\n"
BROKEN = "generation:\n  max_new_tokens: 24\n  enable_thinking: true\n"


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project with one node, which asks for the hook and the commands as the document shows."""
    folder = tmp_path_factory.mktemp("fresh")
    made = _run(folder, "kedro", "new", "--name", "fresh", "--tools", "none", "--example", "no", "--telemetry", "no")
    assert made.returncode == 0, made.stderr
    project = folder / "fresh"
    (project / "src/fresh/pipeline_registry.py").write_text(PIPELINE)
    for file, code in re.findall(r"```python\n# (src/fresh/\w+\.py)\n(.*?)```", SECTION, re.DOTALL):
        (project / file).write_text(code)
    return project


def test_the_check_reads_the_rules_where_the_project_has_its_configuration(fresh: Path, tmp_path: Path) -> None:
    project = tmp_path / "elsewhere"
    shutil.copytree(fresh, project)
    (project / "conf").rename(project / "config")
    with (project / "src/fresh/settings.py").open("a", encoding="utf-8") as file:
        file.write('\nCONF_SOURCE = "config"\n')
    rules = DEFAULT.read_text(encoding="utf-8")
    (project / "config/base/policy.yml").write_text(rules.replace("version: 1", "version: none"))
    checked = _run(project, "kedro", "policy", "check")
    assert checked.returncode == 2
    assert "config/base/policy.yml" in checked.stderr


def test_what_kedro_new_makes_keeps_the_policy_and_runs(fresh: Path) -> None:
    (fresh / "conf/base/parameters.yml").write_text(KEPT)
    _run(fresh, "git", "init", "--quiet")
    checked = _run(fresh, "kedro", "policy", "check", "--format", "json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    result = json.loads(checked.stdout[checked.stdout.index("{") :])
    assert f"\n{result['checked']} files checked, 0 violations.\n" in SECTION
    assert result["not_checked"] == []
    ran = _run(fresh, "kedro", "run")
    assert ran.returncode == 0, ran.stderr
    assert not (fresh / "conf/base/policy.yml").exists()


def test_a_parameter_that_switches_thinking_on_stops_the_run_and_fails_the_check(fresh: Path) -> None:
    (fresh / "conf/base/parameters.yml").write_text(BROKEN)
    ran = _run(fresh, "kedro", "run")
    assert ran.returncode != 0
    said = ran.stdout + ran.stderr
    assert "thinking-switch at conf/base/parameters.yml:3" in said
    assert "Running node" not in said
    checked = _run(fresh, "kedro", "policy", "check")
    assert checked.returncode == 1
    assert "conf/base/parameters.yml:3: thinking-switch: 'enable_thinking' switches thinking on" in checked.stdout


def test_a_parameter_of_the_command_line_is_refused(fresh: Path) -> None:
    (fresh / "conf/base/parameters.yml").write_text(KEPT)
    ran = _run(fresh, "kedro", "run", "--params", "generation.enable_thinking=true")
    assert ran.returncode != 0
    assert "thinking-switch at --params.generation.enable_thinking" in ran.stdout + ran.stderr


def test_the_commands_and_the_code_of_the_document_are_the_ones_tried_here(fresh: Path) -> None:
    for command in (
        "kedro new --name fresh --tools none --example no --telemetry no",
        "kedro policy check",
        "kedro run",
    ):
        assert f"$ {command}\n" in SECTION
    assert f"```yaml\n{BROKEN}```" in SECTION
    assert "thinking-switch at conf/base/parameters.yml:3" in SECTION
    (code,) = re.findall(r"```python\n(from pathlib.*?)```", SECTION, re.DOTALL)
    (fresh / "conf/base/parameters.yml").write_text(KEPT)
    ran = _run(fresh, sys.executable, "-c", code)
    assert ran.returncode == 0, ran.stderr
    (fresh / "conf/base/parameters.yml").write_text(BROKEN)
    assert "AssertionError: (Finding(rule='thinking-switch'" in _run(fresh, sys.executable, "-c", code).stderr


def test_the_package_names_what_others_may_use_and_imports_it_when_asked() -> None:
    code = (
        "import sys, kedro_non_thinking as plugin\n"
        "assert not {'pydantic', 'numpy', 'torch', 'kedro', 'yaml'} & set(sys.modules), sys.modules\n"
        "assert all(getattr(plugin, name) is not None for name in plugin.__all__)\n"
        "assert not any(name.partition('.')[0] == 'spelling_transfer' for name in sys.modules)\n"
        "plugin.nothing\n"
    )
    result = _run(ROOT, sys.executable, "-c", code)
    assert "AttributeError: No kedro_non_thinking attribute nothing" in result.stderr
