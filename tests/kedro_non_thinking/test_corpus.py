"""The corpus: violations in every form, of which none may be missed, and look-alikes, which are fine."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_non_thinking.policy import Policy
from kedro_non_thinking.scanner.engine import Scanner

CORPUS = Path(__file__).parent / "corpus"
FEWEST = 150
MOST_FALSE_ALARMS = 2


def _cases(pattern: str) -> list[tuple[str, dict[str, Any]]]:
    cases = []
    for file in sorted(CORPUS.glob(pattern)):
        for number, case in enumerate(yaml.safe_load(file.read_text(encoding="utf-8"))):
            if case["text"] == "@policy":  # the policy's own text
                default = resources.files("kedro_non_thinking").joinpath("default_policy.yml")
                case["text"] = default.read_text(encoding="utf-8")
            cases.append((f"{file.stem}[{number}]", case))
    return cases


VIOLATIONS = _cases("violations_*.yml")
LOOK_ALIKES = _cases("look_alikes_*.yml")


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in VIOLATIONS])
def test_violation_is_found_by_its_rule(scanner: Scanner, case: dict[str, Any]) -> None:
    found = {finding.rule for finding in scanner.scan_text(case["text"], case["file"])}
    assert set(case["rules"]) <= found


def test_look_alikes_raise_at_most_two_false_alarms(scanner: Scanner) -> None:
    alarms = {}
    for name, case in LOOK_ALIKES:
        found = scanner.scan_text(case["text"], case["file"])
        if found:
            alarms[name] = [(finding.rule, finding.value) for finding in found]
    assert len(alarms) <= MOST_FALSE_ALARMS, alarms


def test_corpus_is_large_and_covers_every_rule_and_form(policy: Policy) -> None:
    assert len(VIOLATIONS) >= FEWEST
    assert len(LOOK_ALIKES) >= FEWEST
    rules = Counter(rule for _, case in VIOLATIONS for rule in case["rules"])
    assert set(rules) == set(policy.by_id)
    forms = {Path(case["file"]).suffix or Path(case["file"]).name for _, case in VIOLATIONS}
    assert {".py", ".yml", ".json", ".toml", ".env", ".md", ".sh", "Dockerfile", ".ipynb", ".jsonl", ".csv"} <= forms
    texts = [(case["file"], case["text"]) for _, case in VIOLATIONS + LOOK_ALIKES]
    assert len(set(texts)) == len(texts)
