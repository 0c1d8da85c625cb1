"""``kedro policy`` as a user types it: exit codes, formats, the checklist in step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kedro_non_thinking.cli import commands
from kedro_non_thinking.policy import load_policy

from .conftest import DEFAULT, ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one clean file and the rules in their place."""
    (tmp_path / "conf/base").mkdir(parents=True)
    (tmp_path / "conf/base/policy.yml").write_text(DEFAULT.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "x"\nproject_name = "x"\nkedro_init_version = "1.7.0"\n'
    )
    (tmp_path / "clean.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, ["policy", *map(str, arguments)])


def test_a_clean_project_ends_with_0(project: Path) -> None:
    result = _run("check")
    assert result.exit_code == 0
    assert "0 violations" in result.output


def test_a_violation_ends_with_1_and_says_file_line_rule_value_and_remedy(project: Path) -> None:
    (project / "bad.yml").write_text("a: 1\nenable_thinking: true\n")
    result = _run("check")
    assert result.exit_code == 1
    assert "bad.yml:2: thinking-switch" in result.output
    assert "enable_thinking=True" in result.output
    assert "Set it to false" in result.output


def test_the_name_of_a_file_writes_no_line_of_its_own(project: Path) -> None:
    (project / "bad\n::error::forged\x1b[2J.yml").write_text("enable_thinking: true\n")
    output = _run("check").output
    assert "bad\ufffd::error::forged\ufffd[2J.yml:1: thinking-switch" in output
    assert "\x1b" not in output


def test_the_name_of_a_link_writes_no_line_of_its_own(project: Path) -> None:
    subprocess.run(["git", "init", "-q", project], check=True)
    (project / "folder").mkdir()
    (project / "link\n::error::forged").symlink_to("folder")
    assert "link\ufffd::error::forged was read, ignored ones included" in _run("check").output


def test_a_file_that_cannot_be_judged_ends_with_1(project: Path) -> None:
    (project / "broken.yml").write_text("a: [")
    result = _run("check")
    assert result.exit_code == 1
    assert "broken.yml: not checked: not valid YAML" in result.output
    assert "1 could not be judged" in result.output


@pytest.mark.parametrize(
    "arguments", [["nowhere.py"], ["--format", "xml"], ["--jobs", "0"], ["--policy", "nowhere.yml"]]
)
def test_misuse_ends_with_2(project: Path, arguments: list[str]) -> None:
    assert _run("check", *arguments).exit_code == 2


def test_a_broken_policy_ends_with_2_and_names_the_key(project: Path) -> None:
    (project / "conf/base/policy.yml").write_text("version: 1\nseverity: low\n")
    result = _run("check")
    assert result.exit_code == 2
    assert "severity" in result.output


def test_files_outside_of_the_project_are_checked(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "serve.sh"
    elsewhere.write_text("vllm serve m --reasoning-parser qwen3\n")
    result = _run("check", elsewhere)
    assert result.exit_code == 1
    assert f"{elsewhere.as_posix()}:1: server-flag" in result.output


def test_json_holds_what_the_text_says(project: Path) -> None:
    (project / "bad.yml").write_text("enable_thinking: true\n")
    (project / "broken.py").write_text("def (")
    (project / "picture.png").write_bytes(b"\x89PNG\0")
    content = json.loads(_run("check", "--format", "json").output)
    assert content["clean"] is False
    assert [(entry["path"], entry["line"], entry["rule"]) for entry in content["findings"]] == [
        ("bad.yml", 1, "thinking-switch")
    ]
    blocking = {entry["path"]: entry["blocking"] for entry in content["not_checked"]}
    assert blocking == {"broken.py": True, "picture.png": False}
    assert content["checked"] == 4


def _git(project: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    (project / ".gitignore").write_text("/data/**\n")


def _no_repository(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))


def _no_git(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))


def _of_another_user(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _git(project)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")


def _data_is_a_link(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _git(project)
    (project / "data").rename(project / "elsewhere")
    (project / "data").symlink_to(project / "elsewhere")
    (project / ".gitignore").write_text("/data/**\n/elsewhere/**\n")


@pytest.mark.parametrize(
    ("find", "said"),
    [
        (_no_repository, "(not a git repository)"),
        (_no_git, "(git is not installed)"),
        (_of_another_user, "belongs to another user"),
        (_data_is_a_link, "Every file below data was read"),
    ],
)
def test_that_ignored_files_were_read_is_said_in_one_line_and_what_a_run_writes_keeps_the_policy(
    project: Path, monkeypatch: pytest.MonkeyPatch, find: Callable[..., None], said: str
) -> None:
    shutil.copy(ROOT / "conf/base/policy.yml", project / "conf/base/policy.yml")
    evidence = project / "data/08_reporting/deployment_check"
    evidence.mkdir(parents=True)
    (evidence / "conformance.json").write_text(json.dumps([{"sent": "Spell word <think>", "outcome": "refused"}]))
    (evidence / "index.html").write_text("<td>sent: &lt;think&gt;; outcome: refused</td>")
    find(project, monkeypatch)
    content = json.loads(_run("check", "--format", "json").output)
    assert [entry for entry in content["findings"] if entry["rule"] != "exemption-unused"] == []
    (note,) = content["notes"]
    assert said in note
    assert note in _run("check").output.splitlines()
    (evidence.parent / "other.json").write_text('{"answer": "<think>"}')
    assert "data/08_reporting/other.json:1: think-tag" in _run("check").output


def test_with_a_list_of_git_nothing_is_said(project: Path) -> None:
    _git(project)
    assert json.loads(_run("check", "--format", "json").output)["notes"] == []


def test_what_cannot_be_seen_is_listed_in_each_form_and_is_no_violation(project: Path) -> None:
    (project / "serve.sh").write_text('#!/bin/sh\nvllm serve "$MODEL"\n')
    result = _run("check")
    assert result.exit_code == 0
    assert "What the scanner cannot check" in result.output
    assert "serve.sh:2: 'vllm serve' renders the template of a model that is not named here" in result.output
    (entry,) = json.loads(_run("check", "--format", "json").output)["cannot_see"]
    assert (entry["path"], entry["line"], entry["rule"]) == ("serve.sh", 2, "template-call")
    (run,) = json.loads(_run("check", "--format", "sarif").output)["runs"]
    assert run["results"] == []
    assert "cannot be seen" in str(run["invocations"][0]["toolExecutionNotifications"])


def test_sarif_has_the_rules_the_results_and_what_was_not_checked(project: Path) -> None:
    (project / "so bäd#.yml").write_text("a: 1\nenable_thinking: true\n")
    (project / "broken.py").write_text("def (")
    log: dict[str, Any] = json.loads(_run("check", "--format", "sarif").output)
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert set(load_policy().by_id) < set(ids)
    (result,) = run["results"]
    assert ids[result["ruleIndex"]] == result["ruleId"] == "thinking-switch"
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"] == {"uri": "so%20b%C3%A4d%23.yml", "uriBaseId": "ROOT"}
    assert location["region"]["startLine"] == 2
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "not valid Python" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_the_checklist_is_brought_in_step_and_stays_so(project: Path) -> None:
    document = project / "docs.md"
    document.write_text(
        "# Title\n\n<!-- checklist: made by 'kedro policy checklist --write' -->\n"
        "outdated\n<!-- end of checklist -->\n\nend\n"
    )
    assert ": updated" in _run("checklist", "--write", "--document", document).output
    text = document.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith("\n\nend\n")
    assert "outdated" not in text
    assert all(rule.check in text for rule in load_policy().by_id.values())
    assert "already up to date" in _run("checklist", "--write", "--document", document).output


def test_a_document_without_a_place_for_the_checklist_is_misuse(project: Path) -> None:
    (project / "docs.md").write_text("# Title\n")
    assert _run("checklist", "--write", "--document", "docs.md").exit_code == 2
    nowhere = _run("checklist", "--write", "--document", "nowhere.md")
    assert nowhere.exit_code == 2
    assert "--document names another, which needs the lines" in nowhere.output
    assert (project / "docs.md").read_text() == "# Title\n"


@pytest.mark.parametrize("arguments", [[], ["check"], ["probe"], ["checklist"]])
def test_help_has_an_example(arguments: list[str]) -> None:
    result = _run(*arguments, "--help")
    assert result.exit_code == 0
    assert not arguments or "Example" in result.output


def test_the_commands_and_the_hook_import_nothing_heavy() -> None:
    code = (
        "import sys, kedro_non_thinking.cli, kedro_non_thinking.hook\n"
        "print(sorted({'torch', 'transformers', 'pydantic', 'pandas', 'numpy', 'mlx', 'httpx'} & set(sys.modules)))"
    )
    # kedro itself is measured without ours first: what it brings is not our doing.
    kedro = "import sys, click, kedro.framework.hooks\n" + code.splitlines()[-1]
    ours, theirs = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
        for text in (code, kedro)
    )
    assert ours == theirs
