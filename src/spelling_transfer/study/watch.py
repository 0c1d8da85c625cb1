"""What is seen of a study: snapshots from its records, those who watch them, the table in a terminal, the result."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.interfaces import (
    COUNTED_STATES,
    FINISHED_STATES,
    Evaluation,
    StudyObserver,
    StudyResult,
    StudySnapshot,
    TrialSnapshot,
    evaluation_of,
)
from spelling_transfer.study.monitor import repeating
from spelling_transfer.study.plan import StudyPlan
from spelling_transfer.study.records import BASE_NUMBER, Records, TrialRow
from spelling_transfer.study.storage import NETWORK, PATIENCE_SECONDS, StorageError, is_away

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from spelling_transfer.study.samplers import History

_LOGGER = logging.getLogger(__name__)
_EVERY_SECONDS = 1.0
_SCORES = (*SCORED_TASKS, "transfer_score", "selection_score")
_COLOURS = {"running": "cyan", "complete": "green", "stopped": "green", "pruned": "yellow", "failed": "red"}
_LINES_BESIDE_ROWS = 6
_MAX_ROWS = 30


class Snapshots:
    """Takes snapshots; of trials that have not changed since the last one nothing is read again.

    Args:
        plan: The study.
        records: Its records.
    """

    def __init__(self, plan: StudyPlan, records: Records) -> None:
        self._plan = plan
        self.records = records
        self._versions: dict[int, tuple[Any, ...]] = {}
        self._trials: dict[int, TrialSnapshot] = {}
        self._base: dict[str, float] = {}

    def take(self) -> StudySnapshot:
        """Returns where the study stands."""
        rows = self.records.rows()
        changed = [row for row in rows if self._versions.get(row.number) != _version(row)]
        numbers = [row.number for row in changed]
        curves = self.records.steps("evaluation", numbers) if numbers else {}
        metrics = self.records.steps("metrics", numbers) if numbers else {}
        for row in changed:
            self._versions[row.number] = _version(row)
            if row.number == BASE_NUMBER:
                self._base = {name: each[name] for each in curves.get(row.number, ()) for name in _SCORES}
            else:
                self._trials[row.number] = self._trial(row, curves.get(row.number, ()), metrics.get(row.number, ()))
        return StudySnapshot(
            name=self._plan.settings.name,
            settings=self._plan.settings.model_dump(mode="json"),
            n_trials=self._plan.n_trials,
            trials=tuple(self._trials[number] for number in sorted(self._trials)),
            base=self._base,
        )

    def _trial(
        self, row: TrialRow, curve: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]
    ) -> TrialSnapshot:
        config = self._plan.config(row.number, row.proposal.choices)
        return TrialSnapshot(
            number=row.number,
            state=row.state,  # type: ignore[arg-type]
            seed=config.training.seed,
            choices=row.proposal.choices,
            config=config.model_dump(mode="json"),
            step=row.step,
            max_steps=config.training.max_steps,
            curve=[{name: each[name] for name in ("step", *_SCORES)} for each in curve],
            metrics=list(metrics),
            seconds=row.seconds,
            attempts=row.attempt,
            error=row.error,
            adapter=str(self._plan.folder / row.adapter) if row.adapter else "",
        )


def _version(row: TrialRow) -> tuple[Any, ...]:
    return row.state, row.attempt, row.heartbeat, row.step, row.seconds


def study_result(plan: StudyPlan, records: Records) -> StudyResult:
    """Returns the tables of a study, by trial number."""
    evaluations = records.steps("evaluation")
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    seconds: list[dict[str, Any]] = []
    base = Evaluation(0, 0.0, 0.0, 0.0)
    for row in records.rows():
        scored = evaluations.get(row.number, [])
        if row.number == BASE_NUMBER:
            base = evaluation_of(scored[-1]) if scored else base
            continue
        # The adapter of a trial is the one at its end; a better evaluation in the middle is not what it leaves.
        final = scored[-1] if scored and row.state != "failed" else {}
        rows.append(
            {
                "number": row.number,
                "state": row.state,
                **row.proposal.choices,
                "seed": plan.settings.trial_seed(row.number),
                "steps": row.step,
                "loss": row.loss,
                **{name: final.get(name, float("nan")) for name in _SCORES},
            }
        )
        curves += [
            {"number": row.number, **{name: value for name, value in each.items() if name != "verdict"}}
            for each in scored
        ]
        seconds.append({"number": row.number, "seconds": row.seconds})
    return StudyResult(pd.DataFrame(rows), pd.DataFrame(curves), pd.DataFrame(seconds), base)


class Watch:
    """Calls the observers; no trial waits for them.

    Args:
        snapshots: Where the study stands.
        observers: Who is told.
        dashboard: Storage in which Optuna's tables follow, for its dashboard; ``None`` for none.
    """

    def __init__(self, snapshots: Snapshots, observers: Sequence[StudyObserver], dashboard: sa.URL | None) -> None:
        self._snapshots = snapshots
        self._observers = observers
        self._dashboard = dashboard
        self._mirror: History | None = None
        self._warned: set[str] = set()
        self._is_away = False
        self._is_closed = False
        self._lock = threading.Lock()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Calls them about every second inside the block, and once at its end."""
        if self._dashboard is not None:
            import optuna  # noqa: F401  (of two threads that import it at once, one may find half of it)
        try:
            with repeating(self._update, _EVERY_SECONDS):
                yield
        finally:
            try:
                self._update()
            finally:
                self._is_closed = True
                self._tell(lambda observer: observer.close())

    def _update(self) -> None:
        with self._lock:  # after an interrupt the thread may still be at its last one
            self._update_alone()

    def _update_alone(self) -> None:
        try:
            snapshot = self._snapshots.take()
        except StorageError as error:
            away = is_away(error.__cause__)  # else the trials end with this very error
            if away and not self._is_away:
                _LOGGER.warning("%s Trials wait for it, %d minutes at most.", error, PATIENCE_SECONDS / 60)
            self._is_away = away
            return
        self._is_away = False
        if self._is_closed:
            return
        self._tell(lambda observer: observer.update(snapshot))
        if self._dashboard is not None:
            from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

            try:
                self._follow(self._dashboard)
            except (StorageInternalError, UpdateFinishedTrialError):
                return  # it is away, or another run of this study tells it the same
            except Exception as error:  # noqa: BLE001  (the records are the truth; this is a view of them)
                self._warn("dashboard", error)

    def _tell(self, call: Callable[[StudyObserver], None]) -> None:
        for observer in self._observers:
            try:
                call(observer)
            except Exception as error:  # noqa: BLE001  (an observer never stops a study)
                self._warn(type(observer).__name__, error)

    def _follow(self, dashboard: sa.URL) -> None:
        """Brings Optuna's own tables up to date, as ``optuna-dashboard`` reads them."""
        if self._mirror is None:
            from optuna.storages import RDBStorage

            from spelling_transfer.study.samplers import History

            on_network = dashboard.get_backend_name() != "sqlite"
            options: dict[str, Any] = {"connect_args": NETWORK, "pool_pre_ping": True} if on_network else {}
            storage = RDBStorage(dashboard.render_as_string(hide_password=False), engine_kwargs=options)
            self._mirror = History(self._snapshots.records, storage=storage)
        self._mirror.follow()

    def _warn(self, name: str, error: Exception) -> None:
        if name not in self._warned:
            self._warned.add(name)
            _LOGGER.warning("%s: %s: %s", name, type(error).__name__, str(error).splitlines()[0] if str(error) else "")


