from __future__ import annotations

import copy
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import load_chat_tokenizer
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.checkpoints import CheckpointError, Checkpoints, WholeFiles, fingerprint
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.run import train

from .conftest import lora_losses, make_encoded, make_loaded, make_settings

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-3,
    "batch_size": 3,
    "grad_accum_steps": 1,
    "max_steps": 14,
    "warmup_steps": 2,
    "threads": 1,
}
Run = Callable[..., list[float]]


@pytest.fixture
def run(loaded: LoadedModel, examples: EncodedExamples) -> Run:
    """The same run from the same start, as often as asked for."""
    return partial(lora_losses, loaded, examples, 0.3, **SETTINGS)


class Forge:
    """Processes that train and are ended, forked from one that has imported everything: imports take seconds."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.test_checkpoints"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, step: int, ended_by: signal.Signals) -> int:
        """Runs until the step, where the signal comes; returns the exit code, negative for a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), step, int(ended_by)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)  # the end of its input is its end


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    forge = Forge()
    yield forge
    forge.close()


def _serve() -> None:
    """What the forge does: a fork for each line of its input, whose exit code it writes."""
    for line in sys.stdin:
        folder, step, ended_by = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.alarm(300)  # one that hangs is ended
            os.dup2(2, 1)  # the answer of the forge is one number
            _run_and_be_ended(Path(folder), step, ended_by)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run_and_be_ended(folder: Path, step: int, ended_by: int) -> None:
    """What the other process does: the run of the fixtures, ended by a signal after a step."""
    tokenizer = load_chat_tokenizer()
    encoded = make_encoded(tokenizer)
    loaded = make_loaded(tokenizer, encoded)
    examples = EncodedExamples(encoded, loaded.vocabulary, tokenizer.end_id)

    def end(now: int) -> None:
        if now == step:
            os.kill(os.getpid(), ended_by)

    lora_losses(loaded, examples, 0.3, folder=folder, callbacks=[EverySteps(1, end)], **SETTINGS)


def test_sigterm_saves_the_step_and_the_run_resumes_bit_for_bit(run: Run, forge: Forge, tmp_path: Path) -> None:
    whole = run()
    for step in (5, 7):  # the second time in a run that was resumed
        assert forge.run(tmp_path, step, signal.SIGTERM) == 128 + signal.SIGTERM
        assert f"step={step}.ckpt" in {file.name for file in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 2
    assert run(folder=tmp_path) == whole


def test_a_killed_run_resumes_bit_for_bit(run: Run, forge: Forge, tmp_path: Path) -> None:
    whole = run()
    assert forge.run(tmp_path, 8, signal.SIGKILL) == -signal.SIGKILL
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step=3.ckpt", "step=6.ckpt"]
    assert run(folder=tmp_path) == whole


def test_an_exception_leaves_a_checkpoint_of_its_step(run: Run, tmp_path: Path) -> None:
    def fail(step: int) -> None:
        if step == 5:
            raise RuntimeError("the disk fell off")

    whole = run()
    with pytest.raises(RuntimeError, match="disk"):
        run(folder=tmp_path, callbacks=[EverySteps(1, fail)])
    assert run(folder=tmp_path) == whole


def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(folder=tmp_path / "whole")
    files = sorted((tmp_path / "whole").iterdir(), key=lambda file: file.stat().st_mtime)
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:100])
    with caplog.at_level(logging.WARNING, logger="spelling_transfer"):
        assert run(folder=tmp_path / "whole") == whole
    assert "damaged" in caplog.text


def test_the_new_checkpoint_is_kept_although_the_clock_was_put_back(tmp_path: Path) -> None:
    for step in range(1, 5):
        file = tmp_path / f"step={step}.ckpt"
        WholeFiles().save_checkpoint({"global_step": step}, file)
        os.utime(file, (2e9 - step,) * 2)  # each seems older than the one before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_holds_no_base_weights(run: Run, tmp_path: Path) -> None:
    run(folder=tmp_path)
    state = torch.load(next(tmp_path.glob("*.ckpt")), weights_only=True)
    assert state["state_dict"]
    assert all("lora_" in name for name in state["state_dict"])


def test_another_runs_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    run(folder=tmp_path)
    with pytest.raises(CheckpointError, match="other settings"):
        run(folder=tmp_path, learning_rate=1e-3)


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
                train(base, examples, TrainingSettings(**SETTINGS), checkpoints=Checkpoints(tmp_path, every_steps=2))
        else:
            train(base, examples, TrainingSettings(**SETTINGS), checkpoints=Checkpoints(tmp_path, every_steps=2))


def test_another_adapter_or_token_subset_is_another_run(loaded: LoadedModel, examples: EncodedExamples) -> None:
    found = set()
    changes = {"r": 4, "alpha": 8, "dropout": 0.1, "use_dora": True, "use_rslora": True}
    for change in ({}, *({name: value} for name, value in changes.items())):
        start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
        model = attach_lora(start, LoraSettings(**{"r": 2, "alpha": 4, "dropout": 0.0, **change}), ("q_proj",))
        found.add(fingerprint(make_settings(), examples, model))
    found.add(fingerprint(make_settings(), examples, model, torch.arange(5)))
    assert len(found) == len(changes) + 2


def test_a_failed_write_leaves_the_checkpoint_that_was_there(
    loaded: LoadedModel, examples: EncodedExamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    written = 0

    def full_disk(checkpoint: Any, file: Any) -> None:
        nonlocal written
        written += 1
        if written > 1:
            file.write_bytes(b"half a checkpoint")
            raise OSError(28, "No space left on device")
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        train(loaded, examples, TrainingSettings(**SETTINGS), checkpoints=Checkpoints(tmp_path, every_steps=2))
    assert [file.name for file in tmp_path.iterdir()] == ["step=2.ckpt"]
    torch.load(tmp_path / "step=2.ckpt", weights_only=True)


if __name__ == "__main__":
    _serve()
