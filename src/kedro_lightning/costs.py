"""What jobs did cost: the table of it, brought up to date from the platform, summed up, and shown on a page."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import ComputeError
from .files import write_whole
from .jobs.work import Entry, run_tag
from .platform.jobs import JobsApi, JobView, State

COLUMNS = [
    "run_id", "title", "key", "attempt", "job_id", "name", "tier", "machine", "usd_per_hour", "state", "seconds",
    "cost_usd", "settled", "recorded_at", "note",
]  # fmt: skip


_NUMBERS: dict[str, Any] = {"usd_per_hour": float, "cost_usd": float, "seconds": float}
_TYPES: dict[str, Any] = {name: _NUMBERS.get(name, str) for name in COLUMNS if name not in ("attempt", "settled")}
_ENDED = [state.value for state in State if state.ended]
_SETTLED_AFTER_MINUTES = 10.0
_LOADS_NOTHING = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{text-align:left;padding:.3rem .6rem;"
    "border-bottom:1px solid #ccc}td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}"
    ".bar{background:#0a58a3;height:.7rem;display:block}"
)

_SECTIONS = (
    ("By run or study", "run_id"),
    ("By node", "title"),
    ("By job or worker of a study", "key"),
    ("By tier", "tier"),
    ("By machine", "machine"),
)


class Ledger:
    """The table of jobs and costs."""

    def __init__(self, path: Path) -> None:
        """Makes the reader and writer of a file, which need not be there yet."""
        self.path = path

    def read(self) -> pd.DataFrame:
        """Returns all rows.

        Raises:
            ComputeError: The file is not such a table.
        """
        if not self.path.is_file():
            return pd.DataFrame(columns=COLUMNS, dtype=object).astype(_NUMBERS)
        try:
            frame = pd.read_csv(self.path, keep_default_na=False, dtype=_TYPES)
        except (ValueError, OSError) as error:
            raise ComputeError(
                f"{self.path}: not a table of costs ({error}). Move it away to begin a new one."
            ) from None
        if list(frame.columns) != COLUMNS:
            raise ComputeError(
                f"{self.path}: has other columns than {', '.join(COLUMNS)}. Move it away to begin a new one."
            )
        return frame

    def record(self, run_id: str, entry: Entry, tier: str = "", *, settled: bool = False) -> None:
        """Adds a job or changes its row."""
        if not entry.job_id:
            return
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        row = {**asdict(entry), "run_id": run_id, "tier": tier, "settled": settled, "recorded_at": now}
        with self._locked():
            frame = self.read()
            known = frame[frame["job_id"] == entry.job_id]
            if len(known):  # the day on which a job began decides the month it belongs to
                row["recorded_at"] = known.iloc[0]["recorded_at"]
                row["note"] = row["note"] or known.iloc[0]["note"]
                frame = frame[frame["job_id"] != entry.job_id]
            rows = [*frame.to_dict("records"), row]
            write_whole(self.path, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))

    def amend(self, job_id: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Changes the row of a job as it is now, and returns it; ``change`` gets it and returns what is another."""
        with self._locked():
            rows: Any = self.read().to_dict("records")
            row: dict[str, Any] = next((row for row in rows if row["job_id"] == job_id), {})
            row.update(change(row) if row else {})
            write_whole(self.path, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))
        return row

    def spent(self, *, run_id: str | None = None, month: str | None = None) -> float:
        """Returns USD spent in a run, or in a month (``2026-11``), or in all."""
        frame = self.read()
        if run_id is not None:
            frame = frame[frame["run_id"] == run_id]
        if month is not None:
            frame = frame[frame["recorded_at"].astype(str).str.startswith(month)]
        return float(frame["cost_usd"].sum())

    def completed(self, run_id: str) -> set[str]:
        """Returns the keys of a run's jobs that did their work: resumed, the run takes what they made."""
        frame = self.read()
        return set(frame[(frame["run_id"] == run_id) & (frame["state"] == "completed")]["key"])

    def minutes(self, title: str, machine: str) -> float | None:
        """Returns the median minutes of past runs of a node on a machine, or ``None`` if there are none."""
        frame = self.read()
        past = frame[(frame["title"] == title) & (frame["machine"] == machine) & _timed(frame)]
        return float(past["seconds"].median()) / 60 if len(past) else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def refresh(ledger: Ledger, api: JobsApi, *, running_only: bool = False) -> int:
    """Asks the platform for the cost of jobs whose cost may still change, and records it.

    The platform may read 0.0 or less than the end for minutes after a job. A cost counts as settled when the job ended
    a while ago and two readings agree.

    Args:
        ledger: The table.
        api: The platform's jobs, those on several machines included.
        running_only: Ask for those alone whose end is not recorded, and leave those that do run to who watches them.

    Returns:
        How many rows are not settled yet.
    """
    frame = ledger.read()
    open_rows = frame[frame["settled"].astype(str) != "True"]
    if running_only:
        open_rows = open_rows[~open_rows["state"].isin(_ENDED)]
    unsettled = 0
    for run_id, rows in open_rows.groupby("run_id"):
        jobs = {job.id: job for job in api.find_all(run_tag(str(run_id)))}
        for job_id in map(str, rows["job_id"]):
            job = jobs.get(job_id)
            if job is None:
                ledger.amend(job_id, lambda row: {"note": row["note"] or "gone", "settled": True})
            elif running_only and job.state in (State.PENDING, State.RUNNING):
                unsettled += 1
            else:
                row = ledger.amend(job_id, partial(_seen, job))
                unsettled += str(row.get("settled")) != "True"
    return unsettled


