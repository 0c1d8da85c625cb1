from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

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
    ("position", "expected"),
    [
        (
            (0.08, 0.02, 0.14),
            "spelling transferred to position; against the control arm position +8.0 (+2.0 to +14.0)",
        ),
        ((0.01, -0.03, 0.05), "no claim; against the control arm position +1.0 (−3.0 to +5.0)"),
    ],
)
def test_the_last_line_is_adjusted_for_the_control_arm(position: tuple[float, float, float], expected: str) -> None:
    control = pd.DataFrame(
        [_row("spelling", 0.3, 0.2, 0.4), _row("position", *position), _row("count", 0.0, -0.1, 0.1)]
    )
    lines = {line.label: line.text for line in summary_lines(Results(comparison=BASE, control_comparison=control))}
    assert lines["transfer"].startswith(expected)
    without = summary_lines(Results(comparison=BASE, control_comparison=control.iloc[:0]))
    assert "no control arm" in without[-1].text
