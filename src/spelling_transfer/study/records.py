"""The truth about a study: one row a trial, claimed, beaten and finished by conditional updates.

A trial's row carries the number of its attempt. Whoever takes the trial raises that number, and every later write of an
attempt holds only while the number is still its own. So a worker that was taken for dead and comes back writes nothing,
a trial has one result, and there are never more rows than trials planned, whatever is killed and when.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError

from spelling_transfer.study.storage import in_transaction, now

RecordKind = Literal["evaluation", "metrics"]

BASE_NUMBER = -1
"""The row of the base model's own scores; not a trial."""

FINISHED = ("complete", "stopped", "pruned", "failed")
HEARTBEATS_TO_STALE = 2
MAX_FRUITLESS_ATTEMPTS = 5
"""Attempts in a row that ended without a word and no further than the one before: the trial kills its workers."""

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
    "spelling_transfer_trials",
    _TABLES,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("proposal", sa.Text, nullable=False),
    sa.Column("attrs", sa.Text, nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("fruitless", sa.Integer, nullable=False),
    sa.Column("begun_at_step", sa.Integer, nullable=False),
    sa.Column("beat", sa.Float, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("loss", sa.Float),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("adapter", sa.Text, nullable=False),
)
_RECORDS = sa.Table(
    "spelling_transfer_records",
    _TABLES,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.Text, nullable=False),
)
VERSION = 1


class ClaimLostError(Exception):
    """The trial was given to another worker; this one must let go of it."""


