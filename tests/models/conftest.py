"""The embedded model, and a small, randomly initialised Qwen3 with a trimmed vocabulary: real paths in milliseconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.samples.models import small_model

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.tokenizer.chat import ChatTokenizer

EMBEDDED = ModelFolder(Path(__file__).parents[2] / "data/01_raw/models/tiny-qwen3")
WORDS = ["cat", "table", "letter", "garden", "mountain", "sea", "history", "remember", "ask", "different"]


@pytest.fixture(scope="module")
def embedded() -> LoadedModel:
    """The embedded model; a test that changes it loads its own."""
    return load_model(EMBEDDED, ModelProfile(name="tiny-qwen3"), device="cpu")


@pytest.fixture(scope="session")
def letters(tokenizer: ChatTokenizer) -> list[int]:
    """Tokens of letters after a space: a subset that answers may be held to."""
    return [ids[0] for ids in tokenizer.encode_texts([f" {letter}" for letter in "abcdefghijklm"])]


@pytest.fixture
def loaded(tokenizer: ChatTokenizer) -> LoadedModel:
    ids = {
        *tokenizer.prefix_ids,
        *tokenizer.suffix_ids,
        tokenizer.end_id,
        *tokenizer.think_ids,
        *(token for row in tokenizer.encode_texts(["a b c d", "Spell cab.", "Spell a bad cab now."]) for token in row),
    }
    model = small_model(tokenizer, ids)
    model.model.eval()
    return model
