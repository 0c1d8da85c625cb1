"""Real trials on the embedded model: resumed from a checkpoint exactly, the same from files that workers map."""

from __future__ import annotations

import gc
import hashlib
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.interfaces import StudyInterruptedError, StudyResult
from spelling_transfer.study.material import TrialMaterial, open_runner
from spelling_transfer.study.monitor import TrialMonitor
from spelling_transfer.study.run import StudySession, run_study
from spelling_transfer.study.trial import MAX_ANSWER_TOKENS
from spelling_transfer.tasks.encoding import encode_examples
from spelling_transfer.tasks.examples import ExampleMix, write_examples
from spelling_transfer.tasks.mixture import MixtureSettings
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.difficulty import rate_difficulty, structural_score
from spelling_transfer.words.word_list import WordSelection, select_words
from spelling_transfer.words.word_sets import describe_words, split_words

MODEL = Path(__file__).parents[2] / "data/01_raw/models/tiny-qwen3"


@pytest.fixture(scope="module")
def material(tokenizer: ChatTokenizer) -> TrialMaterial:
    selection = WordSelection(top_words=6000, max_words=900, random_words=0)
    words = split_words(describe_words(select_words(selection).words, tokenizer), tokenizer, selection)
    words = rate_difficulty(words, structural_score(words))
    mix = ExampleMix.model_validate(
        {"separators": ["space"], "case_variants": False, "other_task_questions": 0, "spelling_difficulty": "all"}
    )
    examples = write_examples(words, tokenizer, mix, load_tasks())
    encoded = encode_examples(examples, tokenizer)
    profile = ModelProfile(name="tiny-qwen3", lora_targets=("q_proj", "v_proj"))
    english = encoded["input_ids"].explode().unique().astype("int64")
    return TrialMaterial(
        ModelFolder.open(MODEL),
        profile,
        tokenizer,
        examples,
        encoded,
        english,
        validation_words=10,
        evaluate_every=3,
    )


DEFAULTS = TrialConfig.model_validate(
    {
        "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
        "training": {"batch_size": 4, "grad_accum_steps": 1, "max_steps": 8, "warmup_steps": 0, "threads": 1},
        "spelling": {"spelling_data_ratio": 1.0, "spelling_difficulty": "all"},
    }
)


def settings(**changes: object) -> StudySettings:
    shared = {"name": "real", "n_trials": 2, "sampler": "random", "pruner": "none", "validation_words": 10}
    space = {"lora.r": {"values": [2, 4]}, "training.learning_rate": {"low": 1e-3, "high": 5e-3, "log": True}}
    shared |= {"space": space, "transfer_eval_frequency": 3, "checkpoint_every": 2}
    return StudySettings.model_validate({**shared, **changes})