class LiveView:
    """Shows where a study stands.

    Args:
        console: Where to; standard error by default, as results go to standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._shown: dict[int, tuple[str, int]] = {}

    def update(self, study: StudySnapshot) -> None:
        """Draws the table anew, or prints a line for each trial that began or ended."""
        if not self._console.is_terminal:
            for line in self._news(study):
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        from rich.live import Live

        rows = min(_MAX_ROWS, max(3, self._console.height - _LINES_BESIDE_ROWS))
        table = draw_table(study, rows)
        if self._live is None:
            self._live = Live(table, console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(table, refresh=True)

    def close(self) -> None:
        """Takes the table away; the results say what was found."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _news(self, study: StudySnapshot) -> list[str]:
        lines = []
        for trial in study.trials:
            now = (trial.state, trial.attempts)
            before = self._shown.get(trial.number)
            if now == before or trial.state == "waiting":
                continue
            self._shown[trial.number] = now
            lines.append(describe(trial, study, again=before is not None))
        return lines


def describe(trial: TrialSnapshot, study: StudySnapshot, *, again: bool = False) -> str:
    """Returns a trial's last news as a line."""
    name = f"{study.name}: trial {trial.number}"
    if trial.state == "running":
        chosen = ", ".join(f"{key} {_short(value)}" for key, value in trial.choices.items())
        begun = f"{name} {'resumes' if again or trial.step else 'begins'} at step {trial.step}"
        return f"{begun}: {chosen}" if chosen else begun  # a single configuration varies nothing
    if trial.state == "failed":
        return f"{name} failed: {trial.error}"
    if not trial.curve:
        return f"{name} {trial.state}"
    last = trial.curve[-1]
    scores = ", ".join(f"{task} {last[task]:.1%}" for task in ("spelling", "position", "count"))
    ending = f"{scores}, transfer score {last['transfer_score']:.1%}, {_time(trial.seconds)}"
    return f"{name} {trial.state} at step {trial.step}: {ending}"


