"""Costs: brought up to date from the platform, summed up, and what they say about the machines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import ComputeError
from .jobs.work import Entry, run_tag
from .ledger import Ledger
from .platform.jobs import JobsApi

_SETTLED_AFTER_MINUTES = 10.0


def refresh(ledger: Ledger, api: JobsApi) -> int:
    """Asks the platform for the cost of jobs whose cost may still change, and records it.

    The platform may read 0.0 or less than the end for minutes after a job. A cost counts as settled when the job ended
    a while ago and two readings agree.

    Returns:
        How many rows are not settled yet.
    """
    frame = ledger.read()
    open_rows = frame[frame["settled"].astype(str) != "True"]
    unsettled = 0
    for run_id, rows in open_rows.groupby("run_id"):
        jobs = {job.id: job for job in api.find_all(run_tag(str(run_id)))}
        for row in rows.to_dict("records"):
            job = jobs.get(str(row["job_id"]))
            entry = _entry(row)
            if job is None:
                ledger.record(str(run_id), replace(entry, note=entry.note or "gone"), str(row["tier"]), settled=True)
                continue
            cost = job.cost_usd or entry.cost_usd
            agrees = abs(cost - entry.cost_usd) < 1e-6 and job.cost_usd > 0
            ended_at = job.stopped_at if job.state.ended else None
            age = dt.datetime.now(dt.UTC) - ended_at if ended_at else dt.timedelta(0)
            settled = agrees and age > dt.timedelta(minutes=_SETTLED_AFTER_MINUTES)
            unsettled += not settled
            state = job.state.value if job.state.ended else entry.state
            ledger.record(str(run_id), replace(entry, cost_usd=cost, state=state), str(row["tier"]), settled=settled)
    return unsettled


def summary(frame: pd.DataFrame, by: str) -> list[dict[str, Any]]:
    """Returns jobs, hours and USD for each value of a column, the dearest first."""
    if frame.empty:
        return []
    numbers = frame.assign(cost_usd=pd.to_numeric(frame["cost_usd"]), seconds=pd.to_numeric(frame["seconds"]))
    grouped = numbers.groupby(by).agg(jobs=("job_id", "count"), seconds=("seconds", "sum"), usd=("cost_usd", "sum"))
    rows = grouped.sort_values("usd", ascending=False).reset_index().to_dict("records")
    return [
        {by: row[by], "jobs": int(row["jobs"]), "hours": round(row["seconds"] / 3600, 4), "usd": round(row["usd"], 4)}
        for row in rows
    ]


def advice(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns, for each node that has run on several machines, which of them did it for the least money.

    Throughput is measured, not assumed: a machine that costs twice as much may be done in a third of the time.
    """
    done = frame[frame["state"] == "completed"]
    if done.empty:
        return []
    numbers = done.assign(cost_usd=pd.to_numeric(done["cost_usd"]), seconds=pd.to_numeric(done["seconds"]))
    rows = []
    for title, runs in numbers.groupby("title"):
        usd = {str(machine): float(costs.median()) for machine, costs in runs.groupby("machine")["cost_usd"]}
        seconds = {str(machine): float(times.median()) for machine, times in runs.groupby("machine")["seconds"]}
        cheapest, fastest = min(usd, key=lambda name: usd[name]), min(seconds, key=lambda name: seconds[name])
        rows.append(
            {
                "node": title, "machines": len(usd), "cheapest": cheapest, "usd": round(usd[cheapest], 4),
                "fastest": fastest, "minutes": round(seconds[fastest] / 60, 2),
            }
        )  # fmt: skip
    return rows


def cost_per_point(usd: float, scores: list[float]) -> float | None:
    """Returns USD for each percentage point that the best trial is above the first, or ``None`` without a gain."""
    if len(scores) < 2 or (gain := (max(scores) - scores[0]) * 100) <= 0:
        return None
    return usd / gain


def read_scores(path: Path, column: str) -> list[float]:
    """Returns the scores of a table of trials, in its order.

    Raises:
        ComputeError: The file has no such column, or is no table.
    """
    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ComputeError(f"{path}: not a table of trials ({type(error).__name__}).") from None
    if column not in frame.columns:
        raise ComputeError(f"{path}: has no column {column!r}. It has {', '.join(map(str, frame.columns))}.")
    return [float(value) for value in pd.to_numeric(frame[column], errors="coerce").dropna()]


def _entry(row: Mapping[Any, Any]) -> Entry:
    return Entry(
        key=str(row["key"]), title=str(row["title"]), job_id=str(row["job_id"]), name=str(row["name"]),
        attempt=int(row["attempt"]), machine=str(row["machine"]), usd_per_hour=float(row["usd_per_hour"]),
        state=str(row["state"]), cost_usd=float(row["cost_usd"]), seconds=float(row["seconds"]), note=str(row["note"]),
    )  # fmt: skip