def _seen(job: JobView, row: dict[str, Any]) -> dict[str, Any]:
    """Returns what the platform's word on a job changes in its row."""
    if not job.state.ended and row["state"] in _ENDED:
        return {}  # asked before the row was written
    seconds = row["seconds"]
    if job.state.ended and job.started_at and job.stopped_at:
        seconds = max(0.0, (job.stopped_at - job.started_at).total_seconds()) or seconds
    cost = job.cost_usd or row["cost_usd"] or seconds * row["usd_per_hour"] / 3600
    agrees = abs(cost - row["cost_usd"]) < 1e-6 and job.cost_usd > 0
    ended_at = job.stopped_at if job.state.ended else None
    age = dt.datetime.now(dt.UTC) - ended_at if ended_at else dt.timedelta(0)
    settled = agrees and age > dt.timedelta(minutes=_SETTLED_AFTER_MINUTES)
    state = job.state.value if job.state.ended else row["state"]
    return {"cost_usd": round(cost, 6), "seconds": round(seconds, 3), "state": state, "settled": settled}


def _timed(frame: pd.DataFrame) -> pd.Series[bool]:
    """Returns which rows are of jobs that did their work in a time that is known."""
    return (frame["state"] == "completed") & (frame["seconds"] > 0)


def summary(frame: pd.DataFrame, by: str) -> list[dict[str, Any]]:
    """Returns jobs, hours and USD for each value of a column, the dearest first."""
    if frame.empty:
        return []
    grouped = frame.groupby(by).agg(jobs=("job_id", "count"), seconds=("seconds", "sum"), usd=("cost_usd", "sum"))
    rows = grouped.sort_values("usd", ascending=False).reset_index().to_dict("records")
    return [
        {by: row[by], "jobs": int(row["jobs"]), "hours": round(row["seconds"] / 3600, 4), "usd": round(row["usd"], 4)}
        for row in rows
    ]


def advice(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns, for each node that has run on several machines, which of them did it for the least money.

    Throughput is measured, not assumed: a machine that costs twice as much may be done in a third of the time.
    """
    done = frame[_timed(frame)]
    rows = []
    for title, runs in done.groupby("title"):
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


def write_page(path: Path, frame: pd.DataFrame, notes: Sequence[str] = ()) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: Where to.
        frame: The table of costs.
        notes: Lines below the total, such as the cost of a point of score.
    """
    total = float(frame["cost_usd"].sum())
    parts = [f"<p><strong>{total:.2f} USD</strong> for {len(frame)} job{'' if len(frame) == 1 else 's'}.</p>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    for heading, column in _SECTIONS:
        parts.append(f"<h2>{heading}</h2>" + _table(summary(frame, column), bar="usd"))
    parts.append("<h2>Which machine</h2>" + _table(advice(frame)))
    body = "\n".join(parts)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Costs of rented machines</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_LOADS_NOTHING}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>Costs of rented machines</h1>\n{body}</body></html>\n"
    )
    write_whole(path, page)


def _table(rows: list[dict[str, Any]], bar: str = "") -> str:
    if not rows:
        return "<p>Nothing yet.</p>"
    most = max((float(row[bar]) for row in rows), default=0.0) if bar else 0.0
    head = "".join(f"<th{_kind(rows[0][name])}>{html.escape(name.replace('_', ' '))}</th>" for name in rows[0])
    lines = []
    for row in rows:
        cells = "".join(f"<td{_kind(value)}>{html.escape(str(value))}</td>" for value in row.values())
        if bar:
            width = 100 * float(row[bar]) / most if most else 0.0
            cells += f'<td style="width:25%"><span class="bar" style="width:{width:.1f}%"></span></td>'
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}{'<th></th>' if bar else ''}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _kind(value: Any) -> str:
    return ' class="number"' if isinstance(value, int | float) else ""
