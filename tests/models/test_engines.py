"""Other engines: the answers of ours, the think tags masked, the folder's own settings put aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.serving.conftest import KNOWN_TEXTS, deployable, make_deployable
from tests.serving.test_export import EMBEDDED, QUESTIONS, TINY, adapted, letters

from spelling_transfer.models.engines import load_mlx, merged_folder, mlx_answers, transformers_answers
from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import load_model
from spelling_transfer.tokenizer.chat import ChatTokenizer

__all__ = ["deployable", "make_deployable"]

Answers = Callable[..., list[list[int]]]


def by_transformers(folder: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], **options: Any) -> Any:
    return transformers_answers(load_model(folder, device="cpu"), tokenizer, prompts, max_new_tokens=24, **options)


def by_mlx(folder: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], **options: Any) -> Any:
    pytest.importorskip("mlx_lm", reason="mlx-lm is there on Apple Silicon, and on Linux with the extra 'dev'")
    return mlx_answers(*load_mlx(folder), tokenizer, prompts, max_new_tokens=24, **options)


@pytest.mark.parametrize("answers", [by_transformers, by_mlx])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_answers_are_those_of_our_engine(answers: Answers, batch_size: int, tokenizer: ChatTokenizer) -> None:
    prompts = tokenizer.encode_prompts(QUESTIONS)
    ours = generate_answers(load_model(EMBEDDED, device="cpu"), tokenizer, prompts)
    done: list[int] = []
    assert answers(EMBEDDED, tokenizer, prompts, batch_size=batch_size, progress=done.append) == ours
    assert sum(done) == len(prompts)
    assert max(map(len, ours)) > 1


@pytest.mark.parametrize(
    ("answers", "mask"), [(by_transformers, "ThinkTokenMask"), (by_mlx, "MlxThinkTokenMask")]
)  # fmt: skip
def test_a_model_that_wants_to_think_cannot(
    answers: Answers, mask: str, deployable: ModelFolder, tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tokenizer.encode_prompts(KNOWN_TEXTS[:2])
    assert not {token for ids in answers(deployable, tokenizer, prompts) for token in ids} & {*tokenizer.think_ids}
    # The mutant: without the mask it thinks, so the mask is what keeps it from that.
    monkeypatch.setattr(f"kedro_non_thinking.{mask}", lambda _: lambda _, logits: logits)
    thought = {token for ids in answers(deployable, tokenizer, prompts) for token in ids}
    assert thought & {*tokenizer.think_ids}


def test_what_the_folder_says_of_generation_is_put_aside(tokenizer: ChatTokenizer) -> None:
    loaded, prompts = load_model(EMBEDDED, device="cpu"), tokenizer.encode_prompts(QUESTIONS)
    ours = generate_answers(loaded, tokenizer, prompts)
    own = loaded.model.generation_config
    own.update(suppress_tokens=loaded.vocabulary.to_rows(ours[0][:1]).tolist(), repetition_penalty=9.0)
    assert transformers_answers(loaded, tokenizer, prompts, max_new_tokens=24) == ours
    assert loaded.model.generation_config is own


def test_an_arm_is_merged_for_an_engine_that_knows_no_adapter(tokenizer: ChatTokenizer, tmp_path: Any) -> None:
    _, base, adapter = adapted(EMBEDDED, TINY, tmp_path, tokenizer, letters(tokenizer))
    prompts = tokenizer.encode_prompts(QUESTIONS)
    loaded = load_model(base, TINY, adapter, device="cpu")
    ours = generate_answers(loaded, tokenizer, prompts)
    assert transformers_answers(loaded, tokenizer, prompts, max_new_tokens=24, batch_size=4) == ours
    with merged_folder(base, adapter, TINY) as merged:
        assert by_mlx(merged, tokenizer, prompts) == ours
        place = merged.path
    assert not place.exists()
    with merged_folder(base, None, TINY) as merged:
        assert merged == base


def test_a_folder_that_mlx_does_not_know_is_named(tmp_path: Any) -> None:
    pytest.importorskip("mlx_lm", reason="mlx-lm is there on Apple Silicon, and on Linux with the extra 'dev'")
    (tmp_path / "config.json").write_text('{"model_type": "nobody"}')
    with pytest.raises(ModelFolderError, match="cannot be loaded by mlx-lm"):
        load_mlx(ModelFolder(tmp_path))
