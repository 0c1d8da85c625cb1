"""Steps of fixed shapes, as they are captured on a GPU, here without the capture: the same steps as the plain ones."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.progress import ProgressHandle, progress_bar
from spelling_transfer.training.checkpoints import Checkpoints
from spelling_transfer.training.data import EncodedExamples, Shapes
from spelling_transfer.training.errors import TrainingDivergedError
from spelling_transfer.training.passes import few_widths
from spelling_transfer.training.plan import make_static
from spelling_transfer.training.run import TrainingResult, train
from spelling_transfer.training.static import ReplayedAdamW

from .conftest import make_settings


class StaticOnCpu(pl.Callback):
    """Makes a run's steps static where there is no GPU: everything but the capture."""

    def __init__(self, tokens: int = 10_000) -> None:
        self.tokens = tokens
        self.shapes: Shapes | None = None
        self.passes: list[int] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        data = trainer.datamodule
        data.cutter.tokens, data.cutter.pass_cost = self.tokens, 10**9
        data.cutter.widths = few_widths(data.examples.lengths, data.steps_ahead())
        pl_module.copies, pl_module.static = make_static(pl_module, capture=False)
        self.shapes = data.shapes
        add = pl_module.static.add
        self.passes = []

        def counted(batch: Any) -> None:
            self.passes.append(batch.input_ids.numel())
            add(batch)

        pl_module.static.add = counted


