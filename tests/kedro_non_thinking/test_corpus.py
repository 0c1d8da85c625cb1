"""The corpus: violations in every form, of which none may be missed, and look-alikes, which are fine."""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_non_thinking import judge as judge_module
from kedro_non_thinking import rendering, settings
from kedro_non_thinking.policy import Policy
from kedro_non_thinking.scanner import python_context, python_rendering, shell
from kedro_non_thinking.scanner.engine import Scanner

from .conftest import seen

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
    found = {finding.rule for finding in seen(scanner, case["text"], case["file"])}
    assert set(case["rules"]) <= found


def _is_missed(policy: Policy, root: Path) -> bool:
    """Whether a scanner made now misses a violation by a template rendered behind one's back, or in a deployment."""
    scanner = Scanner(policy, root)
    wanted = [case for name, case in VIOLATIONS if "rendering" in name or "deployment-sampling" in case["rules"]]
    return any(
        not set(case["rules"]) <= {finding.rule for finding in seen(scanner, case["text"], case["file"])}
        for case in wanted
    )


@pytest.mark.parametrize("command", rendering.COMMANDS)
def test_each_command_is_needed_to_find_a_violation(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    left = [entry for entry in rendering.COMMANDS if entry != command]
    monkeypatch.setattr(rendering, "_COMMAND", rendering.AnyCommand(left))
    assert _is_missed(policy, tmp_path)


@pytest.mark.parametrize(
    ("table", "name"),
    [(table, name) for table in (python_rendering.CHATS, python_rendering.OBJECTS) for name in table],
)
def test_each_call_is_needed_to_find_a_violation(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: dict[str, Any], name: str
) -> None:
    monkeypatch.delitem(table, name)
    assert _is_missed(policy, tmp_path)


@pytest.mark.parametrize(
    ("place", "name", "mutant"),
    [
        (judge_module, "judge_mapping", lambda _value: None),
        (judge_module, "judge_commands", lambda _text: iter(())),
        (judge_module, "DEPLOYS", re.compile("(?!)")),
        (settings, "DEPLOYS", re.compile("(?!)")),
        (python_context, "DEPLOYS", re.compile("(?!)")),
        (shell, "_DEPLOYED", re.compile("(?!)")),
        (python_rendering, "_TRAINER", re.compile("(?!)")),
        (python_rendering, "is_hybrid", lambda _text: False),
        (python_rendering, "_CLIENTS", frozenset()),
        (python_rendering.Rendering, "_is_kind_of_trainer", lambda _self, names: "SFTTrainer" in names),
        (rendering, "_call_end", lambda text, start: text.find("\n", start)),
        (shell, "_FROM", re.compile("(?!)")),
    ],
)
def test_each_rule_is_needed_to_find_a_violation(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, mutant: Any
) -> None:
    assert not _is_missed(policy, tmp_path)
    monkeypatch.setattr(place, name, mutant)
    assert _is_missed(policy, tmp_path)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.sh", 'vllm serve "$MODEL" --port 8000\n'),
        ("a.py", "from trl import SFTTrainer\nSFTTrainer(model=model, train_dataset=d)\n"),
        ("a.py", "from vllm import LLM\nllm = LLM(name)\nllm.chat(chats, params)\n"),
        ("a.py", "from transformers import pipeline\ngen = pipeline('text-generation', name)\ngen(given)\n"),
        ("a.py", "client.chat.completions.create(model='Qwen/Qwen3-4B', messages=m)\n"),
        ("a.py", "import os\nos.system(f'vllm serve {model} --port 1')\n"),
        ("a.yml", "model: ${oc.env:MODEL}\nmax-model-len: 2048\n"),
        ("a.yml", "template: qwen3\n"),
        ("a.py", "command = ['vllm', 'serve', model]\n"),
        ("a.py", "client.responses.create(model='Qwen/Qwen3-4B', input='Spell cat.')\n"),
        ("a.md", "```bash\nollama run $MODEL\n```\n"),
    ],
)
def test_a_model_that_cannot_be_known_is_listed_and_is_no_violation(scanner: Scanner, file: str, text: str) -> None:
    assert seen(scanner, text, file) == []
    (unseen,) = scanner.look_at(text, file)
    assert unseen.rule == "template-call"
    assert not unseen.seen


def test_look_alikes_raise_at_most_two_false_alarms(scanner: Scanner) -> None:
    alarms = {}
    for name, case in LOOK_ALIKES:
        found = seen(scanner, case["text"], case["file"])
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