@pytest.fixture(scope="module")
def undisturbed(material: TrialMaterial, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return run_study(settings(), DEFAULTS, material, folder=folder), folder


def adapters(folder: Path) -> list[str]:
    files = sorted(folder.glob("trials/*/adapter/adapter_model.safetensors"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def test_trials_are_scored_on_the_way_and_leave_their_adapters(undisturbed: tuple[StudyResult, Path]) -> None:
    result, folder = undisturbed
    assert result.curves["step"].tolist() == [3, 6, 8] * 2
    assert result.trials["state"].tolist() == ["complete"] * 2
    assert result.base.step == 0
    assert len(result.base.correct) == len(result.curves["correct"][0]) > 0
    assert len(set(adapters(folder))) == 2
    assert not list(folder.glob("trials/*/checkpoints/*"))


def test_an_answer_may_be_as_long_as_the_longest_right_one(material: TrialMaterial) -> None:
    long = material.encoded.assign(label_start=material.encoded["input_ids"].map(len) - 40)
    assert replace(material, encoded=long).open().max_answer_tokens == 40
    assert material.open().max_answer_tokens == MAX_ANSWER_TOKENS


def test_a_search_over_mixtures_keeps_the_examples_of_one_in_memory(material: TrialMaterial) -> None:
    runner, mixtures = material.open(), [MixtureSettings(spelling_data_ratio=share) for share in (0.5, 0.6)]
    first = weakref.ref(runner._training_examples(mixtures[0], "spelling"))
    assert runner._training_examples(mixtures[0], "spelling") is first()
    runner._training_examples(mixtures[1], "spelling")
    gc.collect()
    assert first() is None


@pytest.mark.parametrize(("step", "kept"), [(3, 3), (5, 5), (5, 4), (8, 8)])
def test_a_trial_that_was_interrupted_goes_on_as_if_it_had_not_been(
    material: TrialMaterial,
    undisturbed: tuple[StudyResult, Path],
    tmp_path: Path,
    step: int,
    kept: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # At an evaluation, between two, and after the last step. A worker that is killed leaves no checkpoint of its last
    # step: then the trial goes on from the one before.
    progress = TrialMonitor.progress
    stops: list[threading.Event] = []
    begun: list[int] = []

    def stop_at(self: TrialMonitor, now: int) -> None:
        begun.append(now)
        if now == step and not stops:
            stops.append(self._stop)
            self._stop.set()
        progress(self, now)

    monkeypatch.setattr(TrialMonitor, "progress", stop_at)
    with pytest.raises(StudyInterruptedError, match="stopped with 0 of 2 trials finished"):
        run_study(settings(), DEFAULTS, material, folder=tmp_path)
    if kept < step:
        (newest,) = (tmp_path / "trials" / "0000" / "checkpoints").glob(f"*step={step}.ckpt")
        newest.unlink()
    begun.clear()
    result = run_study(settings(), DEFAULTS, material, folder=tmp_path)
    expected, folder = undisturbed
    assert begun[0] == (kept + 1 if kept < 8 else 1)  # no step before the checkpoint is taken again
    pd.testing.assert_frame_equal(result.trials, expected.trials)
    pd.testing.assert_frame_equal(result.curves, expected.curves)
    assert adapters(tmp_path) == adapters(folder)


def mappings() -> list[tuple[int, int, str]]:
    """Returns the files that this process has mapped, by address."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        found.append((low, high, line.rpartition("/")[2]))
    return found


def test_workers_get_the_same_scores_from_files_they_map(
    material: TrialMaterial, undisturbed: tuple[StudyResult, Path], tmp_path: Path
) -> None:
    _, arguments = material.write(tmp_path)
    runner = open_runner(tmp_path, **arguments)
    in_memory = material.encoded[material.encoded["split"] == "train"]["input_ids"]
    mapped = runner.encoded["input_ids"]
    assert [list(ids) for ids in mapped] == [list(ids) for ids in in_memory]
    assert not mapped.iloc[0].flags.owndata
    weights = dict(runner.loaded.model.named_parameters())
    assert len(weights) > 10
    for name, tensor in load_file(tmp_path / "material" / "weights.safetensors").items():
        assert torch.equal(weights[name], tensor)
    if Path("/proc/self/maps").is_file():
        address = weights["model.embed_tokens.weight"].data_ptr()
        assert [file for low, high, file in mappings() if low <= address < high] == ["weights.safetensors"]
    expected, folder = undisturbed
    session = StudySession(settings(), DEFAULTS, runner, tmp_path)
    session.run([], None)
    pd.testing.assert_frame_equal(session.result().trials, expected.trials)
    assert adapters(tmp_path) == adapters(folder)
    session.close()


def test_another_model_or_other_words_are_another_study(material: TrialMaterial, tmp_path: Path) -> None:
    train = material.encoded[material.encoded["split"] == "train"]
    fewer = replace(material, encoded=material.encoded.drop(index=train.index[-1]))
    untouched = replace(material, encoded=material.encoded[material.encoded["split"] != "test"])
    StudySession(settings(), DEFAULTS, material, tmp_path).close()
    StudySession(settings(), DEFAULTS, untouched, tmp_path).close()  # no trial looks at test words
    with pytest.raises(StudyConfigError, match=r"data\.training_examples"):
        StudySession(settings(), DEFAULTS, fewer, tmp_path)
