"""The file of the rules: complete, strict, in step with the project's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_non_thinking.errors import PolicyFileError
from kedro_non_thinking.policy import Policy, find_policy_file, load_policy, matches, parse_policy

from .conftest import DEFAULT, ROOT


def _changed(change: Callable[[dict[str, Any]], object]) -> str:
    data = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    change(data)
    return yaml.safe_dump(data)


def test_the_projects_rules_are_those_of_the_plugin_with_exemptions() -> None:
    project = load_policy(ROOT / "conf/base/policy.yml").model_dump()
    default = load_policy().model_dump()
    project["scan"]["test_material"] = default["scan"]["test_material"]
    for rule in project["rules"].values():
        rule["exemptions"] = ()
    assert project == default


def test_deployment_samples_with_the_values_of_the_project() -> None:
    sampling = load_policy(ROOT / "conf/base/policy.yml").sampling
    assert sampling.model_dump() == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda data: data.update(extra=1), "extra"),
        (lambda data: data["rules"]["think-tag"].update(severity="low"), "severity"),
        (lambda data: data["rules"]["think-tag"].pop("why"), "why"),
        (lambda data: data["rules"]["think-tag"].update(why=""), "why"),
        (lambda data: data["rules"].pop("soft-switch"), "soft-switch"),
        (lambda data: data["rules"].update({"other-rule": {}}), "other-rule"),
        (lambda data: data["rules"]["think-tag"].update(exemptions=[{"reason": "It is only a test."}]), "path"),
        (lambda data: data["rules"]["think-tag"].update(exemptions=[{"path": "a.py"}]), "reason"),
        (lambda data: data["rules"]["think-tag"].update(exemptions=[{"path": "", "reason": "It is a test."}]), "path"),
        (
            lambda data: data["rules"]["think-tag"].update(exemptions=[{"path": "**", "reason": "It is a test."}]),
            "path",
        ),
        (lambda data: data["rules"]["deployment-sampling"].update(temperature=3), "temperature"),
        (lambda data: data["rules"]["thinking-only-model"].update(patterns=["("]), "patterns"),
        (lambda data: data["scan"].update(max_file_megabytes=0), "max_file_megabytes"),
        (lambda data: data.pop("version"), "version"),
    ],
)
def test_a_broken_policy_is_refused_by_name(change: Callable[[dict[str, Any]], object], named: str) -> None:
    with pytest.raises(PolicyFileError, match=named) as caught:
        parse_policy(_changed(change), "conf/base/policy.yml")
    assert "conf/base/policy.yml" in str(caught.value)


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "version: 1\nversion: 1\n"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyFileError, match=r"policy\.yml"):
        parse_policy(text, "policy.yml")


def test_a_policy_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match="cannot be read"):
        load_policy(tmp_path / "policy.yml")
    (tmp_path / "policy.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyFileError, match="cannot be read"):
        load_policy(tmp_path / "policy.yml")


def test_a_project_without_a_policy_gets_the_one_of_the_plugin(tmp_path: Path, policy: Policy) -> None:
    assert find_policy_file(tmp_path) is None
    (tmp_path / "conf/base").mkdir(parents=True)
    (tmp_path / "conf/base/policy.yml").write_text(DEFAULT.read_text(encoding="utf-8"), encoding="utf-8")
    file = find_policy_file(tmp_path)
    assert file is not None
    assert load_policy(file) == policy


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("docs/c#.md", "docs/c#.md"), ("data/*", "data/a.parquet#b"), ("dataset:frame", "dataset:frame#a#b")],
)
def test_a_path_is_exempt_with_what_is_inside_it_and_by_its_whole_name(pattern: str, path: str) -> None:
    assert matches(pattern, path)


def test_every_rule_has_an_id_and_says_why_and_what_to_do(policy: Policy) -> None:
    assert len(policy.by_id) == 14
    assert all(rule.why and rule.remedy and rule.forbids and rule.check for rule in policy.by_id.values())
    assert policy.think_ids == (151667, 151668)
