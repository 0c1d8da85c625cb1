"""Answers that are kept: what was asked once is not asked again, and nothing else is taken for it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
import torch
from tests.samples.answers import make_examples
from tests.samples.models import draw_adapter, save_adapter

from spelling_transfer.evaluation import kept_answers
from spelling_transfer.evaluation.kept_answers import KeptAnswers, Respondent, Way, content_sha256, origins
from spelling_transfer.models.folder import MANIFEST, ModelFolder
from spelling_transfer.models.generate import Sampling, generate_answers
from spelling_transfer.models.load import load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.storage.table_parts import TableParts
from spelling_transfer.tokenizer.chat import ChatTokenizer

PROFILE = ModelProfile(name="tiny")
WAY = Way("greedy", 6)
DRAWN = replace(WAY, sampling=Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0))


@pytest.fixture(scope="module")
def prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    return tokenizer.encode_prompts(make_examples()["question"].tolist())[:24]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every prompt that a model is asked."""
    seen: list[tuple[int, ...]] = []

    def count(loaded: Any, tokenizer: Any, prompts: Any, **options: Any) -> list[list[int]]:
        seen.extend(map(tuple, prompts))
        return generate_answers(loaded, tokenizer, prompts, **options)

    monkeypatch.setattr(kept_answers, "generate_answers", count)
    return seen


def table(path: Path) -> TableParts:
    return TableParts(fsspec.filesystem("file"), str(path), str(path), "run-1")


def respondent(folder: ModelFolder, tokenizer: ChatTokenizer, kept: KeptAnswers, **changes: Any) -> Respondent:
    options: dict[str, Any] = {"adapter": None, "profile": PROFILE, "batch_size": 5, **changes}
    return Respondent(folder, options.pop("adapter"), options.pop("profile"), tokenizer, kept, **options)


def adapter_of(folder: ModelFolder, target: Path) -> ModelFolder:
    torch.manual_seed(0)
    model = attach_lora(load_model(folder), LoraSettings(r=2), PROFILE.lora_targets)
    draw_adapter(model, std=3.0)
    return save_adapter(model, target)


@pytest.fixture(scope="module")
def adapter(folder: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """An adapter with which the model has more than one thing to say."""
    return adapter_of(folder, tmp_path_factory.mktemp("adapter") / "adapter")


def fresh(folder: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], **changes: Any) -> list[list[int]]:
    found: list[list[int]] = (
        respondent(folder, tokenizer, KeptAnswers(), **changes).answer(prompts, WAY)["ids"].tolist()
    )
    return found


def test_a_second_evaluation_asks_what_is_new_and_says_what_a_fresh_one_says(
    folder: ModelFolder, adapter: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], asked: list[Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    for number in (16, 24, 24):
        with KeptAnswers(table(tmp_path)) as kept:
            found = respondent(folder, tokenizer, kept, adapter=adapter).answer(prompts[:number], WAY)
    assert len(asked) == len(prompts)
    assert found["ids"].tolist() == fresh(folder, tokenizer, prompts, adapter=adapter)
    assert len({tuple(ids) for ids in found["ids"]}) > 3
    assert len(asked) == 2 * len(prompts)
    kept = KeptAnswers(table(tmp_path), ask_again=True)
    respondent(folder, tokenizer, kept, adapter=adapter).answer(prompts, WAY)
    assert len(asked) == 3 * len(prompts)


def test_an_interrupted_evaluation_goes_on_with_the_same_batches(
    folder: ModelFolder, adapter: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], asked: list[Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    done = 0

    def interrupt(n: int) -> None:
        nonlocal done
        done += n
        if done == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), KeptAnswers(table(tmp_path)) as kept:
        respondent(folder, tokenizer, kept, adapter=adapter).answer(prompts, WAY, progress=interrupt)
    first = len(asked)
    kept = KeptAnswers(table(tmp_path))
    found = respondent(folder, tokenizer, kept, adapter=adapter).answer(prompts, WAY)["ids"].tolist()
    again = asked[first:]
    assert found == fresh(folder, tokenizer, prompts, adapter=adapter)
    # The batch that was interrupted is asked again, those before it are not, and those after it are the same.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    assert again[: len(prompts) - 10] == [tuple(prompts[i]) for i in order[10:]]


def test_where_all_is_known_no_model_is_loaded(
    folder: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], tmp_path: Path
) -> None:
    copy = ModelFolder(tmp_path / "model")
    shutil.copytree(folder.path, copy.path)
    kept = KeptAnswers(table(tmp_path / "kept"), seconds=0)
    expected = respondent(copy, tokenizer, kept).answer(prompts, DRAWN, seeds=range(24))
    for file in copy.path.glob("*.safetensors"):
        file.unlink()
    again = respondent(copy, tokenizer, KeptAnswers(table(tmp_path / "kept"))).answer(prompts, DRAWN, seeds=range(24))
    pd.testing.assert_frame_equal(again, expected)


