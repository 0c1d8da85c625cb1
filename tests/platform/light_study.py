"""A study whose trials take no model: the executor's own part alone, for its tests, its faults and its cost.

A trial is a chaotic sequence of numbers, one a step. Its scores are read from it, so a step that is left out, done
twice or taken from another trial changes them in every digit.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, Monitor, TrialOutcome, Verdict

SPACE = {"lora.r": {"values": [4, 8, 16, 32]}, "training.learning_rate": {"low": 1e-4, "high": 1e-3, "log": True}}


@dataclass(frozen=True)
class LightStudy:
    """Makes light objectives, here and in workers; the folder of this file must be on PYTHONPATH for these.

    Attributes:
        step_seconds: How long a step takes.
        evaluate_every: Steps between evaluations.
        fail: Learning rate from which a trial fails.
        data: Stands for the data in the study's identity.
    """

    step_seconds: float = 0.0
    evaluate_every: int = 10
    fail: float = 1.0
    data: str = "light"

    def identity(self) -> Mapping[str, str]:
        """Returns what the scores depend on."""
        return {"data": self.data}

    def open(self) -> LightObjective:
        """Returns the objective."""
        return LightObjective(self)

    def write(self, folder: Path) -> tuple[str, dict[str, Any]]:
        """Writes nothing: the arguments say all."""
        return "light_study:open_light", vars(self)


def open_light(folder: Path, **arguments: Any) -> LightObjective:
    """Makes the objective in a worker."""
    return LightObjective(LightStudy(**arguments))


def bits(value: float) -> tuple[bool, ...]:
    """Returns a number's digits as right and wrong answers."""
    return tuple(bit == "1" for bit in f"{int(value * 2**53):053b}")


class LightObjective:
    """Trains and scores a light trial.

    ``steps.log`` in the trial's folder holds a line a step done, ``kept N`` for a checkpoint, and ``from N`` where an
    attempt began. Where ``LIGHT_STUDY_LOGS`` names a folder, the lines of all machines are there.
    """

    def __init__(self, study: LightStudy) -> None:
        self.study = study

    def evaluate(self, step: int) -> Evaluation:
        """Scores the base model."""
        return Evaluation(step, 0.1, 0.2, 0.3, (False, True, False, True))

    def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
        """Runs the sequence from the last checkpoint on."""
        if config.training.learning_rate >= self.study.fail:
            raise ValueError("the learning rate is too high")
        file = monitor.folder / "checkpoints" / "state.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        value = (0.1 + 0.618 * config.training.seed + config.lora.r / 100 + config.training.learning_rate) % 1.0
        state = json.loads(file.read_text()) if file.is_file() else {"step": 0, "value": value}
        step, value = int(state["step"]), float(state["value"])
        verdict: Verdict = "complete"
        curve = {each.step: each for each in monitor.curve if each.step <= step}
        logs = Path(os.environ.get("LIGHT_STUDY_LOGS") or monitor.folder.parent) / monitor.folder.name
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / "steps.log").open("a") as log:
            print(f"from {step}", file=log, flush=True)
            while step < config.training.max_steps and verdict == "complete":
                time.sleep(self.study.step_seconds)
                step, value = step + 1, 3.99 * value * (1 - value)
                if step % self.study.evaluate_every == 0:
                    curve[step] = Evaluation(step, value, value**2, value**3, bits(value))
                    verdict = monitor(curve[step])
                if step % 5 == 0:
                    monitor.metrics({"step": step, "train/loss": value})
                print(step, file=log, flush=True)
                monitor.progress(step)
                if step % monitor.checkpoint_every == 0:
                    partial = file.with_suffix(".partial")
                    partial.write_text(json.dumps({"step": step, "value": value}))
                    partial.replace(file)
                    print(f"kept {step}", file=log, flush=True)
        if step not in curve:
            curve[step] = Evaluation(step, value, value**2, value**3)
        return TrialOutcome([curve[each] for each in sorted(curve)], value, step, verdict)


def light_settings(**changes: Any) -> StudySettings:
    """Returns the settings of a light study: random search, nothing pruned."""
    shared = {"name": "light", "n_trials": 6, "sampler": "random", "pruner": "none", "space": SPACE}
    return StudySettings.model_validate({**shared, "checkpoint_every": 7, "heartbeat_seconds": 60, **changes})


def light_defaults(max_steps: int = 30) -> TrialConfig:
    """Returns the configuration a light study varies."""
    return TrialConfig.model_validate({"training": {"max_steps": max_steps, "warmup_steps": 0, "threads": 1}})