def run(
    loaded: LoadedModel, examples: EncodedExamples, *callbacks: pl.Callback, full: bool = False, **changes: Any
) -> tuple[TrainingResult, dict[str, torch.Tensor]]:
    start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
    torch.manual_seed(0)
    if not full:
        attach_lora(start, LoraSettings(r=4, alpha=8, dropout=0.0), ("q_proj", "v_proj"))
    checkpoints = changes.pop("checkpoints", None)
    subset = changes.pop("subset_rows", None)
    settings = make_settings(**{"batch_size": 4, "grad_accum_steps": 2, "max_steps": 20, **changes})
    result = train(start, examples, settings, callbacks=callbacks, checkpoints=checkpoints, subset_rows=subset)
    return result, {n: p.detach().clone() for n, p in start.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("full", [False, True], ids=["lora", "all weights"])
@pytest.mark.parametrize("subset", [False, True], ids=["whole head", "subset"])
def test_static_steps_are_the_plain_ones(
    loaded: LoadedModel, examples: EncodedExamples, full: bool, subset: bool
) -> None:
    rows = examples.batch(range(len(examples))).targets.unique() if subset else None
    plain, plain_weights = run(loaded, examples, full=full, subset_rows=rows)
    static, static_weights = run(loaded, examples, StaticOnCpu(), full=full, subset_rows=rows)
    assert static.losses == pytest.approx(plain.losses, rel=1e-5)
    assert static.losses[-1] < static.losses[0]
    assert [row["train/grad_norm"] for row in static.metrics] == pytest.approx(
        [row["train/grad_norm"] for row in plain.metrics], rel=1e-4
    )
    for name, weight in plain_weights.items():
        torch.testing.assert_close(static_weights[name], weight, atol=1e-5, rtol=1e-4)


def test_however_a_step_is_cut_it_is_the_same_step(loaded: LoadedModel, examples: EncodedExamples) -> None:
    runs = [
        run(loaded, examples, batch_size=size, grad_accum_steps=times)[0].losses
        for size, times in ((8, 1), (2, 4), (1, 8))
    ]
    runs += [run(loaded, examples, StaticOnCpu(tokens))[0].losses for tokens in (10_000, 150, 60)]
    for losses in runs[1:]:
        assert losses == pytest.approx(runs[0], abs=1e-5)


def test_the_bar_shows_no_loss_that_is_not_known_yet(
    loaded: LoadedModel, examples: EncodedExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float] = []
    monkeypatch.setattr(ProgressHandle, "show", lambda _, loss: shown.append(loss))
    with progress_bar("Training", total=3) as advance:
        result = train(loaded, examples, make_settings(max_steps=3), callbacks=[StaticOnCpu()], progress=advance)
    assert shown == result.losses  # each a step late, and the last at the end


def test_passes_are_few_and_as_large_as_memory_allows(loaded: LoadedModel, examples: EncodedExamples) -> None:
    longest = -(-int(examples.lengths.max()) // 8) * 8
    for rows, passes in ((8, 1), (4, 2), (1, 8)):
        static = StaticOnCpu(rows * longest)
        run(loaded, examples, static, max_steps=1)
        assert len(static.passes) == passes
        assert max(static.passes) <= rows * longest
        assert static.shapes is not None
        assert len(static.shapes.labels) <= 4


def test_a_step_that_fails_changes_nothing_and_is_named(
    loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    class Poison(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:
            trained = [p for g in trainer.optimizers[0].param_groups for p in g["params"]]
            if trainer.global_step == 3:
                seen["before"] = [p.detach().clone() for p in trained]
                seen["indices"] = list(batch.indices)
                pl_module.static.loss.fill_(math.nan)
            seen["weights"] = trained

    with pytest.raises(TrainingDivergedError, match="loss is nan at step 3") as caught:
        run(loaded, examples, StaticOnCpu(), Poison(), checkpoints=Checkpoints(tmp_path, every_steps=100))
    assert caught.value.indices == seen["indices"]
    for before, after in zip(seen["before"], seen["weights"], strict=True):
        assert torch.equal(before, after)
    # What is kept is the step before it, from where the run goes on as if nothing had been.
    resumed, _ = run(loaded, examples, StaticOnCpu(), checkpoints=Checkpoints(tmp_path, every_steps=100))
    whole, _ = run(loaded, examples, StaticOnCpu())
    assert resumed.losses == pytest.approx(whole.losses, rel=1e-6)


@pytest.mark.parametrize("first_static", [False, True], ids=["plain then static", "static then plain"])
def test_a_run_is_resumed_from_the_other_kind_of_step(
    loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path, first_static: bool
) -> None:
    whole, whole_weights = run(loaded, examples)
    checkpoints = Checkpoints(tmp_path, every_steps=5)
    kinds = [[StaticOnCpu()], []]

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 10:
                raise KeyError

    with pytest.raises(KeyError):
        run(loaded, examples, *kinds[not first_static], Stop(), checkpoints=checkpoints)
    rest, weights = run(loaded, examples, *kinds[first_static], checkpoints=checkpoints)
    assert rest.losses == pytest.approx(whole.losses, rel=1e-5)
    for name, weight in whole_weights.items():
        torch.testing.assert_close(weights[name], weight, atol=1e-5, rtol=1e-4)


def test_copies_of_another_type_compute_and_the_originals_are_trained(
    loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path
) -> None:
    half = LoadedModel(copy.deepcopy(loaded.model).to(torch.bfloat16), loaded.vocabulary)
    seen: list[Any] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            seen.append([p.dtype for p in pl_module.trainable()])

    settings = {"precision": "bf16", "max_steps": 6, "learning_rate": 1e-5}
    static, weights = run(
        half, examples, StaticOnCpu(), Look(), checkpoints=Checkpoints(tmp_path, every_steps=3), **settings
    )
    plain, plain_weights = run(half, examples, **settings)
    assert set(seen[0]) == {torch.bfloat16}
    assert static.losses == pytest.approx(plain.losses, rel=2e-2)  # 8 bits of mantissa, rounded in other places
    state = torch.load(tmp_path / "step=6.ckpt", weights_only=True)["state_dict"]
    for name, weight in weights.items():
        assert weight.dtype == torch.float32
        assert torch.equal(state[f"model.{name}"], weight)
        assert float((weight - plain_weights[name]).abs().max()) < 5e-5
    # Six updates of 1e-5 would be rounded away in bfloat16 where a weight is not small; here they are kept.
    start = LoadedModel(copy.deepcopy(half.model), loaded.vocabulary)
    torch.manual_seed(0)
    attach_lora(start, LoraSettings(r=4, alpha=8, dropout=0.0), ("q_proj", "v_proj"))
    for name, before in start.model.named_parameters():
        if "lora_A" in name:
            large = before.abs() > 0.05
            assert 1e-6 < float((weights[name] - before).detach().abs()[large].mean()) < 1e-4


def test_a_replayed_update_counts_as_a_change_of_the_weights(loaded: LoadedModel) -> None:
    (weight,) = {loaded.model.get_output_embeddings().weight}
    optimizer = ReplayedAdamW([weight])
    before = loaded.head_rows([1, 3])
    optimizer.replay = lambda: weight.data.add_(1.0)  # as a graph does it: unseen by torch
    try:
        optimizer.step()
        torch.testing.assert_close(loaded.head_rows([1, 3]), before + 1.0)
    finally:
        weight.data.sub_(1.0)
