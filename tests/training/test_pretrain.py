"""How the embedded model is made, on few words: the data, the training, what it scores, its folder and its card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.tasks.encoding import vocabulary_in_use
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training import pretrain
from spelling_transfer.training.pretrain import PretrainData, PretrainSettings

SETTINGS = PretrainSettings(hidden_size=32, layers=1, epochs=2, batch_size=8, full_softmax_steps=2, threads=1)
SPLITS = {"cab": "pretrain", "bad": "pretrain", "fade": "train", "deaf": "validation", "face": "test"}


@pytest.fixture(scope="module")
def words() -> pd.DataFrame:
    return pd.DataFrame({"word": SPLITS.keys(), "stem": SPLITS.keys(), "split": SPLITS.values()})


@pytest.fixture(scope="module")
def data(words: pd.DataFrame, tokenizer: ChatTokenizer) -> PretrainData:
    return pretrain.make_data(words, load_tasks(), tokenizer, SETTINGS)


@pytest.fixture
def model(words: pd.DataFrame, tokenizer: ChatTokenizer) -> LoadedModel:
    ids = vocabulary_in_use(words["word"], load_tasks(), tokenizer)
    ids |= {token for row in tokenizer.encode_texts(pretrain.line_texts()) for token in row}
    return pretrain.new_model(np.array(sorted(ids), dtype=np.int64), tokenizer.end_id, SETTINGS)


def test_questions_are_asked_of_the_pretrain_split_alone(data: PretrainData, tokenizer: ChatTokenizer) -> None:
    prompts = [ids[:start] for ids, start in zip(data.frame["input_ids"], data.frame["label_start"], strict=True)]
    asked = [tokenizer.decode(ids) for ids in prompts if ids[: len(tokenizer.prefix_ids)] == [*tokenizer.prefix_ids]]
    lines = [tokenizer.decode(ids) for ids in prompts if ids[: len(tokenizer.prefix_ids)] != [*tokenizer.prefix_ids]]
    assert asked
    assert all("cab" in question.lower() or "bad" in question.lower() for question in asked)
    assert all(any(word in line for line in lines) for word in SPLITS)
    assert {tokenizer.end_id} <= set(data.label_ids.tolist())


def test_the_model_is_trained_scored_and_written_with_its_card(
    data: PretrainData, model: LoadedModel, words: pd.DataFrame, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    epochs: list[int] = []
    losses = pretrain.pretrain(model, data, tokenizer.end_id, SETTINGS, on_epoch=epochs.append)
    assert epochs == [1, 2]
    assert len(losses) == len(data.frame) // SETTINGS.batch_size + SETTINGS.full_softmax_steps
    scores = pretrain.measure(model, tokenizer, load_tasks(), words)
    assert set(scores) == {"plain line", "spelling", "position", "count"}
    card = pretrain.model_card(SETTINGS, scores, n_words=5, n_rows=99, n_parameters=10**6, minutes=1.0)
    assert "| plain line | " in card
    pretrain.save(model, tokenizer, tmp_path / "model", {"scores": scores}, card)
    folder = ModelFolder.open(tmp_path / "model")
    assert folder.manifest()["scores"] == scores
    assert (folder.path / "README.md").read_text() == card
    again = load_model(folder, device="cpu")
    assert again.vocabulary.token_ids.tolist() == json.loads((folder.path / "token_ids.json").read_text())
    assert again.model.get_input_embeddings().weight.dtype == torch.float32
