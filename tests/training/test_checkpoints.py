from __future__ import annotations

import copy
import importlib.util
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.lora import LoraSettings, attach_lora
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


def _in_another_process(folder: Path, step: int, ended_by: signal.Signals) -> int:
    command = [sys.executable, __file__, str(folder), str(step), str(int(ended_by))]
    return subprocess.run(command, timeout=300, check=False).returncode


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


def test_sigterm_saves_the_step_and_the_run_goes_on_bit_for_bit(run: Run, tmp_path: Path) -> None:
    whole = run.losses(None)
    for step in (5, 7):  # the second time in a run that was resumed
        assert _in_another_process(tmp_path, step, signal.SIGTERM) == 128 + signal.SIGTERM
        assert f"step={step}.ckpt" in {file.name for file in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 2
    assert run.losses(tmp_path) == whole


def test_a_killed_run_goes_on_bit_for_bit(run: Run, tmp_path: Path) -> None:
    whole = run.losses(None)
    assert _in_another_process(tmp_path, 8, signal.SIGKILL) == -signal.SIGKILL
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


if __name__ == "__main__":
    _run_and_be_ended(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
