from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import loss_at
from spelling_transfer.progress import progress_bar
from spelling_transfer.training import callbacks as metrics
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.checkpoints import Checkpoints
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.run import train

from .conftest import make_settings

KEYS = {
    "step",
    "train/loss",
    "train/grad_norm",
    "train/learning_rate",
    "train/examples_per_second",
    "train/label_tokens_per_second",
    "train/memory_mb",
}


settings = partial(make_settings, batch_size=10, max_steps=7, warmup_steps=4, schedule="constant", log_every_steps=3)


def test_a_row_every_few_steps_and_one_at_the_end(loaded: LoadedModel, examples: EncodedExamples) -> None:
    rows: list[dict[str, float]] = []
    result = train(loaded, examples, settings(), on_metrics=rows.append)
    assert [row["step"] for row in rows] == [3, 6, 7]
    assert all(set(row) == KEYS for row in rows)
    assert [row["train/loss"] for row in rows] == [result.losses[step - 1] for step in (3, 6, 7)]
    assert [row["train/learning_rate"] for row in rows] == pytest.approx([0.75e-3, 1e-3, 1e-3])
    assert all(row["train/memory_mb"] > 50 for row in rows)  # this process with torch in it
    assert result.metrics == rows


def test_the_gradient_norm_is_that_before_clipping(loaded: LoadedModel, examples: EncodedExamples) -> None:
    batch = examples.batch(range(len(examples)))
    model = copy.deepcopy(loaded.model)
    (loss_at(model, batch.input_ids, batch.places, batch.targets) / len(batch.targets)).backward()
    expected = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    result = train(loaded, examples, settings(max_steps=1, max_grad_norm=1e-3))
    assert result.metrics[0]["train/grad_norm"] == pytest.approx(expected, rel=1e-4)


def test_throughput_counts_examples_and_their_labels_but_no_evaluation(
    loaded: LoadedModel, examples: EncodedExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def look_at_the_clock() -> float:
        nonlocal now
        now += 1.0  # so that a step, looked at before and after, takes a second
        return now

    def evaluate(_: int) -> None:
        nonlocal now
        now += 1000.0

    monkeypatch.setattr(metrics, "time", SimpleNamespace(perf_counter=look_at_the_clock))
    label_tokens = int((examples.lengths - examples.label_start).sum())
    result = train(loaded, examples, settings(), callbacks=[EverySteps(3, evaluate)])
    assert [row["train/examples_per_second"] for row in result.metrics] == [len(examples)] * 3
    assert [row["train/label_tokens_per_second"] for row in result.metrics] == [label_tokens] * 3


def test_a_call_between_steps_finds_the_model_at_rest_and_takes_back_no_stop() -> None:
    model = torch.nn.Linear(1, 1).train()
    trainer = SimpleNamespace(global_step=4, should_stop=False, lightning_module=model)
    seen: list[bool] = []
    for answer, stops in ((False, False), (True, True), (False, True)):
        EverySteps(2, lambda _, answer=answer: seen.append(model.training) or answer).on_train_batch_end(trainer)
        assert trainer.should_stop is stops
        assert model.training
    assert not any(seen)


def test_a_resumed_run_reports_the_rows_of_the_whole_one(
    loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path
) -> None:
    def rows(folder: Path, stop_at: int | None) -> list[dict[str, float]]:
        same_start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)

        def look(step: int) -> None:
            if step == stop_at:
                raise KeyError("the machine went away")

        try:
            found: list[dict[str, float]] = []
            train(
                same_start,
                examples,
                settings(batch_size=3),
                callbacks=[EverySteps(1, look)],
                checkpoints=Checkpoints(folder, every_steps=2),
                on_metrics=found.append,
            )
        except KeyError:
            pass
        return found

    exact = ("step", "train/loss", "train/grad_norm", "train/learning_rate")
    whole = rows(tmp_path / "whole", None)
    parts = rows(tmp_path / "parts", 4) + rows(tmp_path / "parts", None)
    assert [[row[key] for key in exact] for row in parts] == [[row[key] for key in exact] for row in whole]


def test_the_bar_shows_loss_and_counts_resumed_steps(
    loaded: LoadedModel,
    examples: EncodedExamples,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoints = Checkpoints(tmp_path, every_steps=2)
    seen: list[int] = []
    start = copy.deepcopy(loaded.model)
    train(loaded, examples, settings(), checkpoints=checkpoints, progress=seen.append)
    assert seen == [1] * 7
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take the stream for a terminal
    again = LoadedModel(start, loaded.vocabulary)
    with progress_bar("Training", total=7, after_seconds=0.0) as advance:
        result = train(again, examples, settings(), checkpoints=checkpoints, progress=advance)
        advance.show(spelling=0.25)
    drawn = capsys.readouterr().err
    assert "7/7" in drawn
    assert f"loss {result.losses[-1]:.3f}" in drawn
    assert "spelling 0.250" in drawn
