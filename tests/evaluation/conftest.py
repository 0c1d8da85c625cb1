"""Questions and answers to evaluate, and a small random model that can be asked them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.samples.answers import answers, examples, make_examples

from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.training.pretrain import PretrainSettings, new_model

__all__ = ["answers", "examples"]


@pytest.fixture(scope="session")
def solved() -> pd.DataFrame:
    return make_examples(["plum", "pear", "fig"], split="train")


@pytest.fixture(scope="session")
def folder(tokenizer, solved: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    texts = [*make_examples()["question"], *solved["question"], "\n", *"abcdefghijklmnopqrstuvwxyz"]
    texts += [f" {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"] + [f"Spell {word} letter by letter." for word in
              make_examples()["word"]]  # fmt: skip
    ids = {token for row in [*tokenizer.encode_texts(texts), *tokenizer.encode_prompts(texts)] for token in row}
    ids |= {
        *tokenizer.think_ids,
        tokenizer.end_id,
        *(t for row in tokenizer.encode_texts(list("0123456789")) for t in row),
    }
    made = new_model(np.array(sorted(ids)), tokenizer.end_id, PretrainSettings(hidden_size=32, layers=2))
    path: Path = tmp_path_factory.mktemp("model") / "base"
    with new_folder(path, {}) as work:
        made.model.save_pretrained(str(work))
        (work / TOKEN_IDS_FILE).write_text(json.dumps(sorted(ids)))
    return ModelFolder(path)
