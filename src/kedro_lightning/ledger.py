"""What each job did cost: a table in a file, written whole, read by plans, budgets and the page of costs."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import ComputeError
from .jobs.work import Entry

COLUMNS = [
    "run_id", "title", "key", "attempt", "job_id", "name", "tier", "machine", "usd_per_hour", "state", "seconds",
    "cost_usd", "settled", "recorded_at", "note",
]  # fmt: skip


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
            return pd.DataFrame({name: pd.Series(dtype="object") for name in COLUMNS})
        try:
            frame = pd.read_csv(self.path, keep_default_na=False, dtype={"note": str, "run_id": str})
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
        row: dict[str, Any] = {
            "run_id": run_id, "title": entry.title, "key": entry.key, "attempt": entry.attempt, "job_id": entry.job_id,
            "name": entry.name, "tier": tier, "machine": entry.machine, "usd_per_hour": entry.usd_per_hour,
            "state": entry.state, "seconds": entry.seconds, "cost_usd": entry.cost_usd, "settled": settled,
            "recorded_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "note": entry.note,
        }  # fmt: skip
        with self._locked():
            frame = self.read()
            known = frame[frame["job_id"] == entry.job_id]
            if len(known):  # the day on which a job began decides the month it belongs to
                row["recorded_at"] = known.iloc[0]["recorded_at"]
                row["note"] = row["note"] or known.iloc[0]["note"]
                frame = frame[frame["job_id"] != entry.job_id]
            rows = [*frame.to_dict("records"), row]
            self._write(pd.DataFrame(rows, columns=COLUMNS))

    def spent(self, *, run_id: str | None = None, month: str | None = None) -> float:
        """Returns USD spent in a run, or in a month (``2026-11``), or in all."""
        frame = self.read()
        if run_id is not None:
            frame = frame[frame["run_id"] == run_id]
        if month is not None:
            frame = frame[frame["recorded_at"].astype(str).str.startswith(month)]
        return float(pd.to_numeric(frame["cost_usd"]).sum()) if len(frame) else 0.0

    def minutes(self, title: str, machine: str) -> float | None:
        """Returns the median minutes of past runs of a node on a machine, or ``None`` if there are none."""
        frame = self.read()
        past = frame[(frame["title"] == title) & (frame["machine"] == machine) & (frame["state"] == "completed")]
        return statistics.median(pd.to_numeric(past["seconds"])) / 60 if len(past) else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, frame: pd.DataFrame) -> None:
        partial = self.path.with_suffix(".partial")
        frame.to_csv(partial, index=False)
        partial.replace(self.path)
