"""The truth about a study: one row a trial, claimed, kept alive and finished by conditional updates.

A trial's row carries the number of its attempt. Whoever claims the trial raises that number, and every later write of
an attempt holds only while the number is still its own. So a worker that was taken for dead and comes back writes
nothing, a trial has one result, and there are never more rows than trials planned, whatever is killed and when.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from spelling_transfer.study.interfaces import FINISHED_STATES
from spelling_transfer.study.storage import PATIENCE_SECONDS, in_transaction, now

RecordKind = Literal["evaluation", "metrics"]

BASE_NUMBER = -1
"""The row of the base model's own scores; not a trial."""

HEARTBEATS_TO_STALE = 2
MAX_FAILED_ATTEMPTS = 5
"""Attempts in a row that ended without a word and no further than the one before: the trial kills its workers."""

VERSION = 3
"""Of the tables; those of other versions stand beside them under other names."""


class _Json(sa.TypeDecorator[Any]):
    """Plain values as JSON text; unlike the databases' own JSON it holds a loss that is not a number."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, _: sa.Dialect) -> str:
        return json.dumps(value)

    def process_result_value(self, value: Any, _: sa.Dialect) -> Any:
        return json.loads(value)


class _Booleans(sa.TypeDecorator[Any]):
    """A tuple of booleans, one byte each."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, _: sa.Dialect) -> bytes | None:
        return None if value is None else bytes(value)

    def process_result_value(self, value: Any, _: sa.Dialect) -> tuple[bool, ...] | None:
        return None if value is None else tuple(map(bool, value))


_TABLES = sa.MetaData()
_STUDIES = sa.Table(
    "spelling_transfer_studies",
    _TABLES,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)
_TRIALS = sa.Table(
    f"spelling_transfer_trials_v{VERSION}",
    _TABLES,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(20), nullable=False, default="waiting"),
    sa.Column("proposal", _Json, nullable=False),
    sa.Column("attrs", _Json, nullable=False),
    sa.Column("owner", sa.String(200), nullable=False, default=""),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("failed_attempts", sa.Integer, nullable=False, default=0),
    sa.Column("begun_at_step", sa.Integer, nullable=False, default=0),
    sa.Column("heartbeat", sa.Float, nullable=False),
    sa.Column("step", sa.Integer, nullable=False, default=0),
    sa.Column("seconds", sa.Float, nullable=False, default=0.0),
    sa.Column("loss", sa.Float),
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Column("adapter", sa.Text, nullable=False, default=""),
)
_STEPS = sa.Table(
    f"spelling_transfer_steps_v{VERSION}",
    _TABLES,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", _Json, nullable=False),
    sa.Column("correct", _Booleans),
)


class ClaimLostError(Exception):
    """The trial was given to another worker; this one must stop."""


@dataclass(frozen=True)
class Proposal:
    """What a trial will try: values by dotted setting name, and what Optuna has to be shown of them.

    The distributions, by parameter name, are JSON and empty where no sampler looks at them. ``attrs`` is what the
    sampler noted on the trial, ``study_attrs`` on the study for the trials after this one; ``notes`` are user
    attributes.
    """

    choices: Mapping[str, Any]
    distributions: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    study_attrs: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialRow:
    """One trial as it is recorded; see the table's columns."""

    number: int
    state: str
    proposal: Proposal
    attrs: Mapping[str, Any]
    owner: str
    attempt: int
    failed_attempts: int
    begun_at_step: int
    heartbeat: float
    step: int
    seconds: float
    loss: float | None
    error: str
    adapter: str

    @property
    def finished(self) -> bool:
        """Whether it will not run again."""
        return self.state in FINISHED_STATES


def is_finished(rows: Sequence[TrialRow], n_trials: int) -> bool:
    """Whether nothing is left to run of a study with these rows and so many trials planned."""
    return all(row.finished for row in rows) and sum(row.number >= 0 for row in rows) == n_trials


