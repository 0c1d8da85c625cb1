"""The hook in a Kedro project that knows nothing of this one: named in its settings, it stops what thinks."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.runner import AbstractRunner, ParallelRunner

from kedro_non_thinking.errors import PolicyFileError, PolicyViolationError
from kedro_non_thinking.hook import UNCHANGED, NonThinkingPolicyHook, policy_hook

from .conftest import DEFAULT

PACKAGE = "stranger"
REGISTRY = f"src/{PACKAGE}/pipeline_registry.py"
FILES = {
    "pyproject.toml": """
        [tool.kedro]
        package_name = "stranger"
        project_name = "stranger"
        kedro_init_version = "1.7.0"
        """,
    ".telemetry": "consent: false\n",
    f"src/{PACKAGE}/__init__.py": "",
    f"src/{PACKAGE}/settings.py": "from kedro_non_thinking.hook import policy_hook\nHOOKS = (policy_hook,)\n",
    REGISTRY: """
        import pandas as pd
        from kedro.pipeline import node, pipeline


        class Folder:
            def __init__(self, path):
                self.path = path


        def write(answers):
            return pd.DataFrame({"answer": answers["texts"]})


        def count(frame, settings):
            return {"rows": len(frame), **settings.get("extra", {})}


        def register_pipelines():
            return {"__default__": pipeline([
                node(write, "params:answers", "frame", name="write"),
                node(count, ["frame", "params:settings"], "counts", name="count", tags="deployment"),
            ])}
        """,
    "conf/base/parameters.yml": "answers:\n  texts: [c a t, d o g]\nsettings:\n  temperature: 0.6\n",
    "conf/base/catalog.yml": """
        frame:
          type: pandas.ParquetDataset
          filepath: data/frame.parquet
        counts:
          type: json.JSONDataset
          filepath: data/counts.json
        policy_report:
          type: json.JSONDataset
          filepath: data/policy_report.json
        """,
    "conf/local/.gitkeep": "",
}


class Stranger:
    """A small Kedro project."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Writes a file of the project."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")

    def run(self, env: str | None = None, *, runner: AbstractRunner | None = None, **params: Any) -> None:
        """Runs the default pipeline."""
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        bootstrap_project(self.path)
        with KedroSession.create(self.path, env=env, runtime_params=params or None) as session:
            session.run(runner=runner)

    def left(self, name: str) -> Any:
        """Returns a JSON file that a run left, or ``None``."""
        file = self.path / "data" / name
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stranger]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.chdir(tmp_path)
    yield Stranger(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_a_run_that_keeps_the_policy_goes_through_and_leaves_its_evidence(project: Stranger) -> None:
    project.run()
    assert project.left("counts.json") == {"rows": 2}
    report = project.left("policy_report.json")
    assert report["kept"] is True
    assert len(report["rules"]) == 14
    assert "conf/base/parameters.yml" in report["checked"]["configuration"]
    assert {"parameter:answers", "parameter:settings"} <= set(report["checked"]["parameters"])
    assert {"dataset:frame", "dataset:counts"} <= set(report["checked"]["saved"])
    assert "dataset:frame" in report["checked"][UNCHANGED]
    assert "dataset:frame" not in report["checked"].get("loaded", [])
    assert report["found"] == []


@pytest.mark.parametrize(
    ("file", "text", "rule"),
    [
        ("conf/base/parameters.yml", "answers: {texts: [a]}\nsettings: {enable_thinking: true}\n", "thinking-switch"),
        ("conf/base/parameters.yml", "answers: {texts: [a]}\nsettings: {temperature: 0.7}\n", "deployment-sampling"),
        ("conf/base/parameters/other.yml", "other: {reasoning_parser: qwen3}\n", "reasoning-parser"),
        ("conf/local/parameters.yml", "settings: {thinking_budget: 100}\n", "thinking-budget"),
        ("conf/base/study/serve.yml", "command: vllm serve m --enable-reasoning\n", "server-flag"),
        ("conf/local/policy.yml", DEFAULT.read_text(encoding="utf-8"), "policy-off"),
        (
            "conf/base/catalog_more.yml",
            "remote:\n  type: json.JSONDataset\n  filepath: a.json\n  metadata:\n    reasoning_effort: high\n",
            "thinking-budget",
        ),
    ],
)
def test_a_violation_in_the_configuration_stops_the_run_before_any_node(
    project: Stranger, file: str, text: str, rule: str
) -> None:
    project.write(file, text)
    with pytest.raises(PolicyViolationError) as caught:
        project.run()
    assert rule in {finding.rule for finding in caught.value.findings}
    assert project.left("counts.json") is None
    assert not (project.path / "data/frame.parquet").exists()


def test_what_a_node_of_the_deployment_loads_is_judged_as_the_deployments(project: Stranger) -> None:
    # Settings in a file may sample as they like until a node of the deployment reads them.
    registry = FILES[REGISTRY].replace("params:settings", "options")
    project.write("conf/base/catalog_more.yml", "options: {type: json.JSONDataset, filepath: data/options.json}\n")
    project.write("data/options.json", '{"temperature": 0.7}')
    project.write(REGISTRY, registry.replace(', tags="deployment"', ""))
    project.run()
    project.write(REGISTRY, registry)
    with pytest.raises(PolicyViolationError, match="deployment-sampling at dataset:options"):
        project.run()


def test_a_violation_says_rule_place_value_and_remedy(project: Stranger) -> None:
    project.write("conf/base/parameters.yml", "answers: {texts: [a]}\nsettings:\n  enable_thinking: true\n")
    with pytest.raises(PolicyViolationError) as caught:
        project.run()
    message = str(caught.value)
    assert "thinking-switch at conf/base/parameters.yml:3" in message
    assert "enable_thinking=True" in message
    assert "remedy: Set it to false" in message


def test_a_value_that_is_only_there_once_resolved_is_found(project: Stranger) -> None:
    project.write("conf/base/globals.yml", "word: think\n")
    project.write("conf/base/parameters.yml", "answers: {texts: [a]}\nsettings:\n  system: 'Spell. /${globals:word}'\n")
    with pytest.raises(PolicyViolationError, match=r"soft-switch at parameters\.settings\.system"):
        project.run()


def test_another_environment_is_judged_when_it_is_used(project: Stranger) -> None:
    project.write("conf/gpu/parameters.yml", "settings: {enable_thinking: true}\n")
    project.run()
    with pytest.raises(PolicyViolationError, match=r"conf/gpu/parameters\.yml:1"):
        project.run(env="gpu")


def test_a_parameter_of_the_command_line_is_judged(project: Stranger) -> None:
    with pytest.raises(PolicyViolationError, match=r"thinking-switch at --params\.settings\.enable_thinking"):
        project.run(settings={"enable_thinking": True})


def test_what_cannot_be_seen_in_a_file_stops_no_run_and_credentials_are_not_read(project: Stranger) -> None:
    project.write("conf/base/serving_command.yml", "command: vllm serve $MODEL\n")
    project.write("conf/base/credentials/store.yml", "enable_thinking: true\n")
    project.run()
    read = project.left("policy_report.json")["checked"]["configuration"]
    assert "conf/base/serving_command.yml" in read
    assert not any("credentials" in name for name in read)


@pytest.mark.parametrize("base", ["dataclass", "BaseModel"])
def test_a_default_of_the_class_that_kedro_makes_of_a_parameter_is_judged(project: Stranger, base: str) -> None:
    made = {"dataclass": "@dataclass\nclass Answers:", "BaseModel": "class Answers(BaseModel):"}[base]
    project.write(
        REGISTRY,
        "from dataclasses import dataclass\n\nfrom kedro.pipeline import node, pipeline\n"
        f"from pydantic import BaseModel\n\n\n{made}\n    texts: list\n    enable_thinking: bool = True\n\n\n"
        "def write(answers: Answers):\n    return answers.texts\n\n\n"
        'def register_pipelines():\n    return {"__default__": pipeline([node(write, "params:answers", "texts")])}\n',
    )
    with pytest.raises(PolicyViolationError, match=r"thinking-switch at parameter:answers\.enable_thinking"):
        project.run()


def test_a_thought_in_the_data_is_not_saved(project: Stranger) -> None:
    project.write("conf/base/parameters.yml", "answers: {texts: [a, '<thi', nk>]}\nsettings: {}\n")
    project.run()  # pieces are no tag
    registry = FILES[REGISTRY].replace('answers["texts"]}', '["".join(answers["texts"])]}')
    project.write(REGISTRY, registry)
    (project.path / "data/frame.parquet").unlink()
    with pytest.raises(PolicyViolationError, match="think-tag at dataset:frame#answer"):
        project.run()
    assert not (project.path / "data/frame.parquet").exists()
    assert project.left("policy_report.json")["kept"] is False


def test_a_violation_in_a_process_of_the_parallel_runner_is_told_and_is_in_the_evidence(project: Stranger) -> None:
    project.write("conf/base/parameters.yml", "answers: {texts: ['<thi', nk>]}\nsettings: {}\n")
    project.write(REGISTRY, FILES[REGISTRY].replace('answers["texts"]}', '["".join(answers["texts"])]}'))
    with pytest.raises(PolicyViolationError, match="think-tag at dataset:frame#answer"):
        project.run(runner=ParallelRunner(max_workers=1))
    report = project.left("policy_report.json")
    assert report["kept"] is False
    assert {finding["rule"] for finding in report["found"]} == {"think-tag"}


def test_a_violation_stays_the_error_where_its_evidence_cannot_be_saved(project: Stranger) -> None:
    registry = FILES[REGISTRY].replace('answers["texts"]}', '["<thi" + "nk>"]}')
    project.write(REGISTRY, registry)
    (project.path / "data/policy_report.json").mkdir(parents=True)
    with pytest.raises(PolicyViolationError, match="think-tag at dataset:frame#answer"):
        project.run()


def test_a_file_that_changed_since_it_was_saved_is_judged_again(project: Stranger) -> None:
    # A node that has nothing to do with the file rewrites it before the next one loads it.
    registry = FILES[REGISTRY]
    registry = registry.replace('"frame", name="write"),', '"frame", name="write"), node(spoil, "frame", "x"),')
    registry = registry.replace('["frame", "params:settings"]', '["frame", "params:settings", "x"]')
    registry = registry.replace("def count(frame, settings):", "def count(frame, settings, x):")
    registry = registry.replace(
        "def register_pipelines",
        "def spoil(frame):\n            frame.assign(answer='<think>').to_parquet('data/frame.parquet')\n"
        "            return 1\n\n\n        def register_pipelines",
    )
    project.write(REGISTRY, registry)
    with pytest.raises(PolicyViolationError, match="think-tag at dataset:frame#answer"):
        project.run()
    assert project.left("counts.json") is None


def test_a_file_of_an_earlier_run_is_judged_when_it_is_loaded(project: Stranger) -> None:
    project.run()
    registry = FILES[REGISTRY]
    only_count = registry.replace('node(write, "params:answers", "frame", name="write"),', "")
    project.write(REGISTRY, only_count)
    project.run()
    assert "dataset:frame" in project.left("policy_report.json")["checked"]["loaded"]


def test_a_broken_policy_stops_the_start_and_an_exemption_lets_pass(project: Stranger) -> None:
    project.write("conf/base/parameters.yml", "answers: {texts: [a]}\nsettings: {thinking_budget: 5}\n")
    text = DEFAULT.read_text(encoding="utf-8")
    project.write("conf/base/policy.yml", text.replace("version: 1", "version: 1\nlevel: low"))
    with pytest.raises(PolicyFileError, match="level"):
        project.run()
    marker = "    keys: [thinking_budget, "
    places = ("conf/base/parameters.yml", "parameters*", "parameter:*")
    entries = "".join(f"      - path: '{place}'\n        reason: Only to test the exemption.\n" for place in places)
    assert marker in text
    project.write("conf/base/policy.yml", text.replace(marker, f"    exemptions:\n{entries}{marker}"))
    project.run()
    used = project.left("policy_report.json")["exemptions_used"]
    assert {entry["path"] for entry in used} == set(places)


def test_a_process_without_a_context_has_the_rules_all_the_same(project: Stranger) -> None:
    with pytest.raises(PolicyViolationError, match="think-tag at dataset:frame"):
        NonThinkingPolicyHook().after_dataset_loaded("frame", "<think>")


def test_a_process_without_a_context_reads_the_rules_where_the_project_has_its_configuration(
    project: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_of_project = SimpleNamespace(CONF_SOURCE="settings", CONFIG_LOADER_ARGS={"base_env": "common"})
    monkeypatch.setattr("kedro.framework.project.settings", settings_of_project)
    project.write("settings/common/policy.yml", "no policy")
    with pytest.raises(PolicyFileError, match=r"settings/common/policy\.yml"):
        NonThinkingPolicyHook().after_dataset_loaded("frame", {})


def test_the_evidence_says_how_long_the_checks_took(project: Stranger) -> None:
    started = time.perf_counter()
    project.run()
    run_seconds = time.perf_counter() - started
    assert policy_hook._checks is not None
    assert 0 < policy_hook._checks.evidence.seconds < run_seconds