def draw_table(study: StudySnapshot, rows: int) -> Table:
    """Returns the table of a study: what runs, then the best and the latest.

    Args:
        study: Where it stands.
        rows: Trials to show at most.
    """
    from rich.table import Table

    table = Table(title=headline(study), title_justify="left", box=None, pad_edge=False)
    for name in ("trial", "state", "step", "spelling", "position", "count", "transfer score", "left"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    if study.base:
        table.add_row("base", "", "", *_scores(study.base), "", style="dim")
    shown = _chosen(study.trials, rows)
    best = _best(study.trials)
    for trial in shown:
        scores = _scores(trial.curve[-1]) if trial.curve else ["", "", "", ""]
        state = f"[{_COLOURS.get(trial.state, 'dim')}]{trial.state}[/]"
        mark = "*" if trial is best else ""
        left = _time(seconds_left(trial)) if trial.state == "running" and trial.step else ""
        table.add_row(f"{mark}{trial.number}", state, f"{trial.step}/{trial.max_steps}", *scores, left)
    if hidden := len(study.trials) - len(shown):
        table.caption = f"{hidden} more trials; * is the best so far"
    return table


def headline(study: StudySnapshot) -> str:
    """Returns how far a study is, its best trial, and how long is left."""
    ended = sum(trial.state in FINISHED_STATES for trial in study.trials)
    parts = [f"{study.name}: {ended} of {study.n_trials} trials"]
    best = _best(study.trials)
    if best is not None:
        ranked_by = study.settings.get("select_by", "score")
        parts.append(f"best {ranked_by} {best.curve[-1]['selection_score']:.1%} (trial {best.number})")
    left = study_seconds_left(study)
    if left is not None and ended < study.n_trials:
        parts.append(f"about {_time(left)} left")
    return ", ".join(parts)


def seconds_left(trial: TrialSnapshot) -> float:
    """Returns how long a trial that has begun will take yet if it takes all its steps."""
    return trial.seconds / max(1, trial.step) * (trial.max_steps - trial.step)


def study_seconds_left(study: StudySnapshot) -> float | None:
    """Returns how long a study will take yet, as long as its trials took; ``None`` while none has begun."""
    begun = [trial for trial in study.trials if trial.step and trial.state != "failed"]
    if not begun:
        return None
    # What ended early is as likely among the trials to come as among those there were.
    open_ones = [trial for trial in begun if trial.state not in FINISHED_STATES]
    left = sum(map(seconds_left, open_ones))
    usual = (sum(trial.seconds for trial in begun) + left) / len(begun)
    untouched = study.n_trials - len(open_ones) - sum(trial.state in FINISHED_STATES for trial in study.trials)
    return (left + usual * untouched) / max(1, sum(trial.state == "running" for trial in study.trials))


def _chosen(trials: Sequence[TrialSnapshot], rows: int) -> list[TrialSnapshot]:
    running = [trial for trial in trials if trial.state in ("running", "waiting")]
    ended = [trial for trial in trials if trial.state in FINISHED_STATES]
    scored = [trial for trial in ended if trial.curve and trial.state != "pruned"]
    scored.sort(key=lambda trial: -trial.curve[-1]["selection_score"])
    # The best three stay in sight; the rest of the room is for the latest.
    order = [*running, *scored[:3], *reversed(ended)]
    unique = list({trial.number: trial for trial in order}.values())[:rows]
    return sorted(unique, key=lambda trial: trial.number)


def _best(trials: Sequence[TrialSnapshot]) -> TrialSnapshot | None:
    scored = [trial for trial in trials if trial.curve and trial.state in COUNTED_STATES]
    return max(scored, key=lambda trial: trial.curve[-1]["selection_score"], default=None)


def _scores(scores: Any) -> list[str]:
    return [*(f"{scores[task]:.1%}" for task in ("spelling", "position", "count")), f"{scores['transfer_score']:.1%}"]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