class Records:
    """Reads and writes the rows of one study.

    Args:
        engine: Its storage.
        study: Its name.
        patience_seconds: How long to wait for a database that has gone away.
        stop: Ends that wait once it is set.
    """

    def __init__(
        self,
        engine: sa.Engine,
        study: str,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        stop: threading.Event | None = None,
    ) -> None:
        self.engine = engine
        self.study = study
        self.patience_seconds = patience_seconds
        self.stop = stop

    def _run(self, work: Callable[[sa.Connection], Any], *, wait: bool = True) -> Any:
        patience = self.patience_seconds if wait else 0.0
        return in_transaction(self.engine, work, patience_seconds=patience, stop=self.stop)

    def find(self) -> tuple[str, int] | None:
        """Returns the study's identity and the version of its tables; ``None`` where there is no such study."""

        def work(connection: sa.Connection) -> tuple[str, int] | None:
            if not sa.inspect(connection).has_table(_STUDIES.name):
                return None
            select = sa.select(_STUDIES.c.identity, _STUDIES.c.version).where(_STUDIES.c.name == self.study)
            row = connection.execute(select).first()
            return None if row is None else (str(row.identity), int(row.version))

        return self._run(work)  # type: ignore[no-any-return]

    def names(self) -> list[str]:
        """Returns the names of all studies in the storage."""

        def work(connection: sa.Connection) -> list[str]:
            there = sa.inspect(connection).has_table(_STUDIES.name)
            return list(connection.scalars(sa.select(_STUDIES.c.name))) if there else []

        return self._run(work)  # type: ignore[no-any-return]

    def create(self, identity: str, *, base: bool) -> None:
        """Makes the study's row and tables unless they are there.

        Args:
            identity: What the study is, as JSON.
            base: Whether the base model is to be scored as well.
        """

        def work(connection: sa.Connection) -> None:
            _TABLES.create_all(connection)
            select = sa.select(_STUDIES.c.identity).where(_STUDIES.c.name == self.study)
            if connection.execute(select).first() is not None:
                return
            connection.execute(
                sa.insert(_STUDIES).values(name=self.study, version=VERSION, identity=identity, created=now(connection))
            )
            if base:
                self._insert(connection, BASE_NUMBER, Proposal({}), time=0.0)

        try:
            self._run(work)
        except IntegrityError:  # another process made it at the same moment
            self._run(work)

    def trials(self) -> list[TrialRow]:
        """Returns the trials by number."""
        return [row for row in self.rows() if row.number >= 0]

    def rows(self) -> list[TrialRow]:
        """Returns all rows by number: the base model's and those of the trials."""
        select = sa.select(_TRIALS).where(_TRIALS.c.study == self.study).order_by(_TRIALS.c.number)
        return self._run(lambda connection: [_row(found) for found in connection.execute(select)])  # type: ignore[no-any-return]

    def running(self, is_dead: Callable[[TrialRow, float], bool]) -> list[TrialRow]:
        """Returns the rows that a worker is at now.

        Args:
            is_dead: Whether a running trial's worker is gone, given its row and the storage's time.
        """
        time = self._run(now)
        return [row for row in self.rows() if row.state == "running" and not is_dead(row, time)]

    def steps(self, kind: RecordKind, numbers: Collection[int] | None = None) -> dict[int, list[dict[str, Any]]]:
        """Returns, by number of the trial, the rows that `write` was given, in the order of their steps."""
        select = sa.select(_STEPS).where(_STEPS.c.study == self.study, _STEPS.c.kind == kind)
        if numbers is not None:
            select = select.where(_STEPS.c.number.in_(sorted(numbers)))
        found: dict[int, list[dict[str, Any]]] = {}
        for row in self._run(lambda c: c.execute(select.order_by(_STEPS.c.number, _STEPS.c.step)).all()):
            correct = {} if row.correct is None else {"correct": row.correct}
            found.setdefault(row.number, []).append({"step": row.step, **row.data, **correct})
        return found

    def claim(
        self,
        owner: str,
        n_trials: int,
        propose: Callable[[int], Proposal | None],
        *,
        is_dead: Callable[[TrialRow, float], bool],
    ) -> TrialRow | None:
        """Takes the next trial: one that was released or lost its worker, else a new one; ``None`` if none is left.

        Args:
            owner: Who takes it; unique to this call, so that a repeated one is known.
            n_trials: Trials planned.
            propose: What the trial of a number is to try, or ``None`` where it finds the number taken; called only
                when no earlier trial is free.
            is_dead: Whether a running trial's worker is gone, given its row and the storage's time.
        """
        while True:
            taken = self._run(lambda connection: self._claim_existing(connection, owner, is_dead))
            if taken is not None:
                return taken  # type: ignore[no-any-return]
            known = self._run(self._count)
            if known >= n_trials:
                return None
            proposal = propose(known)
            if proposal is None:
                continue
            try:
                # As waiting: it is then claimed like any other, and a worker that dies here leaves a trial to be taken.
                self._run(lambda c, number=known, new=proposal: self._insert(c, number, new, time=now(c)))  # type: ignore[misc]
            except IntegrityError:
                continue  # another worker took this number; look again

    def _claim_existing(
        self, connection: sa.Connection, owner: str, is_dead: Callable[[TrialRow, float], bool]
    ) -> TrialRow | None:
        select = (
            sa.select(_TRIALS)
            .where(_TRIALS.c.study == self.study, _TRIALS.c.state.in_(("waiting", "running")))
            .order_by(_TRIALS.c.number)
        )
        time = now(connection)
        for row in map(_row, connection.execute(select).all()):
            if row.owner == owner:
                return row  # the answer to an earlier call was lost
            if row.state == "running" and not is_dead(row, time):
                continue
            failed = row.failed_attempts + 1 if row.state == "running" and row.step <= row.begun_at_step else 0
            values: dict[str, Any] = {"heartbeat": time, "attempt": row.attempt + 1, "owner": owner}
            values |= {"failed_attempts": failed}
            if failed >= MAX_FAILED_ATTEMPTS:
                values |= {"state": "failed", "error": _KILLS.format(failed)}
            else:
                values |= {"state": "running", "begun_at_step": row.step}
            taken = connection.execute(
                sa.update(_TRIALS)
                .where(self._is(row.number), _TRIALS.c.attempt == row.attempt, _TRIALS.c.state == row.state)
                .where(_TRIALS.c.heartbeat == row.heartbeat)  # one in between says that its worker lives
                .values(**values)
            )
            if taken.rowcount == 1 and values["state"] == "running":
                return replace(row, **values)
        return None

    def _insert(self, connection: sa.Connection, number: int, proposal: Proposal, time: float) -> None:
        row = {"study": self.study, "number": number, "heartbeat": time}
        connection.execute(sa.insert(_TRIALS).values(**row, proposal=vars(proposal), attrs=proposal.attrs))

    def _count(self, connection: sa.Connection) -> int:
        select = sa.select(sa.func.count()).where(_TRIALS.c.study == self.study, _TRIALS.c.number >= 0)
        return int(connection.execute(select).scalar_one())

    def write(
        self,
        row: TrialRow,
        *,
        steps: Sequence[tuple[RecordKind, Mapping[str, Any]]] = (),
        wait: bool = True,
        **values: Any,
    ) -> None:
        """Writes what an attempt knows, all of it or nothing, and says that its worker lives.

        A step that is there already is replaced. A heartbeat does not ``wait`` for a database that is away.

        Raises:
            ClaimLostError: The trial belongs to another attempt by now.
        """

        def work(connection: sa.Connection) -> None:
            changed = connection.execute(
                sa.update(_TRIALS)
                .where(self._is(row.number), _TRIALS.c.attempt == row.attempt, _TRIALS.c.owner == row.owner)
                # A finished state is written once; written again by the same attempt, it is the same.
                .where(sa.or_(_TRIALS.c.state == "running", _TRIALS.c.state == values.get("state", "running")))
                .values(heartbeat=now(connection), **values)
            )
            if changed.rowcount != 1:
                raise ClaimLostError(f"trial {row.number}, attempt {row.attempt}")
            for kind, given in steps:
                data = dict(given)
                key = {"study": self.study, "number": row.number, "kind": kind, "step": int(data.pop("step"))}
                correct = data.pop("correct", None)
                connection.execute(sa.delete(_STEPS).filter_by(**key))
                connection.execute(sa.insert(_STEPS).values(**key, data=data, correct=correct))

        self._run(work, wait=wait)

    def release(self, owner_prefix: str, *, wait: bool = True) -> None:
        """Releases the running trials of a worker that has ended, so that they can be taken at once.

        The attempt's progress is kept; whether it counts as failed is decided when the trial is taken.

        Args:
            owner_prefix: How the owners of its claims begin.
            wait: Whether to wait for a database that is away.
        """
        update = (
            sa.update(_TRIALS)
            .where(_TRIALS.c.study == self.study, _TRIALS.c.state == "running")
            .where(_TRIALS.c.owner.startswith(owner_prefix, autoescape=True))
            .values(heartbeat=0.0)
        )
        self._run(lambda connection: connection.execute(update), wait=wait)

    def _is(self, number: int) -> sa.ColumnElement[bool]:
        return sa.and_(_TRIALS.c.study == self.study, _TRIALS.c.number == number)


_KILLS = (
    "its worker ended without a word {} times without getting further: most likely the memory did not suffice. Lower "
    "training.batch_size or the number of workers."
)


def _row(found: Any) -> TrialRow:
    values = dict(found._mapping)
    values.pop("study")
    return TrialRow(proposal=Proposal(**values.pop("proposal")), **values)
