from __future__ import annotations

import copy
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.checkpoints import Checkpoints
from spelling_transfer.training.copies import ComputeCopies
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.errors import DeviceError, TrainingDivergedError
from spelling_transfer.training.module import AnswerModule
from spelling_transfer.training.optimizers import make_optimizer, make_schedule
from spelling_transfer.training.run import train

from .conftest import lora_losses, make_settings

settings = partial(make_settings, batch_size=5, grad_accum_steps=2, max_steps=5)


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 1e-3), ("adafactor", 1e-2), ("sgd", 1e-2)])
def test_each_optimiser_lowers_the_loss(
    loaded: LoadedModel, examples: EncodedExamples, optimizer: str, rate: float
) -> None:
    # All ten examples make each step, so that the losses of two steps can be compared.
    curve = lora_losses(loaded, examples, optimizer=optimizer, learning_rate=rate, max_steps=8)
    assert curve[-1] < curve[0]


def test_sgd_uses_its_momentum() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer([weight], settings(optimizer="sgd", learning_rate=1e-2, momentum=0.5), fused=True)
    for _ in range(2):
        weight.grad = torch.ones(1)
        optimizer.step()
    assert weight.item() == pytest.approx(-1e-2 * (1 + 1.5))


def rates(schedule: str, **changes: Any) -> list[float]:
    chosen = settings(schedule=schedule, **{"max_steps": 20, "warmup_steps": 4, **changes})
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], chosen, fused=True)
    scheduler = make_schedule(optimizer, chosen)
    found = []
    for _ in range(chosen.max_steps):
        found.append(optimizer.param_groups[0]["lr"] / chosen.learning_rate)
        optimizer.step()
        scheduler.step()
    return found


def test_schedules_warm_up_and_fall_as_their_names_say() -> None:
    assert rates("constant")[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates("linear")[-1] == pytest.approx(1 / 16)
    assert rates("cosine")[12] == pytest.approx(0.5)
    assert max(rates("cosine")) == pytest.approx(1.0)
    stable = rates("warmup_stable_decay")
    assert stable[4:17] == pytest.approx([1.0] * 13)  # the last fifth of sixteen steps falls
    assert stable[17] > stable[18] > stable[19]
    for schedule in ("polynomial", "cosine_with_restarts", "inverse_sqrt"):
        found = rates(schedule)
        assert max(found) == pytest.approx(1.0)
        assert found[-1] < 0.5


def test_an_eight_bit_optimiser_comes_from_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    weight = torch.nn.Parameter(torch.zeros(1))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(DeviceError, match=r"needs bitsandbytes.*\[cuda\]"):
        make_optimizer([weight], settings(optimizer="adamw_8bit"), fused=True)
    module = ModuleType("bitsandbytes")
    module.optim = SimpleNamespace(AdamW8bit=torch.optim.AdamW)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bitsandbytes", module)
    optimizer = make_optimizer([weight], settings(optimizer="adamw_8bit", weight_decay=0.1), fused=True)
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-3, 0.1)


def test_a_model_stays_where_it_was_when_lightning_puts_it_away(loaded: LoadedModel) -> None:
    loaded.model.to("meta")  # in place of a GPU: nothing can be brought from there to main memory
    module = AnswerModule(loaded, make_settings())
    module.copies = ComputeCopies(loaded.model, torch.bfloat16)
    module.cpu()
    assert {(weight.device.type, weight.dtype) for weight in loaded.model.parameters()} == {("meta", torch.float32)}


def poison(loaded: LoadedModel, at_step: int) -> EverySteps:
    """Makes the weights NaN after a step."""

    def call(step: int) -> None:
        if step == at_step:
            with torch.no_grad():
                next(loaded.model.parameters()).fill_(torch.nan)

    return EverySteps(1, call)


def test_a_loss_that_is_no_number_names_step_examples_and_checkpoint(
    loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDivergedError) as caught:
        train(
            loaded,
            examples,
            make_settings(),
            callbacks=[poison(loaded, at_step=4)],
            checkpoints=Checkpoints(tmp_path, every_steps=2),
        )
    message = str(caught.value)
    assert "loss is nan at step 4 (learning_rate 0.001)" in message
    assert caught.value.indices
    for index in caught.value.indices:
        assert examples.names([index]) in message  # the id and its word
    # The weights went wrong before the checkpoint of step 4 was written, so that one is not good.
    assert f"The last good checkpoint is {tmp_path / 'step=2.ckpt'} (step 2)" in message


def test_the_checkpoint_that_is_named_is_good(loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, every_steps=3)
    start = copy.deepcopy(loaded.model)
    with pytest.raises(TrainingDivergedError, match=r"step=4\.ckpt"):
        train(loaded, examples, make_settings(), callbacks=[_explode_at(4)], checkpoints=checkpoints)
    state = torch.load(tmp_path / "step=4.ckpt", weights_only=True)["state_dict"]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
    again = LoadedModel(start, loaded.vocabulary)
    whole = LoadedModel(copy.deepcopy(start), loaded.vocabulary)
    resumed = train(again, examples, make_settings(), checkpoints=checkpoints).losses
    assert resumed == train(whole, examples, make_settings()).losses


def _explode_at(step: int) -> Any:
    """Makes the gradients of a step infinite, between backward and the optimiser."""

    class Explode(EverySteps):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if trainer.global_step == step:
                for parameter in pl_module.trainable():
                    parameter.grad.fill_(torch.inf)

    return Explode(1, lambda _: None)


def test_a_gradient_that_is_no_number_never_reaches_the_weights(loaded: LoadedModel, examples: EncodedExamples) -> None:
    with pytest.raises(TrainingDivergedError, match=r"gradient's norm is inf at step 2.*No checkpoint"):
        train(loaded, examples, make_settings(), callbacks=[_explode_at(2)])
    assert all(bool(torch.isfinite(p).all()) for p in loaded.model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp16"}, r"training.precision: fp16 needs CUDA"),
        ({"optimizer": "adamw_8bit"}, r"training.optimizer: adamw_8bit needs CUDA"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="what is refused here is allowed on CUDA")
def test_what_a_cpu_cannot_do_is_refused(
    loaded: LoadedModel, examples: EncodedExamples, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        train(loaded, examples, make_settings(**changes))
