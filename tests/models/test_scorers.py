"""Difficulty by loss: torch and MLX see the same model."""

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.models.scorers import TorchScorer
from spelling_transfer.tasks.examples import spelling_questions
from spelling_transfer.words.difficulty import model_scores, rate_difficulty
from spelling_transfer.words.word_list import WordSelection, select_words
from spelling_transfer.words.word_sets import describe_words, split_words

from .conftest import EMBEDDED


@pytest.fixture(scope="module")
def words(tokenizer):
    selection = WordSelection(max_words=3000, random_words=20)
    frame = split_words(describe_words(select_words(selection).words, tokenizer), tokenizer, selection)
    return pd.concat([frame.iloc[:3000:100], frame.iloc[3000:]], ignore_index=True)


@pytest.fixture(scope="module")
def torch_scores(words, tokenizer):
    return model_scores(spelling_questions(words), tokenizer, TorchScorer(EMBEDDED), batch_size=32)


def test_torch_and_mlx_agree_on_losses_and_labels(words, tokenizer, torch_scores, monkeypatch):
    pytest.importorskip("mlx_lm", reason="mlx-lm is there on Apple Silicon, and on Linux with the extra 'dev'")
    from spelling_transfer.models.scorers import MlxScorer

    mlx_scores = model_scores(spelling_questions(words), tokenizer, MlxScorer(EMBEDDED), batch_size=32)
    assert np.abs(mlx_scores - torch_scores).max() < 1e-3
    by_torch, by_mlx = (rate_difficulty(words, scores)["difficulty"] for scores in (torch_scores, mlx_scores))
    assert list(by_torch) == list(by_mlx)


def test_mlx_turns_positions_as_torch_does_where_they_are_scaled(tmp_path):
    pytest.importorskip("mlx_lm", reason="mlx-lm is there on Apple Silicon, and on Linux with the extra 'dev'")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from spelling_transfer.models.scorers import MlxScorer

    torch.manual_seed(0)
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 32.0, "original_max_position_embeddings": 16}
    rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "initializer_range": 0.5}
    config = LlamaConfig(vocab_size=50, num_hidden_layers=2, rope_parameters=rope, **shape)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    ids = [list(range(40)), [3] * 9]
    scores = [scorer(ModelFolder(tmp_path)).answer_losses(ids, [9, 4]) for scorer in (TorchScorer, MlxScorer)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-3


def test_a_loss_does_not_depend_on_the_batch(words, tokenizer, torch_scores):
    few = words.iloc[:8]
    alone = model_scores(spelling_questions(few), tokenizer, TorchScorer(EMBEDDED), batch_size=1)
    assert np.abs(alone - torch_scores.iloc[:8]).max() < 1e-4


def test_random_strings_are_harder_for_the_model_than_words(words, torch_scores):
    random = words["word_set"] == "random"
    assert torch_scores[random].mean() > torch_scores[~random].mean()


def test_mlx_reads_four_bit_models_too(words, tokenizer, torch_scores, tmp_path):
    pytest.importorskip("mlx_lm", reason="mlx-lm is there on Apple Silicon, and on Linux with the extra 'dev'")
    import shutil

    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    from spelling_transfer.models.engines import with_rope
    from spelling_transfer.models.scorers import MlxScorer

    model, config = load_model(EMBEDDED.path, model_config=with_rope(EMBEDDED.path))
    model, config = quantize_model(model, config, group_size=32, bits=4)
    save_model(tmp_path, model)
    save_config(config, tmp_path / "config.json")
    shutil.copy(EMBEDDED.path / "token_ids.json", tmp_path)
    few = pd.concat([words.iloc[:4], words.iloc[-4:]])  # frequent words and random strings: easy and hard ones
    scores = model_scores(spelling_questions(few), tokenizer, MlxScorer(ModelFolder(tmp_path)), batch_size=8)
    assert np.corrcoef(scores, torch_scores[few.index])[0, 1] > 0.9


def test_a_missing_model_is_one_clear_error(tmp_path):
    with pytest.raises(ModelFolderError, match="no such model folder"):
        TorchScorer(ModelFolder(tmp_path / "none"))