def other_model(folder: ModelFolder, target: Path) -> ModelFolder:
    """The model with other weights; without a manifest, as a download from the hub has none."""
    loaded = load_model(folder)
    with torch.no_grad():
        loaded.model.model.norm.weight.mul_(-1.0)
    loaded.model.save_pretrained(str(target))
    for file in folder.path.iterdir():
        if file.name != MANIFEST and not (target / file.name).is_file():
            shutil.copyfile(file, target / file.name)
    shutil.copyfile(folder.path / "config.json", target / "config.json")
    return ModelFolder(target)


def without_manifest(folder: ModelFolder, target: Path) -> ModelFolder:
    shutil.copytree(folder.path, target, ignore=shutil.ignore_patterns(MANIFEST))
    return ModelFolder(target)


@pytest.mark.parametrize(
    ("way", "seed"),
    [
        pytest.param(replace(WAY, max_new_tokens=5), None, id="length"),
        pytest.param(DRAWN, 0, id="sampling"),
        pytest.param(DRAWN, 1, id="seed"),
        pytest.param(replace(DRAWN, sampling=Sampling(temperature=0.7, top_p=0.8, top_k=20, min_p=0)), 0, id="values"),
        pytest.param(replace(WAY, allowed_ids=(1, 2, 3)), None, id="subset"),
        pytest.param(replace(WAY, allowed_ids=(1, 2)), None, id="other subset"),
    ],
)
def test_what_an_answer_depends_on_makes_it_another(
    folder: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], way: Way, seed: int | None
) -> None:
    one = respondent(folder, tokenizer, KeptAnswers())
    ways = [(WAY, None), (DRAWN, 0), (DRAWN, 1), (replace(WAY, allowed_ids=(1, 2, 3)), None)]
    known = {one.keys(prompts[:1], each, None if s is None else [s])[0] for each, s in ways if (each, s) != (way, seed)}
    (key,) = one.keys(prompts[:1], way, None if seed is None else [seed])
    assert key not in known
    assert one.keys(prompts[:1], way, None if seed is None else [seed]) == [key]
    assert one.keys([[*prompts[0], 5]], way, None if seed is None else [seed]) != [key]
    renamed = replace(way, name="something else")
    assert one.keys(prompts[:1], renamed, None if seed is None else [seed]) == [key]


def test_answers_of_another_model_adapter_or_type_are_never_used(
    folder: ModelFolder, adapter: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], asked: list[Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    base = without_manifest(folder, tmp_path / "base")
    others: list[tuple[ModelFolder, dict[str, Any]]] = [
        (base, {}),
        (other_model(folder, tmp_path / "other"), {}),
        (base, {"adapter": adapter}),
        (base, {"profile": PROFILE.model_copy(update={"dtype": "bfloat16"})}),
    ]
    kept = KeptAnswers(table(tmp_path / "kept"))
    for number, (model, changes) in enumerate(others, start=1):
        found = respondent(model, tokenizer, kept, **changes).answer(prompts, WAY)["ids"].tolist()
        assert len(asked) == (2 * number - 1) * len(prompts)
        assert found == fresh(model, tokenizer, prompts, **changes)


def test_a_hash_of_the_configuration_alone_would_mix_models(
    folder: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    base, other = without_manifest(folder, tmp_path / "base"), other_model(folder, tmp_path / "other")
    assert content_sha256(base) != content_sha256(other)
    monkeypatch.setattr(
        kept_answers,
        "content_sha256",
        lambda folder: hashlib.sha256((folder.path / "config.json").read_bytes()).hexdigest(),
    )
    kept = KeptAnswers()
    first, second = (respondent(each, tokenizer, kept).answer(prompts, WAY)["ids"].tolist() for each in (base, other))
    assert first == second != fresh(other, tokenizer, prompts)


def test_where_an_answer_came_from_is_known(
    folder: ModelFolder, tokenizer: ChatTokenizer, prompts: list[list[int]], tmp_path: Path
) -> None:
    for run, number in (("one", 10), ("two", 24)):
        kept = KeptAnswers(TableParts(fsspec.filesystem("file"), str(tmp_path), str(tmp_path), run), seconds=0)
        found = respondent(folder, tokenizer, kept).answer(prompts[:number], WAY)
    frame = pd.DataFrame({"arm": "base", "seed": -1, "key": [*found["key"], "0" * 32]})
    rows = origins(frame, table(tmp_path).read()).set_index("run_id")
    assert rows["n"].to_dict() == {"one": 10, "two": 14, "": 1}
    assert (rows.loc["one", "last"] < rows.loc["two", "first"], rows.loc["one", "device"]) == (True, "cpu")
    assert origins(frame, table(tmp_path / "nothing").read())["n"].tolist() == [25]
