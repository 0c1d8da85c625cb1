"""This project keeps its own policy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from kedro_non_thinking.checklist import in_step
from kedro_non_thinking.policy import load_policy
from kedro_non_thinking.scanner.engine import scan_paths

from .conftest import ROOT

POLICY = ROOT / "conf/base/policy.yml"


def test_the_project_is_clean_and_every_exemption_is_needed() -> None:
    result = scan_paths(None, load_policy(POLICY), ROOT, policy_path="conf/base/policy.yml")
    assert [(finding.place, finding.rule, finding.value) for finding in result.findings] == []
    assert [entry for entry in result.unchecked if entry.blocking] == []
    assert result.checked > 100


def test_exempt_are_the_template_whose_tokens_are_counted_the_evidence_of_the_probe_and_a_check_of_vllm() -> None:
    shipped = [
        (rule_id, exemption.path)
        for rule_id, rule in load_policy(POLICY).by_id.items()
        for exemption in rule.exemptions
        if not exemption.path.startswith("tests/")
    ]
    assert shipped == [
        ("thinking-switch", "src/spelling_transfer/tokenizer/template_cost.py"),
        ("think-tag", "dataset:conformance"),
        ("think-tag", "**/08_reporting/deployment_check/*"),
        ("deployment-sampling", "src/spelling_transfer/serving/vllm_checks.py"),
    ]


def test_the_checklist_of_the_document_is_that_of_the_rules() -> None:
    document = (ROOT / "docs/non_thinking_policy.md").read_text(encoding="utf-8")
    assert in_step(document, load_policy(POLICY)) == document


def test_the_document_says_whose_decision_the_sampling_values_are() -> None:
    document = " ".join((ROOT / "docs/non_thinking_policy.md").read_text(encoding="utf-8").split())
    assert "only supported configuration" in document
    assert "is a decision of this project, not a recommendation of Qwen's" in document


def test_the_folder_alone_works_in_another_project_under_another_name(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src/kedro_non_thinking", tmp_path / "elsewhere", ignore=lambda *_: {"__pycache__"})
    (tmp_path / "a.py").write_text("ask(enable_thinking=True)\n")
    code = (
        "import sys\n"
        "from elsewhere import hook, probe, logits\n"
        "from elsewhere.cli import commands\n"
        "assert not any(name.startswith('spelling_transfer') for name in sys.modules)\n"
        "commands(['policy', 'check', 'a.py'])\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "a.py:1: thinking-switch" in result.stdout
