"""Large pages are searched where plain words of a rule stand: the same findings as by trying every place."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from kedro_non_thinking import judge as judge_module
from kedro_non_thinking.judge import Judge
from kedro_non_thinking.mentions import asks, refuses
from kedro_non_thinking.policy import Policy
from kedro_non_thinking.rendering import COMMANDS, AnyCommand
from kedro_non_thinking.scanner.engine import scan_paths
from kedro_non_thinking.text import plain_part, runs_with

_PIECES = [
    *("Qwen/Qwen3-4B-Thinking-2507", "qwq", "QwQ-32B", "org/deepseek-r1:7b", "gpt-oss:20b", "gpt-oss"),
    *("a/b/c-2-thinking", "non-thinking", "thin\u212aing", "th\u0131nk\u0130ng", "Magi\u017ftral-", "openthinker"),
    *("enable_thinking", "enable_thinking=", "enableThinking: ", "ENABLE-THINKING", "true", "=", ": ", '"', "{", "}"),
    *("\u0130", "a.b.", ".", "-", "_", "/", ":", " ", "\n", "vllm", "serve", "x", "7", "é", "think", "[1,2]"),
    *("vllm serve", "ollama run", "ollama", "trl", "sft", "lm-eval", "--apply_chat_template", "LM_EVAL"),
    *("mlx_lm.chat", "reasoning_parser", "chat_template_kwargs", "docker  model run", "curl /api/chat"),
]  # fmt: skip


def _texts() -> list[str]:
    rng = random.Random(17)
    return ["".join(rng.choices(_PIECES, k=rng.randint(1, 14))) for _ in range(4_000)]


@pytest.fixture(scope="module")
def judge(policy: Policy) -> Judge:
    return Judge(policy)


def _spans(matches: Any) -> list[tuple[int, int]]:
    return [match.span() for match in matches]


def _named_everywhere(policy: Policy, text: str) -> list[str]:
    patterns = [re.compile(pattern, re.IGNORECASE) for pattern in policy.rules.thinking_only_model.patterns]
    names = [match[0].rstrip(".") for match in judge_module._MODEL.finditer(text)]
    return [name for name in names if any(pattern.search(name) for pattern in patterns)]


def _not_taking_turns(matches: Any) -> list[tuple[int, int]]:
    """The spans of matches, without those that begin inside one before."""
    left: list[tuple[int, int]] = []
    for start, end in _spans(matches):
        if not left or start >= left[-1][1]:
            left.append((start, end))
    return left


def test_models_are_found_as_if_every_name_was_tried(judge: Judge, policy: Policy) -> None:
    texts = _texts()
    expected = [_named_everywhere(policy, text) for text in texts]
    assert [[finding.value for finding in judge.models(text)] for text in texts] == expected
    assert sum(map(len, expected)) > 500


def test_settings_are_found_as_if_every_place_was_tried(judge: Judge) -> None:
    texts = [judge.text_rules.normalise(text) for text in _texts()]
    settings = judge.settings
    expected = [_spans(settings._assignment.finditer(text)) for text in texts]
    assert [_spans(settings.assignments(text)) for text in texts] == expected
    assert sum(map(len, expected)) > 100


def test_commands_are_found_as_if_every_place_was_tried() -> None:
    texts, commands = _texts(), AnyCommand(COMMANDS)
    expected = [_spans(commands._pattern.finditer(text)) for text in texts]
    assert [_not_taking_turns(commands.finditer(text)) for text in texts] == expected
    assert sum(map(len, expected)) > 300


def test_of_a_large_page_only_the_names_around_a_word_of_a_rule_are_cut_out(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<td>some words-here</td> a/b:c\n" * 20_000 + "Qwen/QwQ-32B\n" + "<td>some words-here</td>\n" * 20_000
    searched: list[str] = []
    pattern = judge_module._MODEL

    class Counting:
        """Notes what names are looked for in."""

        def finditer(self, text: str, *bounds: int) -> Any:
            searched.append(text[slice(*bounds)] if bounds else text)
            return pattern.finditer(text, *bounds)

    monkeypatch.setattr(judge_module, "_MODEL", Counting())
    (finding,) = judge.models(page)
    assert (finding.value, finding.line) == ("Qwen/QwQ-32B", 20_001)
    assert searched == ["Qwen/QwQ-32B"]


def test_a_run_is_given_once_whatever_number_of_words_it_holds() -> None:
    assert list(runs_with(["ab", "b"], "x ab-ab. b", re.compile(r"[\w.-]+"))) == [(2, 8), (9, 10)]


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        (r"(?:^|/)qwq(?:[-:]|$)", "qwq"),
        (r"(?:^|/)phi-4(?:-mini)?-reasoning", "-reasoning"),
        (r"tiny|small", ""),
        (r"colou?r", "colo"),
        (r"(?:one|three)-x", "-x"),
        (r"ab{2,3}cde", "cde"),
        (r"[a-z]+", ""),
    ],
)
def test_the_plain_part_of_a_pattern_is_in_all_that_it_finds(pattern: str, part: str) -> None:
    assert plain_part(pattern) == part


@pytest.mark.parametrize("pattern", ["^(?:foo|longer)-1$", "^foo-1$|^longer$", "^[f]oo-1"])
def test_a_model_whose_pattern_has_no_plain_part_is_found(policy: Policy, pattern: str) -> None:
    rules = policy.model_dump(by_alias=True)
    rules["rules"]["thinking-only-model"]["patterns"] = [pattern]
    assert [finding.value for finding in Judge(Policy.model_validate(rules)).models("serve foo-1 now")] == ["foo-1"]


def test_a_page_that_shows_a_zero_byte_is_read_and_a_binary_is_not(policy: Policy, tmp_path: Path) -> None:
    page, binary = tmp_path / "tokens.html", tmp_path / "what.html"
    page.write_text("<td>\0</td>\n" + "<td>a word</td>\n" * 500 + "<th\0ink>let me see\n")
    binary.write_bytes(bytes(range(256)) * 40)
    result = scan_paths([page, binary], policy, tmp_path)
    assert [(finding.rule, finding.path, finding.line) for finding in result.findings] == [
        ("think-tag", "tokens.html", 502)
    ]
    assert [(entry.path, entry.reason) for entry in result.unchecked] == [("what.html", "binary (no text)")]


def test_of_a_sentence_without_end_only_what_is_near_counts() -> None:
    # Read to its end for each of the thousands of places in it, a file of one line takes minutes.
    assert refuses(f"enable_thinking=true {'a ' * 500} is refused", 0)
    assert not refuses(f"enable_thinking=true {'a ' * 5_000} is refused", 0)
    assert asks(f"enable_thinking=true {'a ' * 500}, so please set it", 0)
    assert not asks(f"enable_thinking=true {'a ' * 5_000}, so please set it", 0)
