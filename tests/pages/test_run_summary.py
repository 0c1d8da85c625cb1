from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from tests.samples.verdicts import arm_answers, gains

from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.verdict import decide
from spelling_transfer.pages.run_results import Results
from spelling_transfer.pages.run_summary import summary_lines


def _row(task: str, difference: float, low: float, high: float) -> dict[str, Any]:
    verdict = "up" if low > 0 else "down" if high < 0 else "unclear"
    return {
        "measure": "exact_match", "task": task, "group": "all", "value": "all", "reference_score": 0.3,
        "arm_score": 0.3 + difference, "difference": difference, "low": low, "high": high, "verdict": verdict,
    }  # fmt: skip


BASE = pd.DataFrame([_row("spelling", 0.3, 0.2, 0.4), _row("position", 0.1, 0.05, 0.15), _row("count", 0.0, -0.1, 0.1)])


@pytest.mark.parametrize(
    ("transfer", "expected"), [(0.12, "Yes, spelling carried over to position"), (0.0, "No, spelling carried over")]
)
def test_the_last_line_is_the_verdict(transfer: float, expected: str) -> None:
    verdict = decide(arm_answers(gains(transfer=transfer), families=1_000), VerdictSettings()).document()
    lines = {line.label: line.text for line in summary_lines(Results(comparison=BASE, verdict=verdict))}
    assert lines["transfer"].startswith(expected)
    without = summary_lines(Results(comparison=BASE))
    assert "no verdict yet" in without[-1].text
