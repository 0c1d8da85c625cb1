from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.evaluation.comparison import pair_arms
from spelling_transfer.evaluation.control import (
    compare_with_control,
    control_questions,
    pair_with_control,
    transfer_ratio,
)
from spelling_transfer.tasks.registry import CORE_TASKS


def marked_answers(gains: dict[str, dict[str, float]], families: int = 300) -> pd.DataFrame:
    """Each arm has right what the base has, and of the rest the share of its gain, luckily on the same questions."""
    frames = []
    for place, task in enumerate([*CORE_TASKS, "reverse"]):
        rng = np.random.default_rng(place)
        base, luck = rng.random(families) < 0.3, rng.random(families)
        for arm, gain in gains.items():
            if arm == "control" and task == "reverse":
                continue
            exact = base | (luck < gain.get(task, 0.0) / 0.7)
            frames.append(
                pd.DataFrame(
                    {
                        "arm": arm,
                        "task": task,
                        "example_id": [f"{task}-{i}" for i in range(families)],
                        "stem": [f"stem{i}" for i in range(families)],
                        "word_set": "word",
                        "template_held_out": [i % 2 == 0 for i in range(families)],
                        "exact": exact,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


GAINS = {"base": {}, "fine-tuned": {"spelling": 0.4, "position": 0.2, "count": 0.1}, "control": {"count": 0.1}}


def test_the_difference_to_the_control_is_the_change_less_the_controls_change() -> None:
    marked = marked_answers(GAINS)
    found = compare_with_control(pair_with_control(marked, "control", "fine-tuned"), "control", "fine-tuned")
    rows = found[(found["group"] == "all") & (found["measure"] == "exact_match")].set_index("task")
    shares = marked.groupby(["task", "arm"])["exact"].mean()
    for task in CORE_TASKS:
        change, by_form = (shares[task, arm] - shares[task, "base"] for arm in ("fine-tuned", "control"))
        assert rows.loc[task, "difference"] == pytest.approx(change - by_form)
    assert rows["verdict"].to_dict() == {"spelling": "up", "position": "up", "count": "unclear"}
    assert "reverse" not in rows.index  # the control arm was not asked it


def test_the_ratio_to_spelling_has_an_interval_and_is_left_out_where_spelling_may_not_have_moved() -> None:
    marked = marked_answers(GAINS)
    pairs = {str(task): rows for task, rows in pair_with_control(marked, "control", "fine-tuned").groupby("task")}
    ratio, interval = transfer_ratio(pairs, "position")
    gains = {task: (rows["arm"].astype(float) - rows["reference"].astype(float)).mean() for task, rows in pairs.items()}
    assert ratio == pytest.approx(gains["position"] / gains["spelling"])
    assert interval.low < ratio < interval.high
    assert interval.low > 0.2
    assert interval.high < 0.9
    still = marked_answers({"fine-tuned": {"position": 0.2}, "control": {}})
    pairs = {
        str(task): rows
        for task, rows in pair_arms(still[still["task"] != "reverse"], "control", "fine-tuned").groupby("task")
    }
    assert transfer_ratio(pairs, "position")[0] is None
    found = compare_with_control(pair_with_control(still, "control", "fine-tuned"), "control", "fine-tuned")
    assert "transfer_ratio" not in set(found["measure"])


def test_the_control_is_asked_what_claims_are_about() -> None:
    sample = pd.DataFrame(
        {"task": ["spelling", "count", "reverse", "position"], "word_set": ["word", "random", "word", "word"]}
    )
    assert control_questions(sample)["task"].tolist() == ["spelling", "position"]
