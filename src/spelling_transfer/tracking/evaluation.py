"""What Weights & Biases gets of an evaluation: its tables, in a run of its own."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from spelling_transfer.tracking.rows import Columns
from spelling_transfer.tracking.runs import TrackedRun, TrackingSettings, asked_mode, find_target, stop_process

_LOG = logging.getLogger(__name__)


def log_evaluation(
    tables: Mapping[str, pd.DataFrame], tracking: TrackingSettings, *, study: str, folder: Path
) -> str | None:
    """Sends the tables of an evaluation, where somebody is signed in; where ``offline`` was asked for, to files.

    The run's id is a hash of the tables, so the same evaluation is sent once. An error is a warning and ends nothing.

    Args:
        tables: Tables by name.
        tracking: Whether, and where.
        study: The study's name: the run's group.
        folder: The study's folder.

    Returns:
        The run's id; ``None`` where nothing was sent.
    """
    columns = {f"evaluation/{name}": _columns(table) for name, table in tables.items() if len(table)}
    run_id = f"evaluation-{hashlib.sha256(repr(sorted(columns.items())).encode()).hexdigest()[:12]}"
    try:
        target = find_target(tracking, folder)
        if target is None or not columns or not (target.online or asked_mode(tracking) == "offline"):
            return None
        run = TrackedRun(target, run_id, f"{study} (evaluation)", study, "evaluation", {"study": {"name": study}})
        run.log_tables(0, columns, {})
        run.finish()
    except Exception as error:  # noqa: BLE001 - a copy to look at never ends a run
        _LOG.warning("The tables of the evaluation were not sent to Weights & Biases: %s", error)
        stop_process()
        return None
    return run_id


def _columns(table: pd.DataFrame) -> Columns:
    rows: list[list[Any]] = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    return Columns([str(name) for name in table.columns], rows)
