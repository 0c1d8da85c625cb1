"""What is noted while a run goes on: which nodes ran, for how long, and how the run ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from spelling_transfer import __version__
from spelling_transfer.pages.findings import describe_comparison, main_rows
from spelling_transfer.pages.run_results import RESULTS, Results

FORMAT = 1


@dataclass
class RunRecord:
    """The course of a run.

    Attributes:
        run_id: Kedro's id of the run.
        pipelines: The pipelines asked for.
        env: The Kedro environment.
        started_at: When it began, UTC.
        made: Datasets written so far.
    """

    run_id: str
    pipelines: list[str]
    env: str | None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    made: set[str] = field(default_factory=set)
    _begun: float = field(default_factory=time.perf_counter)
    _first: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def touch(self, node_name: str) -> None:
        """Notes that a node is at work: the first and the last note are the ends of its time."""
        now = time.perf_counter()
        self._first.setdefault(node_name, now)
        self._last[node_name] = now

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._begun

    @property
    def seconds_by_node(self) -> dict[str, float]:
        """Seconds of each node, loading and saving included, in the order in which they began."""
        return {name: self._last[name] - begun for name, begun in self._first.items()}


def summary_document(record: RunRecord, results: Results, *, error: str | None = None) -> dict[str, Any]:
    """Returns ``run_summary.json``: everything a script needs to know of a run, times in fields of their own.

    Scores are those of whole tasks on real words of held-out families. ``from_this_run`` says of each part whether this
    run made it.

    Args:
        record: The course of the run.
        results: What the catalog holds.
        error: Why the run stopped early, where it did.
    """
    scores, comparison, control = results.scores, results.comparison, results.control_comparison
    return {
        "format": FORMAT,
        "run_id": record.run_id,
        "status": "finished" if error is None else "failed",
        "error": error,
        "version": __version__,
        "env": record.env,
        "pipelines": record.pipelines,
        "parameters_sha256": results.parameters_sha256,
        "model": results.model_name,
        "prepared": results.prepared,
        "trained": _trained(results),
        "scores": [] if scores is None else _rows(scores[scores["group"] == "all"]),
        "comparison": [] if comparison is None else _rows(_claims(comparison)),
        "control_comparison": [] if control is None else _rows(_claims(control)),
        "findings": []
        if comparison is None
        else describe_comparison(comparison, control, confidence=results.confidence),
        "endpoint": _endpoint(results.conformance),
        "pages": results.pages,
        "from_this_run": {name: name in results.made for name in RESULTS if getattr(results, name) is not None},
        "started_at": record.started_at.isoformat(timespec="seconds"),
        "seconds": round(record.seconds, 3),
        "seconds_by_node": {name: round(seconds, 3) for name, seconds in record.seconds_by_node.items()},
    }


def _claims(comparison: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(
        [main_rows(comparison), comparison[comparison["measure"].isin(["transfer_score", "transfer_ratio"])]]
    )


def _trained(results: Results) -> dict[str, Any] | None:
    if results.best_config is None:
        return None
    n_trials = None if results.trials is None else len(results.trials)
    return {"n_trials": n_trials, **results.best_config}


def _endpoint(conformance: dict[str, Any] | None) -> dict[str, Any] | None:
    if conformance is None:
        return None
    failed = [check["id"] for check in conformance["checks"] if not check["passed"]]
    return {"obeys": not failed, "n_checks": len(conformance["checks"]), "failed": failed}


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    # JSON has no NaN.
    return frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[return-value]
