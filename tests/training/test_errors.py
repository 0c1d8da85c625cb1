from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training import module as module_file
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.checkpoints import CheckpointError, Checkpoints
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples, TrainingDataError
from spelling_transfer.training.errors import (
    DeviceError,
    TrainingDivergedError,
    TrainingMemoryError,
    memory_errors_explained,
)
from spelling_transfer.training.run import train


def settings(**changes: Any) -> TrainingSettings:
    shared: dict[str, Any] = {
        "learning_rate": 1e-3,
        "batch_size": 4,
        "grad_accum_steps": 1,
        "max_steps": 6,
        "warmup_steps": 1,
        "threads": 1,
    }
    return TrainingSettings(**{**shared, **changes})


@pytest.fixture
def examples(loaded: LoadedModel, tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> EncodedExamples:
    frame = encoded.assign(word=encoded["example_id"], example_id=[f"spelling-{i}" for i in range(len(encoded))])
    return EncodedExamples(frame, loaded.vocabulary, tokenizer.end_id)


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
            settings(),
            callbacks=[poison(loaded, at_step=4)],
            checkpoints=Checkpoints(tmp_path, every_steps=2),
        )
    message = str(caught.value)
    assert "loss is nan at step 4" in message
    assert caught.value.indices
    for index in caught.value.indices:
        assert examples.names([index]) in message  # the id and its word
    # The weights went wrong before the checkpoint of step 4 was written, so that one is not good.
    assert f"The last good checkpoint is {tmp_path / 'step=2.ckpt'} (step 2)" in message


def test_the_checkpoint_that_is_named_is_good(loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, every_steps=3)
    start = copy.deepcopy(loaded.model)
    with pytest.raises(TrainingDivergedError, match=r"step=4\.ckpt"):
        train(loaded, examples, settings(), callbacks=[_explode_at(4)], checkpoints=checkpoints)
    state = torch.load(tmp_path / "step=4.ckpt", weights_only=True)["state_dict"]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
    again = LoadedModel(start, loaded.vocabulary)
    whole = LoadedModel(copy.deepcopy(start), loaded.vocabulary)
    resumed = train(again, examples, settings(), checkpoints=checkpoints).losses
    assert resumed == train(whole, examples, settings()).losses


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
        train(loaded, examples, settings(), callbacks=[_explode_at(2)])
    assert all(bool(torch.isfinite(p).all()) for p in loaded.model.parameters())


def test_labels_beyond_the_subset_are_refused_before_the_first_step(
    loaded: LoadedModel, examples: EncodedExamples
) -> None:
    rows = examples.label_rows()
    lost = int(loaded.vocabulary.to_rows(ChatIds.of(examples, loaded, 0))[0])
    before = copy.deepcopy(loaded.model.state_dict())
    with pytest.raises(
        TrainingDataError, match=r"use_english_only_tokens.*outside the token subset.*spelling-0 \(cab\)"
    ):
        train(loaded, examples, settings(), subset_rows=torch.from_numpy(np.setdiff1d(rows, [lost])))
    for name, tensor in loaded.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


class ChatIds:
    """The label tokens of an example."""

    @staticmethod
    def of(examples: EncodedExamples, loaded: LoadedModel, index: int) -> np.ndarray:
        row = examples.rows[examples.offsets[index] : examples.offsets[index + 1]]
        return loaded.vocabulary.to_ids(row[examples.label_start[index] :])


def test_an_example_longer_than_the_context_is_refused(loaded: LoadedModel, examples: EncodedExamples) -> None:
    loaded.model.config.max_position_embeddings = int(examples.lengths.max()) - 1
    longest = examples.names([int(np.argmax(examples.lengths))])
    with pytest.raises(TrainingDataError, match="longer than the model's context") as caught:
        train(loaded, examples, settings())
    assert longest in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
    ],
    ids=["cuda", "python", "cpu", "mps"],
)
def test_out_of_memory_says_what_to_change(
    loaded: LoadedModel, examples: EncodedExamples, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(module_file, "answer_only_loss", fail)
    with pytest.raises(TrainingMemoryError) as caught:
        train(loaded, examples, settings(batch_size=8, grad_accum_steps=2))
    assert "training.batch_size 4 with training.grad_accum_steps 4" in str(caught.value)
    assert "gradient_checkpointing" in str(caught.value)


def test_memory_that_is_really_out_is_recognised() -> None:
    with pytest.raises(TrainingMemoryError), memory_errors_explained(settings(), 10):
        torch.empty(2**60, dtype=torch.float32)


def test_another_error_stays_itself() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_errors_explained(settings(), 10):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_checkpoint_on_another_base_is_refused(
    loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path
) -> None:
    other = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
    with torch.no_grad():
        other.model.model.layers[1].mlp.up_proj.weight.mul_(1.5)
    for base, refused in ((loaded, False), (other, True)):
        torch.manual_seed(0)
        attach_lora(base, LoraSettings(r=2, alpha=4, dropout=0.0), ("q_proj",))
        if refused:
            with pytest.raises(CheckpointError, match="another base model"):
                train(base, examples, settings(), checkpoints=Checkpoints(tmp_path, every_steps=2))
        else:
            train(base, examples, settings(), checkpoints=Checkpoints(tmp_path, every_steps=2))


def test_a_failed_write_leaves_the_checkpoint_that_was_there(
    loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    written = 0

    def full_disk(checkpoint: Any, file: Any) -> None:
        nonlocal written
        written += 1
        if written > 1:
            file.write(b"half a checkpoint")
            raise OSError(28, "No space left on device")
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        train(loaded, examples, settings(), checkpoints=Checkpoints(tmp_path, every_steps=2))
    assert [file.name for file in tmp_path.iterdir()] == ["step=2.ckpt"]
    torch.load(tmp_path / "step=2.ckpt", weights_only=True)


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
        train(loaded, examples, settings(**changes))