@dataclass(frozen=True)
class Proposal:
    """What a trial will try.

    Attributes:
        choices: Values by dotted setting name.
        distributions: Optuna's distributions by parameter name, as JSON; empty where no sampler looks at them.
        params: Optuna's parameters by name.
        attrs: What the sampler noted on the trial.
        study_attrs: What it noted on the study, for the trials after this one.
        notes: Optuna's user attributes of the trial.
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
    fruitless: int
    begun_at_step: int
    beat: float
    step: int
    seconds: float
    loss: float | None
    error: str
    adapter: str

    @property
    def finished(self) -> bool:
        """Whether it will not run again."""
        return self.state in FINISHED


class Records:
    """Reads and writes the rows of one study.

    Args:
        engine: Its storage.
        study: Its name.
        patience_seconds: How long to wait for a database that has gone away.
    """

    def __init__(self, engine: sa.Engine, study: str, *, patience_seconds: float = 300.0) -> None:
        self.engine = engine
        self.study = study
        self.patience_seconds = patience_seconds

    def _run(self, work: Callable[[sa.Connection], Any]) -> Any:
        return in_transaction(self.engine, work, patience_seconds=self.patience_seconds)

    def find(self) -> tuple[str, int] | None:
        """Returns the study's identity and the version of its tables; ``None`` where there is no such study."""

        def work(connection: sa.Connection) -> tuple[str, int] | None:
            if not sa.inspect(connection).has_table(_STUDIES.name):
                return None
            select = sa.select(_STUDIES.c.identity, _STUDIES.c.version).where(_STUDIES.c.name == self.study)
            row = connection.execute(select).first()
            return None if row is None else (str(row.identity), int(row.version))

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
                connection.execute(sa.insert(_TRIALS).values(**self._new_row(BASE_NUMBER, Proposal({}), "", 0.0)))

        try:
            self._run(work)
        except (IntegrityError, ProgrammingError):  # another process made it at the same moment
            self._run(work)

    def trials(self) -> list[TrialRow]:
        """Returns all rows by number, the base model's among them."""
        select = sa.select(_TRIALS).where(_TRIALS.c.study == self.study).order_by(_TRIALS.c.number)
        return self._run(lambda connection: [_row(found) for found in connection.execute(select)])  # type: ignore[no-any-return]

    def records(self, kind: RecordKind, numbers: Collection[int] | None = None) -> dict[int, list[dict[str, Any]]]:
        """Returns the rows of one kind by trial number, each in order of steps; of some trials or of all."""
        select = sa.select(_RECORDS).where(_RECORDS.c.study == self.study, _RECORDS.c.kind == kind)
        if numbers is not None:
            select = select.where(_RECORDS.c.number.in_(sorted(numbers)))
        found: dict[int, list[dict[str, Any]]] = {}
        for row in self._run(lambda c: c.execute(select.order_by(_RECORDS.c.number, _RECORDS.c.step)).all()):
            found.setdefault(row.number, []).append({"step": row.step, **json.loads(row.data)})
        return found

    def claim(
        self,
        owner: str,
        n_trials: int,
        propose: Callable[[int], Proposal | None],
        *,
        is_dead: Callable[[TrialRow, float], bool],
    ) -> TrialRow | None:
        """Takes the next trial: one that was let go or lost its worker, else a new one.

        Args:
            owner: Who takes it; unique to this call, so that a repeated one is known.
            n_trials: Trials planned.
            propose: What the trial of a number is to try, or ``None`` where it finds the number taken; called only
                when no earlier trial is free.
            is_dead: Whether a running trial's worker is gone, given its row and the storage's time.

        Returns:
            The row as claimed, or ``None`` where no trial is left to take now.
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
                self._run(lambda c, number=known, new=proposal: self._insert(c, number, new, owner))  # type: ignore[misc]
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
            fruitless = row.fruitless + 1 if row.state == "running" and row.step <= row.begun_at_step else 0
            values: dict[str, Any] = {"beat": time, "attempt": row.attempt + 1, "owner": owner, "fruitless": fruitless}
            if fruitless >= MAX_FRUITLESS_ATTEMPTS:
                values |= {"state": "failed", "error": _KILLS.format(fruitless)}
            else:
                values |= {"state": "running", "begun_at_step": row.step}
            taken = connection.execute(
                sa.update(_TRIALS)
                .where(self._is(row.number), _TRIALS.c.attempt == row.attempt, _TRIALS.c.state == row.state)
                .where(_TRIALS.c.beat == row.beat)  # a heartbeat in between says that its worker lives
                .values(**values)
            )
            if taken.rowcount == 1 and values["state"] == "running":
                return replace(row, **values)
        return None

    def _insert(self, connection: sa.Connection, number: int, proposal: Proposal, owner: str) -> None:
        # As waiting: it is then claimed like any other, and a worker that dies here leaves a trial to be taken.
        connection.execute(sa.insert(_TRIALS).values(**self._new_row(number, proposal, owner="", time=now(connection))))

    def _count(self, connection: sa.Connection) -> int:
        select = sa.select(sa.func.count()).where(_TRIALS.c.study == self.study, _TRIALS.c.number >= 0)
        return int(connection.execute(select).scalar_one())

    def _new_row(self, number: int, proposal: Proposal, owner: str, time: float) -> dict[str, Any]:
        return {
            "study": self.study,
            "number": number,
            "state": "waiting",
            "proposal": json.dumps(vars(proposal)),
            "attrs": json.dumps(proposal.attrs),
            "owner": owner,
            "attempt": 0,
            "fruitless": 0,
            "begun_at_step": 0,
            "beat": time,
            "step": 0,
            "seconds": 0.0,
            "error": "",
            "adapter": "",
        }

    def write(
        self,
        row: TrialRow,
        *,
        records: Sequence[tuple[RecordKind, Mapping[str, Any]]] = (),
        wait: bool = True,
        **values: Any,
    ) -> None:
        """Writes what an attempt knows, all of it or nothing, and says that its worker lives.

        Args:
            row: The claimed row.
            records: Rows to add, each with its ``step``; one that is there already is replaced.
            wait: Whether to wait for a database that is away; a heartbeat does not.
            values: Columns to set.

        Raises:
            ClaimLostError: The trial belongs to another attempt by now.
        """
        if "attrs" in values:
            values["attrs"] = json.dumps(values["attrs"])

        def work(connection: sa.Connection) -> None:
            changed = connection.execute(
                sa.update(_TRIALS)
                .where(self._is(row.number), _TRIALS.c.attempt == row.attempt, _TRIALS.c.owner == row.owner)
                # A finished state is written once; written again by the same attempt, it is the same.
                .where(sa.or_(_TRIALS.c.state == "running", _TRIALS.c.state == values.get("state", "running")))
                .values(beat=now(connection), **values)
            )
            if changed.rowcount != 1:
                raise ClaimLostError(f"trial {row.number}, attempt {row.attempt}")
            for kind, data in records:
                self._upsert(connection, row.number, kind, data)

        in_transaction(self.engine, work, patience_seconds=self.patience_seconds if wait else 0.0)

    def _upsert(self, connection: sa.Connection, number: int, kind: RecordKind, data: Mapping[str, Any]) -> None:
        key = {"study": self.study, "number": number, "kind": kind, "step": int(data["step"])}
        where = [_RECORDS.c[name] == value for name, value in key.items()]
        connection.execute(sa.delete(_RECORDS).where(*where))
        written = json.dumps({name: value for name, value in data.items() if name != "step"})
        connection.execute(sa.insert(_RECORDS).values(**key, data=written))

    def release(self, owner_prefix: str) -> int:
        """Lets go of the running trials of a worker that has ended, so that they can be taken at once.

        The attempt's progress is kept; what counts as fruitless is decided when the trial is taken.

        Args:
            owner_prefix: How the owners of its claims begin.

        Returns:
            Number of trials let go.
        """
        return int(
            self._run(
                lambda connection: (
                    connection.execute(
                        sa.update(_TRIALS)
                        .where(_TRIALS.c.study == self.study, _TRIALS.c.state == "running")
                        .where(_TRIALS.c.owner.startswith(owner_prefix, autoescape=True))
                        .values(beat=0.0)
                    ).rowcount
                )
            )
        )

    def _is(self, number: int) -> sa.ColumnElement[bool]:
        return sa.and_(_TRIALS.c.study == self.study, _TRIALS.c.number == number)


_KILLS = (
    "its worker ended without a word {} times without getting further: most likely the memory did not suffice. Lower "
    "training.batch_size or the number of workers."
)


def _row(found: Any) -> TrialRow:
    values = dict(found._mapping)
    values.pop("study")
    proposal = Proposal(**json.loads(values.pop("proposal")))
    return TrialRow(proposal=proposal, attrs=json.loads(values.pop("attrs")), **values)
