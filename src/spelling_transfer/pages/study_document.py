"""The findings of a study as a document: its numbers are put in here, never typed."""

from __future__ import annotations

from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from spelling_transfer.pages import study_findings as words
from spelling_transfer.statistics.importance import METHODS
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.results import StudyFindings

_TOP = 10


def write_findings(found: StudyFindings) -> str:
    """Returns ``docs/tuning_results.md`` with the numbers of this study."""
    environment = Environment(
        loader=PackageLoader("spelling_transfer.pages"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (the result is Markdown, not HTML)
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}%".replace("-", "−")
    environment.filters["score"] = lambda score: f"{score:.3f}"
    environment.filters["signed"] = lambda value: f"{value:+.3f}".replace("-", "−")
    environment.filters["points"] = _points
    environment.filters["value"] = _value
    environment.filters["yaml"] = lambda data: yaml.safe_dump(data, sort_keys=False).rstrip()
    top = found.finished.sort_values(["transfer_score", "number"], ascending=[False, True], kind="stable").head(_TOP)
    return environment.get_template("tuning_results.md.j2").render(
        found=found,
        words=words,
        tasks=SCORED_TASKS,
        methods=METHODS,
        top=top.to_dict("records"),
        changes=found.changes[found.changes["number"] == found.best["trial"]].to_dict("records"),
        importance=_importance_rows(found.importance),
        settings=found.settings_patterns.to_dict("records"),
        kinds=found.patterns[found.patterns["pattern"] != "setting"].to_dict("records"),
        control=found.confirmation["control"],
        seconds=found.seconds["seconds"],
        duration=words.duration,
    )


def _importance_rows(importance: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for setting, part in importance.groupby("setting", sort=False):
        by_method = part.set_index("method")
        rows.append({"setting": setting, **{method: dict(by_method.loc[method]) for method in METHODS}})
    return rows


def _points(difference: float, low: float | None = None, high: float | None = None) -> str:
    """Writes a difference of shares in points, with its interval where there is one."""
    text = f"{100 * difference:+.1f}"
    if low is not None and high is not None and pd.notna(low):
        text += f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return text.replace("-", "−")


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
