"""Questions and answers to evaluate, and a small random model that can be asked them."""

import pandas as pd
import pytest
from tests.samples.answers import answers, examples, make_examples
from tests.samples.models import save_base, small_model

from spelling_transfer.models.folder import ModelFolder

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
    return save_base(small_model(tokenizer, ids), tmp_path_factory.mktemp("model") / "base")
