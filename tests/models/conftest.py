"""A small, randomly initialised Qwen3 with a trimmed vocabulary: real code paths in milliseconds."""

from __future__ import annotations

import numpy as np
import pytest

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.pretrain import PretrainSettings, new_model


@pytest.fixture
def loaded(tokenizer: ChatTokenizer) -> LoadedModel:
    ids = {
        *tokenizer.prefix_ids,
        *tokenizer.suffix_ids,
        tokenizer.end_id,
        *tokenizer.think_ids,
        *(token for row in tokenizer.encode_texts(["a b c d", "Spell cab.", "Spell a bad cab now."]) for token in row),
    }
    settings = PretrainSettings(hidden_size=32, layers=2)
    model = new_model(np.array(sorted(ids), dtype=np.int64), tokenizer.end_id, settings)
    model.model.eval()
    return model
