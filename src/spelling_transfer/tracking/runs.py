"""Runs of Weights & Biases: opened with a bound on every wait, written row by row, each row once."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from kedro_lightning import clean_variables
from spelling_transfer.errors import SpellingTransferError, first_line
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.tracking.rows import Columns, Row

NETWORK_SECONDS = 9.0
"""The network is never waited for longer than this at once; wandb adds a part of a second of its own."""
_SLOWEST_BYTES_PER_SECOND = 250_000
"""An upload that is slower than this is given up."""


class TrackingSettings(FrozenModel):
    """Whether a study is logged to Weights & Biases, and where.

    Whatever is chosen, the study's own records are complete: what was not sent is sent by ``kedro tune sync``.
    """

    mode: Literal["auto", "offline", "online", "disabled"] = Field(
        "auto",
        description="auto: online where you are signed in, offline otherwise; offline: files in the project's folder "
        "'wandb', no connection; online: sent while the study runs; disabled: nothing.",
    )
    project: str = Field(
        "llm-spelling-transfer-learning",
        pattern=r"^[^/\\#?%:]+$",
        max_length=128,
        description="Project that the runs belong to.",
    )
    entity: str | None = Field(
        None,
        pattern=r"^[\w.-]+$",
        max_length=128,
        description="User or team that owns the project; your default one if null.",
    )
    log_adapters: bool = Field(True, description="Send the adapter of each finished trial as an artifact, when online.")


class TrackingError(SpellingTransferError):
    """Weights & Biases cannot be reached, or refuses."""


@dataclass(frozen=True)
class Target:
    """Where runs go.

    Attributes:
        settings: Project and entity.
        folder: The study's folder.
        online: Whether they are sent.
        base_url: The server's address; empty where nothing is sent.
    """

    settings: TrackingSettings
    folder: Path
    online: bool
    base_url: str = ""

    @property
    def files(self) -> Path:
        """Where wandb makes its folder ``wandb``: ``WANDB_DIR``, or the project around the study.

        It holds logs and links to a cache of its own, so it must not lie among data that travel.
        """
        from kedro.utils import find_kedro_project

        asked = os.environ.get("WANDB_DIR")
        return Path(asked or find_kedro_project(self.folder.resolve()) or find_kedro_project(Path.cwd()) or Path.cwd())

    @property
    def name(self) -> str:
        """What distinguishes it from other targets, for the ledger."""
        place = f"{self.base_url}/{self.settings.entity or ''}" if self.online else "offline"
        return f"{place}/{self.settings.project}"


def load_wandb() -> Any:
    """Returns the library, silenced: what a user should know of its errors is in ours, its log in its own files.

    Raises:
        TrackingError: One of its settings is not valid.
    """
    # Reports to its makers; the end of a process waits for them.
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    clean_variables("WANDB_API_KEY")
    for name in ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"):
        os.environ.pop(name, None)  # under `wandb agent` all trials would become the agent's one run
    import wandb

    logging.getLogger("wandb").propagate = False
    try:
        wandb.setup(wandb.Settings(silent=True))
    except ValidationError as error:
        first = error.errors()[0]  # without the value, which may be a key
        name = ".".join(map(str, first["loc"]))
        raise TrackingError(f"WANDB_{name.upper()}, or {name} in wandb's own settings: {first['msg']}.") from error
    return wandb


class TrackedRun:
    """One run.

    Args:
        target: Where it goes.
        run_id: Its id; a run of this id that is there already is resumed.
        name: Its readable name.
        group: The study.
        job_type: ``trial`` or ``study``.
        config: Its configuration.
        sweep: The sweep that it belongs to.
        upload_bytes: Size of the files that it will send; its end is given time for them.

    Raises:
        TrackingError: The server cannot be reached in time, or refuses.
    """

    def __init__(
        self,
        target: Target,
        run_id: str,
        name: str,
        group: str,
        job_type: str,
        config: dict[str, Any],
        *,
        sweep: str | None = None,
        upload_bytes: int = 0,
    ) -> None:
        wandb = load_wandb()
        settings = wandb.Settings(
            silent=True,
            console="off",
            # Earlier than the end of a study gives up, so that there is time to write offline what could not be sent.
            init_timeout=NETWORK_SECONDS * 2 / 3,
            finish_timeout=NETWORK_SECONDS + upload_bytes / _SLOWEST_BYTES_PER_SECOND,
            finish_timeout_raises=True,
            x_graphql_timeout_seconds=NETWORK_SECONDS / 3,
            x_graphql_retry_max=1,
            x_graphql_retry_wait_max_seconds=0.5,
            # What is sent is what is logged here: nothing of this machine, its code or its packages.
            host="",
            sweep_id=sweep,
            disable_git=True,
            disable_code=True,
            save_code=False,
            symlink=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        target.files.mkdir(parents=True, exist_ok=True)
        if not target.online:
            # An earlier file of this run holds less than this one will.
            for earlier in target.files.glob(f"wandb/offline-run-*-{run_id}"):
                shutil.rmtree(earlier, ignore_errors=True)
        try:
            self._run = wandb.init(
                project=target.settings.project,
                entity=target.settings.entity,
                group=group,
                job_type=job_type,
                name=name,
                id=run_id,
                config=config,
                dir=str(target.files),
                mode="online" if target.online else "offline",
                resume="allow" if target.online else None,
                reinit="create_new",
                settings=settings,
            )
        except Exception as error:
            place = target.base_url or str(target.files)
            raise TrackingError(f"{place}: the run cannot be opened ({first_line(error)})") from error
        self.project_url: str = self._run.project_url if target.online else ""
        # A run that is resumed has these rows: sending them again would double them.
        self._next_step = int(self._run.starting_step) if target.online else 0

    def log(self, rows: Sequence[Row]) -> None:
        """Adds the rows that it does not have yet."""
        for row in rows:
            if row.step >= self._next_step:
                self._run.log(row.values, step=row.step)
                self._next_step = row.step + 1

    def log_tables(self, step: int, tables: dict[str, Columns], scatters: dict[str, tuple[str, str, str]]) -> None:
        """Adds tables at a step that it has not yet, and scatter plots by name: a table and columns for the axes."""
        if step < self._next_step:
            return
        wandb = load_wandb()
        made = {name: _table(table) for name, table in tables.items()}
        plots = {
            name: wandb.plot.scatter(_table(tables[table]), x, y, title=f"{y} against {x}")
            for name, (table, x, y) in scatters.items()
        }
        self._run.log({**made, **plots}, step=step)
        self._next_step = step + 1

    def log_adapter(self, folder: Path, name: str, metadata: dict[str, Any]) -> None:
        """Sends an adapter as an artifact; the same files again make no second version."""
        wandb = load_wandb()
        known = re.sub(r"[^A-Za-z0-9_.-]", "_", name)  # of the names that a study may have, wandb takes no others
        artifact = wandb.Artifact(known, type="adapter", metadata=metadata)
        # By default wandb keeps a copy of each for good, in a cache that only it reads.
        artifact.add_dir(str(folder), skip_cache=True, policy="immutable")
        self._run.log_artifact(artifact)

    def summarise(self, values: dict[str, Any]) -> None:
        """Sets the summary."""
        self._run.summary.update(values)

    def finish(self, *, failed: bool = False) -> None:
        """Ends the run and waits, for a bounded time, until all of it has arrived.

        Raises:
            TrackingError: It has not arrived in time.
        """
        try:
            self._run.finish(exit_code=1 if failed else 0)
        except Exception as error:
            raise TrackingError(f"the end of run {self._run.id} was not confirmed ({first_line(error)})") from error


def _table(columns: Columns) -> Any:
    return load_wandb().Table(columns=columns.names, data=columns.rows)


def stop_process() -> None:
    """Ends wandb's own process at once, with all it still waits for, so that this process does not wait for it."""
    if "wandb" not in sys.modules:  # it could not be imported
        return
    import psutil
    import wandb

    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.name().startswith("wandb-core"):
                child.kill()
    # The other end of its connection is gone; it would end this process, too.
    with suppress(Exception, SystemExit):
        wandb.teardown()


