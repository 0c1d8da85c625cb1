"""A study as it runs: a table in a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spelling_transfer.study.observer import StudySnapshot, TrialSnapshot

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_ENDED = ("complete", "stopped", "pruned", "failed")
_COLOURS = {"running": "cyan", "complete": "green", "stopped": "green", "pruned": "yellow", "failed": "red"}
_LINES_BESIDE_ROWS = 6
_MAX_ROWS = 30


class LiveView:
    """Shows where a study stands.

    Args:
        console: Where to; standard error by default, as results go to standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._told: dict[int, tuple[str, int]] = {}

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
            before = self._told.get(trial.number)
            if now == before or trial.state == "waiting":
                continue
            self._told[trial.number] = now
            lines.append(describe(trial, study, again=before is not None))
        return lines


def describe(trial: TrialSnapshot, study: StudySnapshot, *, again: bool = False) -> str:
    """Returns a trial's last news as a line."""
    name = f"{study.name}: trial {trial.number}"
    if trial.state == "running":
        chosen = ", ".join(f"{key} {_short(value)}" for key, value in trial.choices.items())
        return f"{name} {'goes on' if again or trial.step else 'begins'} at step {trial.step}: {chosen}"
    if trial.state == "failed":
        return f"{name} failed: {trial.error}"
    if not trial.curve:
        return f"{name} {trial.state}"
    last = trial.curve[-1]
    scores = ", ".join(f"{task} {last[task]:.1%}" for task in ("spelling", "position", "count"))
    ending = f"{scores}, score {last['transfer_score']:.3f}, {_time(trial.seconds)}"
    return f"{name} {trial.state} at step {trial.step}: {ending}"


def draw_table(study: StudySnapshot, rows: int) -> Table:
    """Returns the table of a study: what runs, then the best and the latest.

    Args:
        study: Where it stands.
        rows: Trials to show at most.
    """
    from rich.table import Table

    table = Table(title=headline(study), title_justify="left", box=None, pad_edge=False)
    for name in ("trial", "state", "step", "spelling", "position", "count", "score", "left"):
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
    """Returns how far a study is, its best trial, and how long it will take yet."""
    ended = sum(trial.state in _ENDED for trial in study.trials)
    parts = [f"{study.name}: {ended} of {study.n_trials} trials"]
    best = _best(study.trials)
    if best is not None:
        parts.append(f"best {best.curve[-1]['transfer_score']:.3f} (trial {best.number})")
    left = study_seconds_left(study)
    if left is not None and ended < study.n_trials:
        parts.append(f"about {_time(left)} left")
    return ", ".join(parts)


def seconds_left(trial: TrialSnapshot) -> float:
    """Returns how long a running trial will take yet if it takes all its steps."""
    return trial.seconds / max(1, trial.step) * (trial.max_steps - trial.step)


def study_seconds_left(study: StudySnapshot) -> float | None:
    """Returns how long a study will take yet, as long as its trials took; ``None`` while none has got on."""
    begun = [trial for trial in study.trials if trial.step and trial.state != "failed"]
    if not begun:
        return None
    # What ended early is as likely among the trials to come as among those there were.
    usual = sum(trial.seconds + (seconds_left(trial) if trial.state == "running" else 0.0) for trial in begun) / len(
        begun
    )
    running = [trial for trial in study.trials if trial.state == "running"]
    work = sum(seconds_left(trial) for trial in running if trial.step) + usual * (study.n_trials - len(study.trials))
    return work / max(1, len(running))


def _chosen(trials: Sequence[TrialSnapshot], rows: int) -> list[TrialSnapshot]:
    running = [trial for trial in trials if trial.state in ("running", "waiting")]
    ended = [trial for trial in trials if trial.state in _ENDED]
    scored = sorted((t for t in ended if t.curve and t.state != "pruned"), key=lambda t: -t.curve[-1]["transfer_score"])
    # The best three stay in sight; the rest of the room is for the latest.
    order = [*running, *scored[:3], *reversed(ended)]
    unique = list({trial.number: trial for trial in order}.values())[:rows]
    return sorted(unique, key=lambda trial: trial.number)


def _best(trials: Sequence[TrialSnapshot]) -> TrialSnapshot | None:
    scored = [trial for trial in trials if trial.curve and trial.state in ("complete", "stopped")]
    return max(scored, key=lambda trial: trial.curve[-1]["transfer_score"], default=None)


def _scores(scores: Any) -> list[str]:
    return [*(f"{scores[task]:.1%}" for task in ("spelling", "position", "count")), f"{scores['transfer_score']:.3f}"]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
