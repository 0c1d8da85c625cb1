"""The scanner: lines, exemptions, bad input that is never counted as clean."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kedro_non_thinking.findings import ScanResult
from kedro_non_thinking.judge import Judge
from kedro_non_thinking.policy import Exemption, Policy, load_policy
from kedro_non_thinking.scanner.engine import Scanner, scan_paths
from kedro_non_thinking.tokens import judge_ids

from .conftest import seen

MANY = 300
"""Files enough for several processes."""


def _with_exemption(policy: Policy, rule: str, path: str) -> Policy:
    field = rule.replace("-", "_")
    changed = getattr(policy.rules, field).model_copy(
        update={"exemptions": (Exemption(path=path, reason="A reason that is long enough."),)}
    )
    return policy.model_copy(update={"rules": policy.rules.model_copy(update={field: changed})})


def _scan(policy: Policy, root: Path, *paths: Path) -> ScanResult:
    return scan_paths(paths or [root], policy, root, jobs=1)


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("a.yml", "one: 1\ntwo:\n  three: 3\n  enable_thinking: true\n", 4),
        ("a.yml", "prompt: |\n  first\n  second /think\n", 3),
        ("a.yml", "one: 1\n---\ntwo:\n- enable_thinking: true\n", 4),
        ("a.json", '{\n  "one": {"enable_thinking": false},\n  "two": {\n    "enable_thinking": true\n  }\n}', 4),
        ("a.toml", "[one]\nenable_thinking = false\n\n[two]\nenable_thinking = true\n", 5),
        (".env", "A=1\n\nENABLE_THINKING=true\n", 3),
        ("a.py", "x = 1\n\nask(\n    enable_thinking=True,\n)\n", 4),
        ("a.sh", "#!/bin/sh\nvllm serve m \\\n  --port 1 \\\n  --enable-reasoning\n", 4),
        ("a.md", "# Title\n\n```python\nx = 1\nask(enable_thinking=True)\n```\n", 5),
        ("a.md", "# Title\n\nSet `enable_thinking=True`.\n", 3),
        ("a.md", "---\ntitle: a\nbase_model: Qwen/QwQ-32B\n---\n", 3),
        ("a.jsonl", '{"a": "b"}\n{"a": "<think>"}\n', 2),
        ("a.csv", "a\nb\n<think>\n", 3),
        ("Dockerfile", "FROM x\nENV A=1\nENV ENABLE_THINKING true\n", 3),
    ],
)
def test_a_finding_names_the_line(scanner: Scanner, file: str, text: str, line: int) -> None:
    assert [finding.line for finding in seen(scanner, text, file)] == [line]


def test_a_finding_in_a_notebook_names_the_line_of_the_file(scanner: Scanner) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# One\n", "two"]},
        {"cell_type": "code", "source": ["x = 1\n", "ask(enable_thinking=True)"], "outputs": []},
    ]
    text = json.dumps({"cells": cells, "nbformat": 4}, indent=1)
    (finding,) = seen(scanner, text, "a.ipynb")
    assert "enable_thinking=True" in text.splitlines()[finding.line - 1]


def test_parquet_is_judged_by_column(policy: Policy, tmp_path: Path) -> None:
    frame = pd.DataFrame({"question": ["Spell cat", "Spell cat /think"], "answer_ids": [[1], [151668]]})
    frame.to_parquet(tmp_path / "a.parquet")
    found = {(finding.path, finding.rule) for finding in _scan(policy, tmp_path).findings}
    assert found == {("a.parquet#question", "soft-switch"), ("a.parquet#answer_ids", "think-token")}


def test_examples_without_a_template_are_found_by_the_tokenizer_their_file_names(
    policy: Policy, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"input_ids": [[9690, 4093, 198, 5, 6, 2]], "label_start": [5]})
    for name, sha256 in {"qwen3": policy.rules.think_token.tokenizer_sha256[0], "other": "0" * 64}.items():
        frame.attrs["tokenizer_sha256"] = sha256
        frame.to_parquet(tmp_path / f"{name}.parquet")
        record = {"input_ids": frame["input_ids"][0], "label_start": 5, "tokenizer_sha256": sha256}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
    found = {(finding.path, finding.rule) for finding in _scan(policy, tmp_path).findings}
    assert found == {("qwen3.parquet#input_ids", "think-token"), ("qwen3.jsonl", "think-token")}


# -- bad input ---------------------------------------------------------------------------------------------------------


def _link_to_itself(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")


def _link_to_the_folder_above(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "up").symlink_to(folder)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: (folder / "a.yml").write_text("a: [1,\n"), "not valid YAML"),
        (lambda folder: (folder / "a.yml").write_text("enable_thinking: {{ x }}\n  y: 1\n"), "not valid YAML"),
        (lambda folder: (folder / "a.py").write_text("def f(:\n"), "not valid Python"),
        (lambda folder: (folder / "a.py").write_text("enable_thinking = (\n"), "not valid Python"),
        (lambda folder: (folder / "a.py").write_bytes(b"x = 1\0"), "no text"),
        (lambda folder: (folder / "a.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "a.json").write_text("[" * 100_000), "not valid JSON"),
        (lambda folder: (folder / "a.json").write_text('{"think":' * 500 + "1" + "}" * 500), "nested too deeply"),
        (lambda folder: (folder / "a.toml").write_text("a = "), "not valid TOML"),
        (lambda folder: (folder / "a.ipynb").write_text("{}"), None),
        (lambda folder: (folder / "a.ipynb").write_text('{"think": 1}'), "not a notebook"),
        (lambda folder: (folder / "a.jsonl").write_text('{"a": "think"}\n{"a"'), "not valid JSON lines"),
        (lambda folder: (folder / "a.parquet").write_bytes(b"PAR1 but no more"), "not valid Parquet"),
        (lambda folder: (folder / "a.md").write_text("x" * 21_000_000), "larger than 20 MB"),
        (lambda folder: (folder / "a.md").symlink_to(folder / "nowhere"), "a link to nothing"),
        (_link_to_itself, "leads back to itself"),
        (_link_to_the_folder_above, "leads back to a folder above it"),
        (lambda folder: os.mkfifo(folder / "pipe"), "neither a file nor a folder"),
    ],
)
def test_what_cannot_be_judged_is_reported_and_not_clean(
    policy: Policy, tmp_path: Path, make: Callable[[Path], object], reason: str | None
) -> None:
    make(tmp_path)
    result = _scan(policy, tmp_path)
    if reason is None:  # an empty notebook-to-be holds nothing to judge
        assert result.clean
        return
    (entry,) = result.unchecked
    assert reason in entry.reason
    assert entry.blocking
    assert not result.clean
    assert result.checked == 0


def test_a_file_that_may_not_be_read_is_reported(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "a.py":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    result = _scan(policy, tmp_path)
    assert [(entry.path, entry.reason) for entry in result.unchecked] == [
        ("a.py", "cannot be read (Permission denied)")
    ]
    assert result.checked == 1
    assert not result.clean


def test_images_and_weights_are_listed_and_do_not_fail_a_folder_but_fail_by_name(
    policy: Policy, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (tmp_path / "b.dat").write_bytes(bytes(range(256)))
    result = _scan(policy, tmp_path)
    assert {entry.path for entry in result.unchecked} == {"a.png", "b.dat"}
    assert result.checked == 0
    assert result.clean
    assert not _scan(policy, tmp_path, tmp_path / "a.png").clean


def test_aliases_that_grow_without_bounds_do_not(policy: Policy, tmp_path: Path) -> None:
    lines = ["a0: &a0 [think, think]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    (tmp_path / "a.yml").write_text("\n".join(lines))
    (entry,) = _scan(policy, tmp_path).unchecked
    assert "aliases" in entry.reason


def test_names_that_refer_to_each_other_do_not_keep_the_scanner_busy(scanner: Scanner) -> None:
    lines = ["enable_thinking = False", "a = b + a + c", "b = a + b + c", "c = a + b + c + d"]
    lines += [f"n{i} = n{i - 1} + n{i - 1}" for i in range(1, 60)]
    assert seen(scanner, "\n".join(lines), "a.py") == []


def test_a_second_key_of_the_same_name_is_judged_too(scanner: Scanner) -> None:
    assert seen(scanner, "enable_thinking: true\nenable_thinking: false\n", "a.yml")


# -- exemptions --------------------------------------------------------------------------------------------------------


def test_an_exemption_lets_its_file_pass_and_no_other(policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for name in ("src/a.py", "b.py"):
        (tmp_path / name).write_text("ask(enable_thinking=True)\n")
    result = _scan(_with_exemption(policy, "thinking-switch", "src/*.py"), tmp_path)
    assert [finding.path for finding in result.findings] == ["b.py"]
    assert [(entry.rule, entry.path, entry.count) for entry in result.exemptions] == [
        ("thinking-switch", "src/*.py", 1)
    ]


def test_an_exemption_of_one_rule_is_none_of_another(policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("ask(enable_thinking=True, thinking_budget=8)\n")
    result = _scan(_with_exemption(policy, "thinking-switch", "a.py"), tmp_path)
    assert [finding.rule for finding in result.findings] == ["thinking-budget"]


def test_an_exemption_that_is_not_needed_is_an_error(policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("ask()\n")
    changed = _with_exemption(policy, "thinking-switch", "a.py")
    assert [finding.rule for finding in _scan(changed, tmp_path).findings] == ["exemption-unused"]
    # Of a file that was not asked for, nothing can be said; of one that does not exist, it can when all is read.
    changed = _with_exemption(policy, "thinking-switch", "gone.py")
    assert _scan(changed, tmp_path).clean
    everything = scan_paths(None, changed, tmp_path, jobs=1)
    assert [finding.value for finding in everything.findings] == ["gone.py"]


# -- many files, and which are looked at ------------------------------------------------------------------------------


def test_many_files_are_read_by_several_processes_and_none_is_lost(policy: Policy, tmp_path: Path) -> None:
    for number in range(MANY):
        mark = "enable_thinking: true" if number % 100 == 7 else "seed: 1"
        (tmp_path / f"file_{number:03}.yml").write_text(f"{mark}\n", encoding="utf-8")
    result = scan_paths([tmp_path], policy, tmp_path, jobs=2)
    assert result == scan_paths([tmp_path], policy, tmp_path, jobs=1)
    assert result.checked == MANY
    assert [finding.path for finding in result.findings] == [f"file_{n:03}.yml" for n in range(7, MANY, 100)]


def test_sampling_is_looked_at_where_something_is_served_and_templates_are_not_taken_for_it() -> None:
    judge = Judge(load_policy())
    for word in ("temp=0.9", "temperature: 1", "--top-k 5", "min_p"):
        assert judge.may_break(f"serve with {word}")
    for word in ("template", "tempfile", "temporary", "tempdir", "attempt"):
        assert not judge.may_break(f"an endpoint and its {word}")


def test_a_pipeline_is_looked_at_where_it_may_be_one_of_transformers() -> None:
    judge = Judge(load_policy())
    assert judge.may_break('import transformers\nask = transformers.pipeline("text-generation")')
    assert judge.may_break("from transformers import TextGenerationPipeline\nask = TextGenerationPipeline(model)")
    assert not judge.may_break("def create_pipeline() -> Pipeline:\n    return Pipeline([node(clean)])")


def test_examples_are_looked_at_in_data_and_not_in_code() -> None:
    judge = Judge(load_policy())
    for key in ("label_start", "Label_Start", "label\\u005fstart"):
        assert judge.may_break(f'{{"{key}": 3}}')
        assert not judge.may_break(f'{{"{key}": 3}}', code=True)


BLOCK = [151667, 271, 151668, 271]
"""The empty think block at the end of a prompt."""


@pytest.mark.parametrize(
    ("ids", "wrong"),
    [
        ([9707, *BLOCK, 40], False),
        ([9707, *BLOCK, 40, *BLOCK, 41], False),
        (BLOCK[:1], False),  # a name for the token
        ([151644, 151667, 151668], False),  # special tokens alone
        ([1, 2, 3, 4, 5, 6, 7, 8, 151667], False),  # in order: a table of ids
        ([9707, 40, 151667, 151668, 40], True),
        ([9707, *BLOCK[:3], 40], True),
        ([9707, *BLOCK, 151668, 40], True),
        ([9707, 151667, *BLOCK], True),
    ],
)
def test_think_tokens_stand_in_a_list_of_ids_only_as_the_whole_block(ids: list[int], wrong: bool) -> None:
    assert (judge_ids(ids, load_policy()) is not None) == wrong