def find_target(settings: TrackingSettings, folder: Path) -> Target | None:
    """Returns where the runs of a study go by its settings and by who is signed in; ``None`` for nowhere.

    Args:
        settings: The tracking.
        folder: The study's folder.
    """
    mode = asked_mode(settings)
    if mode == "disabled":
        return None
    base_url = server_url()
    online = mode == "online" or (mode == "auto" and is_signed_in(base_url))
    return Target(settings, folder, online, base_url if online else "")


def asked_mode(settings: TrackingSettings) -> str:
    """Returns the mode of the settings; with ``auto``, that of ``WANDB_MODE`` or of ``wandb offline``, if either says.

    Args:
        settings: The tracking.
    """
    if settings.mode != "auto":
        return settings.mode
    asked = os.environ.get("WANDB_MODE", "").lower()
    if asked == "online":  # wandb's own settings say it, too, where nobody has said anything
        return asked
    known = {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}
    return known.get(asked or load_wandb().setup().settings.mode, "auto")


def require_target(settings: TrackingSettings, folder: Path) -> Target:
    """Returns the target of runs that have to be online.

    Raises:
        TrackingError: Nobody is signed in.
    """
    base_url = server_url()
    if not is_signed_in(base_url):
        raise TrackingError(
            f"There is no key for {base_url}. Run 'wandb login', or set WANDB_API_KEY; WANDB_BASE_URL names another "
            "server."
        )
    return Target(settings, folder, online=True, base_url=base_url)


def server_url() -> str:
    """Returns the address of the server that wandb talks to: ``WANDB_BASE_URL``, or what its settings say."""
    return str(load_wandb().setup().settings.base_url)


def is_signed_in(base_url: str) -> bool:
    """Tells whether there is a key for the server, without asking it."""
    # Not among wandb's documented names, as nothing is that looks for a key without asking for one;
    # tests/tracking/test_runs.py names it, too.
    from wandb.sdk.lib import wbauth

    return bool(os.environ.get("WANDB_API_KEY")) or bool(wbauth.read_netrc_auth(host=base_url))
