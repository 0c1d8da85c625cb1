"""What a run loads and saves: text and token columns, settings and folders."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings

from kedro_non_thinking.datasets import judge_data
from kedro_non_thinking.judge import Judge
from kedro_non_thinking.policy import Policy, load_policy
from kedro_non_thinking.template import non_thinking_template
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, load_chat_tokenizer

from .test_text import disguised_tags

JUDGE = Judge(load_policy())
OTHER = "0" * 64
"""The hash of some other tokenizer."""
END = [151667, 271, 151668, 271]
PROMPT = "<|im_start|>user\nSpell cat<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
STOCK_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def _rules(data: object, **options: bool) -> set[tuple[str, str]]:
    return {(place, problem.rule) for place, problem in judge_data(data, JUDGE, **options)}


def _examples(*rows: list[int], start: int = 6, tokenizer: str | None = None) -> pd.DataFrame:
    frame = pd.DataFrame({"input_ids": list(rows), "label_start": np.full(len(rows), start, dtype=np.int32)})
    if tokenizer is not None:
        frame.attrs["tokenizer_sha256"] = tokenizer
    return frame


@pytest.mark.parametrize("value", [np.array([1, 2]), pd.Series([1, 2]), pd.DataFrame({"a": [1, 2]}), pd.NA, 10**400])
def test_what_is_no_plain_value_under_a_name_of_a_rule_is_no_error(value: object) -> None:
    for name in ("id", "token", "stop_token_ids", "temperature", "command", "environment", "chat_template"):
        served = {name: value, "model": "m", "image": "vllm/vllm-openai"}
        assert {rule for _, rule in _rules(served, deployment=True)} <= {"deployment-sampling"}
    for ids in (np.array([1, 151668]), 151667.0, [1.0, 151668.0]):  # a column with a gap holds floats
        assert _rules({"eos_token_id": ids}) == {("eos_token_id", "think-token")}
    assert _rules({"id": 151667.0, "text": "<think>"}) == set()  # a row of a vocabulary


def test_a_list_of_templates_beside_a_model_is_judged_as_one() -> None:
    named = [{"name": "default", "template": STOCK_TEMPLATE}]
    assert ("chat_template", "chat-template") in _rules({"base_model": "Qwen/Qwen3-4B", "chat_template": named})


def test_classes_and_broken_texts_are_no_error() -> None:
    assert _rules({"schema": Policy}) | _rules(Policy) == set()
    broken = pd.DataFrame({"text": pd.Series(["\ud800", 1, "<think>"], dtype=object)})
    assert _rules(broken) == {("text", "think-tag")}


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"answer": ["c a t"], "count": [3], "score": [0.5], "kept": [True]}),
        pd.DataFrame({"text": [f"{PROMPT}c a t<|im_end|>"]}),
        pd.DataFrame({"text": [None, "thinking", "a < b > c", "/thinking", "docs/think"]}),
        _examples([1, 2, *END, 5, 6], [1, 2, *END, 5]),
        _examples(),
        _examples([1, 2, *END, 5, 6], tokenizer=QWEN3_TOKENIZER_SHA256),
        _examples([1, 9690, 4093, 198, 5, 6, 2], tokenizer=OTHER),
        _examples(tokenizer=OTHER),
        pd.DataFrame({"prompt_ids": [[1, 2, *END]]}),
        pd.DataFrame({"id": [5, 151667, 151668], "token": ["a", "<think>", "</think>"]}),
        pd.DataFrame({"messages": [[{"role": "user", "content": "Spell cat", "reasoning_content": None}]]}),
        pd.DataFrame({"a": pd.Categorical(["x", "y"]), "b": [{"c": "d"}, None]}),
        pd.DataFrame(
            {"id": pd.Series([5, 6], dtype="uint64"), "token": ["a", "b"], "at": pd.to_datetime(["2020"] * 2)}
        ),
        pd.DataFrame(),
    ],
)
def test_what_keeps_the_policy_passes(frame: pd.DataFrame) -> None:
    assert _rules(frame) == set()
    if len(frame.columns):
        assert _rules(pa.Table.from_pandas(frame)) == set()


@pytest.mark.parametrize(
    ("frame", "place", "rule"),
    [
        (pd.DataFrame({"answer": ["c a t", "<think>c</think>"]}), "answer", "think-tag"),
        (pd.DataFrame({"answer": ["<think>\n\n</think>\n\nc a t"]}), "answer", "think-tag"),
        (pd.DataFrame({"answer": ["c a t", "&lt;think&gt;"]}), "answer", "think-tag"),
        (pd.DataFrame({"text": [f"{PROMPT}c<think>"]}), "text", "think-tag"),
        (pd.DataFrame({"a": pd.Categorical(["x", "<think>"])}), "a", "think-tag"),
        (pd.DataFrame({"question": ["Spell cat /think"]}), "question", "soft-switch"),
        (pd.DataFrame({"tags": [["a"], ["b", "</think>"]]}), "tags", "think-tag"),
        (pd.DataFrame({"m": [[{"role": "user", "content": "<think>"}]]}), "m.content", "think-tag"),
        (pd.DataFrame({"m": [[{"reasoning_content": "c first"}]]}), "m.reasoning_content", "reasoning-content"),
        (pd.DataFrame({"reasoning_content": ["", "c first"]}), "reasoning_content", "reasoning-content"),
        (pd.DataFrame({"id": [5], "token": ["<think>"]}), "token", "think-tag"),
        (_examples([1, 2, *END, 5], [1, 2, 3, *END, 5]), "input_ids", "think-token"),
        (_examples([1, 2, *END, 5, 151667, 6]), "input_ids", "think-token"),
        (_examples([151667, 2, *END, 5]), "input_ids", "think-token"),
        (_examples([151644, 2, 3, 4, 5, 6, 7]), "input_ids", "think-token"),
        # Rendered without any template: no id is special.
        (_examples([1, 9690, 4093, 198, 5, 6, 2], tokenizer=QWEN3_TOKENIZER_SHA256), "input_ids", "think-token"),
        (_examples([1, 9690, 4093, 198, 5, 6, 2]), "input_ids", "think-token"),
        (_examples([151644, 9690, 4093, 198, 5, 6, 2], tokenizer=OTHER), "input_ids", "think-token"),
        (_examples([1, 2, *END, 5, 151667], tokenizer=OTHER), "input_ids", "think-token"),
        (_examples([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 151645]), "input_ids", "think-token"),
        (_examples([151644, 2], start=6), "input_ids", "think-token"),
        (_examples([1, 2, *END], start=-1), "input_ids", "think-token"),
        (pd.DataFrame({"prompt_ids": [[1, 151667, 198]]}), "prompt_ids", "think-token"),
        (pd.DataFrame({"answer_ids": [[1, 2], [*END, 3]]}), "answer_ids", "think-token"),
        (pd.DataFrame({"labels": [np.array([1, 151668])]}), "labels", "think-token"),
    ],
)
def test_what_breaks_it_is_found_in_its_column(frame: pd.DataFrame, place: str, rule: str) -> None:
    assert (place, rule) in _rules(frame)
    assert (place, rule) in _rules(pa.Table.from_pandas(frame))


def test_of_a_column_of_this_and_that_the_texts_are_judged() -> None:
    mixed = pd.DataFrame({"a": [1, b"x", "<think>"], "b": ["x", b"y", "/think"], "c": [[1], {"d": 2}, 2**70]})
    assert _rules(mixed) == {("a", "think-tag"), ("b", "soft-switch")}
    twice = pd.DataFrame([["x", "<think>"], ["y", "z"]], columns=["a", "a"])
    assert _rules(twice) == {("a", "think-tag")}
    assert _rules(pd.Series(["x", "<think>"], name="a")) == {("a", "think-tag")}


def test_tables_and_objects_within_others_are_judged() -> None:
    thoughts, fine = pd.DataFrame({"answer": ["x", "<think>"]}), pd.DataFrame({"answer": ["x"]})
    settings_object = SimpleNamespace(model_dump=lambda: {"enable_thinking": True})
    assert _rules({"2026-01": fine, "2026-02": thoughts}) == {("2026-02.answer", "think-tag")}
    assert _rules([fine, {"sheets": (pa.Table.from_pandas(thoughts),)}]) == {("1.sheets.0.answer", "think-tag")}
    assert _rules({"served": settings_object, "rows": [1, 2]}) == {("served.enable_thinking", "thinking-switch")}


def test_a_frame_of_polars_is_judged_as_a_table() -> None:
    frame_class = type("DataFrame", (), {"__module__": "polars.dataframe.frame"})
    frame: Any = frame_class()
    frame.to_arrow = lambda: pa.table({"answer": ["x", "<think>"]})
    assert _rules(frame) == {("answer", "think-tag")}
    assert _rules([frame]) == {("0.answer", "think-tag")}


def test_a_violation_names_the_row() -> None:
    frame = _examples([1, 2, *END, 5], [1, 2, *END, 5], [1, 2, *END, 5, 151668])
    ((_, problem),) = judge_data(frame, JUDGE)
    assert problem.value == "row 2: id 151668 at 7"


def test_examples_that_name_no_tokenizer_are_told_how() -> None:
    ((_, problem),) = judge_data(_examples([1, 9690, 4093, 198, 5, 6, 2]), JUDGE)
    assert "tokenizer_sha256" in problem.message
    ((_, problem),) = judge_data(_examples([1, 2, 3, 4, 5, 6, 7], tokenizer=QWEN3_TOKENIZER_SHA256), JUDGE)
    assert "tokenizer_sha256" not in problem.message


@pytest.mark.parametrize("attributes", [b"no json", b"[]", b'{"attributes": null}', b'{"attributes": {"a": 1}}'])
def test_metadata_that_name_no_tokenizer_excuse_nothing(attributes: bytes) -> None:
    table = pa.table({"input_ids": [[1, 2, 3, 4, 5, 6, 7]], "label_start": [6]})
    named = table.replace_schema_metadata({"tokenizer_sha256": OTHER})
    assert _rules(named) == set()
    assert _rules(table.replace_schema_metadata({b"pandas": attributes})) == {("input_ids", "think-token")}


@given(disguised_tags())
@settings(max_examples=200)
def test_the_fast_look_at_a_column_misses_no_disguise(tag: str) -> None:
    assert _rules(pd.DataFrame({"text": ["plain", f"see {tag} ", None]}))


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ({"generation": {"enable_thinking": True}}, "thinking-switch"),
        ([{"chat_template_kwargs": {}}], "template-arguments"),
        ("answer: <think>", "think-tag"),
        (SimpleNamespace(chat_template=STOCK_TEMPLATE), "chat-template"),
        (SimpleNamespace(suffix_ids=(1, 2), think_ids=(151667, 151668)), "think-token"),
        (SimpleNamespace(to_diff_dict=lambda: {"forced_bos_token_id": 151667}), "think-token"),
    ],
)
def test_settings_tokenizers_and_texts_are_judged(data: object, rule: str) -> None:
    assert {found for _, found in _rules(data)} == {rule}


def test_the_projects_prompts_and_its_own_rules_pass() -> None:
    assert _rules(load_chat_tokenizer()) == set()
    assert _rules(load_policy().model_dump(by_alias=True, mode="json")) == set()
    assert _rules("<!DOCTYPE html><p>&lt;think&gt; is refused</p>") == set()


def _folder(path: Path, **files: Any) -> SimpleNamespace:
    for name, content in files.items():
        file = path / f"{name}.json" if isinstance(content, dict) else path / f"{name}.jinja"
        file.write_text(json.dumps(content) if isinstance(content, dict) else content)
    return SimpleNamespace(path=path)


def test_an_exported_folder_carries_the_policys_sampling_and_a_template_that_cannot_think(tmp_path: Path) -> None:
    good = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
    folder = _folder(tmp_path, generation_config=good, chat_template=non_thinking_template(STOCK_TEMPLATE))
    assert _rules(folder, exported=True) == set()
    folder = _folder(tmp_path, generation_config={**good, "temperature": 0.7}, chat_template=STOCK_TEMPLATE)
    found = {("generation_config.json", "deployment-sampling"), ("chat_template.jinja", "chat-template")}
    assert _rules(folder, exported=True) == found
    # A folder as its makers published it is not ours to change; what is set in it is judged all the same.
    assert _rules(folder) == set()
    folder = _folder(tmp_path, generation_config={"eos_token_id": [151645, 151668]})
    assert _rules(folder) == {("generation_config.json", "think-token")}
