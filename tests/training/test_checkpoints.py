from __future__ import annotations

import copy
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.checkpoints import CheckpointError, Checkpoints
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.run import train

SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-3,
    "batch_size": 3,
    "grad_accum_steps": 1,
    "max_steps": 14,
    "warmup_steps": 2,
    "threads": 1,
}


class Run:
    """The same run from the same start, as often as asked for."""

    def __init__(self, loaded: LoadedModel, examples: EncodedExamples) -> None:
        self.loaded = loaded
        self.examples = examples

    def losses(self, folder: Path | None, *callbacks: Any, **changes: Any) -> list[float]:
        start = LoadedModel(copy.deepcopy(self.loaded.model), self.loaded.vocabulary)
        torch.manual_seed(0)
        attach_lora(start, LoraSettings(r=4, alpha=8, dropout=0.3), ("q_proj", "v_proj"))
        checkpoints = Checkpoints(folder, every_steps=3) if folder else None
        settings = TrainingSettings(**{**SETTINGS, **changes})
        return train(start, self.examples, settings, callbacks=callbacks, checkpoints=checkpoints).losses


@pytest.fixture
def run(loaded: LoadedModel, tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> Run:
    return Run(loaded, EncodedExamples(encoded, loaded.vocabulary, tokenizer.end_id))


class Forge:
    """Processes that train and are ended, forked from one that has imported everything: imports take seconds."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
    spec = importlib.util.spec_from_file_location("fixtures", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    fixtures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fixtures)
    tokenizer = load_chat_tokenizer()
    encoded = fixtures.make_encoded(tokenizer)
    loaded = fixtures.make_loaded(tokenizer, encoded)
    run = Run(loaded, EncodedExamples(encoded, loaded.vocabulary, tokenizer.end_id))

    def end(now: int) -> None:
        if now == step:
            os.kill(os.getpid(), ended_by)

    run.losses(folder, EverySteps(1, end))


def test_sigterm_saves_the_step_and_the_run_resumes_bit_for_bit(run: Run, forge: Forge, tmp_path: Path) -> None:
    whole = run.losses(None)
    for step in (5, 7):  # the second time in a run that was resumed
        assert forge.run(tmp_path, step, signal.SIGTERM) == 128 + signal.SIGTERM
        assert f"step={step}.ckpt" in {file.name for file in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 2
    assert run.losses(tmp_path) == whole


def test_a_killed_run_resumes_bit_for_bit(run: Run, forge: Forge, tmp_path: Path) -> None:
    whole = run.losses(None)
    assert forge.run(tmp_path, 8, signal.SIGKILL) == -signal.SIGKILL
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step=3.ckpt", "step=6.ckpt"]
    assert run.losses(tmp_path) == whole


def test_an_exception_leaves_a_checkpoint_of_its_step(run: Run, tmp_path: Path) -> None:
    def fail(step: int) -> None:
        if step == 5:
            raise RuntimeError("the disk fell off")

    whole = run.losses(None)
    with pytest.raises(RuntimeError, match="disk"):
        run.losses(tmp_path, EverySteps(1, fail))
    assert run.losses(tmp_path) == whole


def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run.losses(tmp_path / "whole")
    files = sorted((tmp_path / "whole").iterdir(), key=lambda file: file.stat().st_mtime)
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:100])
    with caplog.at_level(logging.WARNING, logger="spelling_transfer"):
        assert run.losses(tmp_path / "whole") == whole
    assert "damaged" in caplog.text


def test_a_checkpoint_holds_no_base_weights(run: Run, tmp_path: Path) -> None:
    run.losses(tmp_path)
    state = torch.load(next(tmp_path.glob("*.ckpt")), weights_only=True)
    assert state["state_dict"]
    assert all("lora_" in name for name in state["state_dict"])


def test_another_runs_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    run.losses(tmp_path)
    with pytest.raises(CheckpointError, match="other settings"):
        run.losses(tmp_path, learning_rate=1e-3)


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
