"""Configuration files as text: what is written is read back, and a file that cannot be read is one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spelling_transfer.configuration.documents import (
    ConfigurationError,
    dump_document,
    parse_document,
    read_file,
    write_file,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
NUMBER = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
LEAF = st.one_of(st.none(), st.booleans(), NUMBER, TEXT, st.sampled_from(["1e-4", "yes", "~", "1_0", "0x1f", ".5"]))
CONTENT = st.dictionaries(
    TEXT.filter(lambda key: key != "version"),
    st.recursive(LEAF, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3))),
    max_size=5,
)


@settings(max_examples=50)
@given(CONTENT, st.sampled_from([".yml", ".yaml", ".json"]))
def test_what_is_written_is_read_back_in_yaml_and_json(content: dict[str, Any], suffix: str) -> None:
    text = dump_document(content, suffix)
    again = parse_document(text, f"x{suffix}")
    assert again == content
    assert json.dumps(again, sort_keys=True) == json.dumps(content, sort_keys=True)  # 1, 1.0 and True are three things


@settings(max_examples=50)
@given(CONTENT)
def test_other_readers_of_yaml_see_the_same_numbers(content: dict[str, Any]) -> None:
    assert yaml.safe_load(dump_document(content, ".yml")) == content


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    write_file({"seed": 1}, file)
    with pytest.raises(yaml.YAMLError):
        write_file({"seed": object()}, file)
    assert read_file(file) == {"seed": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["mine.yml"]
    with pytest.raises(ConfigurationError, match=r"neither YAML nor JSON"):
        write_file({}, tmp_path / "mine.toml")


def test_a_date_is_text_and_what_is_merged_may_be_set_anew() -> None:
    text = "base: &base {since: 2026-11-27, rate: 1e-4}\nown: {<<: *base, rate: 2e-4}\n"
    content = parse_document(text, "some.yml")
    assert content["base"] == {"since": "2026-11-27", "rate": 0.0001}
    assert content["own"] == {"since": "2026-11-27", "rate": 0.0002}
