"""Marks and trials with known gains, made of random numbers from a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.study.scores import SCORED_TASKS, transfer_score

BASE = {"spelling": 0.3, "position": 0.2, "count": 0.4}

MakeStudy = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def _marks(gains: list[dict[str, float]], families: int, seed: int) -> pd.DataFrame:
    """Each trial has right what the base model has, and of the rest the share of its gain; a negative one loses."""
    rng = np.random.default_rng(seed)
    frames = []
    for task in SCORED_TASKS:
        base = rng.random(families) < BASE[task]
        luck = rng.random(families)
        for number, gain in enumerate(gains):
            change = gain.get(task, 0.0)
            exact = base | (luck < change / (1 - BASE[task])) if change >= 0 else base & (luck > -change / BASE[task])
            frames.append(
                pd.DataFrame(
                    {
                        "number": number,
                        "example_id": [f"{task}-{i}" for i in range(families)],
                        "task": task,
                        "stem": [f"stem{i}" for i in range(families)],
                        "word": [f"word{i}" for i in range(families)],
                        "difficulty": [("easy", "medium", "hard")[i % 3] for i in range(families)],
                        "n_tokens": [1 + i % 5 for i in range(families)],
                        "base": base,
                        "exact": exact,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="session")
def make_study() -> MakeStudy:
    """Returns a function from gains by trial to the trials frame and the marks frame."""

    def make(
        gains: list[dict[str, float]], *, families: int = 200, seed: int = 0, steps: list[int] | None = None
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        marks = _marks(gains, families, seed)
        shares = marks.groupby(["number", "task"])["exact"].mean().unstack()
        rows = [
            {
                "number": number,
                "state": "complete",
                "lora.r": (4, 8, 16, 32)[number % 4],
                "training.learning_rate": 1e-4 * (1 + number),
                "seed": number,
                "steps": steps[number] if steps else 60,
                "loss": 0.5,
                **{task: float(shares.loc[number, task]) for task in SCORED_TASKS},
                "transfer_score": float(transfer_score(*(float(shares.loc[number, task]) for task in SCORED_TASKS))),
            }
            for number in range(len(gains))
        ]
        return pd.DataFrame(rows), marks

    return make
