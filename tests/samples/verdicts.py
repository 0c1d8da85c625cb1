"""Answers of all arms whose truth is known, as the table that a verdict rests on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.arms import ARMS, DIRECT
from spelling_transfer.tasks.registry import CORE_TASKS

Gains = Mapping[str, Mapping[str, float]]


def gains(spelling: float = 0.3, control: float = 0.0, transfer: float = 0.0, direct: float = 0.2) -> Gains:
    """Returns the change of each arm by task: dose, what the control does to both tasks, transfer, and the ceiling."""
    both = {"control": control, "spelling": transfer}
    return {"spelling": {"spelling": spelling}, **{task: {**both, DIRECT[task]: direct} for task in DIRECT}}


def arm_answers(
    of: Gains, *, families: int = 400, seeds: int = 3, arms: tuple[str, ...] = ARMS, churn: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Returns the table: the base has 40% right, each arm of each seed answers a part of the questions anew."""
    frames = []
    for place, task in enumerate(CORE_TASKS):
        rng = np.random.default_rng([seed, place])
        base = rng.random(families) < 0.4
        for arm in arms:
            if arm in DIRECT.values() and arm != DIRECT.get(task):
                continue
            gain = of.get(task, {}).get(arm, 0.0)
            for run in range(1 if arm == "base" else seeds):
                right = base.copy()
                if arm != "base":
                    right = np.where(rng.random(families) < churn, rng.random(families) < 0.4, base)
                    changed = rng.random(families) < abs(gain) / (0.6 if gain > 0 else 0.4)
                    right = np.where(changed, gain > 0, right)
                frames.append(
                    pd.DataFrame(
                        {
                            "question": [f"{task}-{i:04}" for i in range(families)],
                            "family": [f"stem{i:04}" for i in range(families)],
                            "task": task,
                            "arm": arm,
                            "seed": run,
                            "correct": right.astype(bool),
                            "difficulty": np.where(np.arange(families) % 2, "easy", "hard"),
                        }
                    )
                )
    return pd.concat(frames, ignore_index=True)
