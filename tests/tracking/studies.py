"""Studies as their observers see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spelling_transfer.study.interfaces import StudySnapshot, TrialSnapshot, TrialState

BASE = {"spelling": 0.1, "position": 0.1, "count": 0.2, "transfer_score": 0.15, "selection_score": 0.1}
STEPS = 6


def trial(
    number: int, state: TrialState = "complete", steps: int = STEPS, adapter: Path | None = None
) -> TrialSnapshot:
    """A trial with a loss at each step and scores at every other."""
    return TrialSnapshot(
        number=number,
        state=state,
        seed=number,
        choices={"lora.r": 8 * (number + 1), "lora.targets": ("q_proj", "v_proj")},
        config={"lora": {"r": 8 * (number + 1)}, "training": {"max_steps": STEPS}},
        step=steps,
        max_steps=STEPS,
        curve=[evaluation(number, step) for step in range(2, steps + 1, 2)],
        metrics=[{"step": step, "train/loss": 1 / step} for step in range(1, steps + 1)],
        seconds=1.5,
        error="a bad day" if state == "failed" else "",
        adapter=str(adapter) if adapter else "",
    )


def evaluation(number: int, step: int) -> dict[str, float]:
    """Scores that rise with the step and the number."""
    gain = step / 20 + number / 10
    return {
        "step": step,
        "spelling": BASE["spelling"] + gain,
        "position": BASE["position"] + gain / 2,
        "count": BASE["count"] + gain / 4,
        "transfer_score": BASE["transfer_score"] + gain / 2,
        "selection_score": BASE["selection_score"] + gain,
    }


def study(*trials: TrialSnapshot, **other: Any) -> StudySnapshot:
    """A study of these trials."""
    given = {"name": "first_study", "settings": {"focus": "balanced", "space": {"lora.r": {"values": [8, 16]}}}}
    return StudySnapshot(**{**given, "n_trials": len(trials), "trials": trials, "base": BASE, **other})
