"""What a user sees of a study while it runs."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from spelling_transfer.study import watch
from spelling_transfer.study.interfaces import StudySnapshot, TrialSnapshot
from spelling_transfer.study.storage import StorageError, storage_url
from spelling_transfer.study.watch import (
    LiveView,
    Watch,
    describe,
    draw_table,
    headline,
    seconds_left,
    study_seconds_left,
)

SCORES = {"spelling": 0.41, "position": 0.275, "count": 0.3, "transfer_score": 0.345, "selection_score": 0.41}


def trial(number: int, state: Any, *, step: int = 0, score: float | None = None, **changes: Any) -> TrialSnapshot:
    curve = [] if score is None else [{"step": step, **SCORES, "transfer_score": score, "selection_score": score}]
    return TrialSnapshot(
        number=number,
        state=state,
        seed=number,
        choices={"lora.r": 8, "training.learning_rate": 0.00123456},
        config={},
        step=step,
        max_steps=60,
        curve=curve,
        **changes,
    )


STUDY = StudySnapshot(
    name="first",
    settings={"select_by": "spelling"},
    n_trials=6,
    trials=[
        trial(0, "complete", step=60, score=0.345, seconds=30.0),
        trial(1, "pruned", step=20, score=0.9, seconds=10.0),
        trial(2, "failed", step=3, error="The loss is nan", seconds=2.0),
        trial(3, "running", step=15, score=0.2, seconds=10.0),
        trial(4, "waiting"),
    ],
    base=SCORES,
)


def text(renderable: Any, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_table_shows_state_steps_scores_and_the_time_left() -> None:
    lines = text(draw_table(STUDY, 10)).splitlines()
    # A pruned trial is not the best, however high it stood.
    assert lines[0].startswith("first: 3 of 6 trials, best spelling 34.5% (trial 0), about")
    assert lines[1].split() == ["trial", "state", "step", "spelling", "position", "count", "transfer", "score", "left"]
    assert lines[2].split() == ["base", "41.0%", "27.5%", "30.0%", "34.5%"]
    assert lines[3].split() == ["*0", "complete", "60/60", "41.0%", "27.5%", "30.0%", "34.5%"]
    assert lines[6].split() == ["3", "running", "15/60", "41.0%", "27.5%", "30.0%", "20.0%", "30", "s"]
    assert lines[7].split() == ["4", "waiting", "0/60"]


def test_a_long_study_shows_what_runs_the_best_and_the_latest() -> None:
    many = [trial(i, "complete", step=60, score=0.5 - abs(i - 7) / 100, seconds=1.0) for i in range(40)]
    study = replace(STUDY, n_trials=50, trials=[*many, trial(40, "running", step=1, seconds=1.0)])
    shown = [line.split()[0] for line in text(draw_table(study, 8)).splitlines()[3:11]]
    assert shown == ["6", "*7", "8", "36", "37", "38", "39", "40"]
    assert "33 more trials" in text(draw_table(study, 8))


def test_the_time_left_is_that_of_the_steps_left() -> None:
    assert seconds_left(STUDY.trials[3]) == pytest.approx(30.0)
    # Complete 30 s, pruned 10 s, running 40 s in all: a trial takes 80/3 s. Left: 30 s of the running one, and two.
    assert study_seconds_left(STUDY) == pytest.approx(30 + 2 * 80 / 3)
    waiting = trial(3, "waiting", step=15, seconds=10.0)  # of a worker that was stopped: it goes on from there
    stopped = replace(STUDY, trials=[*STUDY.trials[:3], waiting, trial(4, "running")])
    assert study_seconds_left(stopped) == pytest.approx(30 + 2 * 80 / 3)
    assert study_seconds_left(replace(STUDY, trials=[])) is None
    assert headline(replace(STUDY, trials=[])) == "first: 0 of 6 trials"


def test_without_a_terminal_each_beginning_and_end_is_one_line() -> None:
    out = io.StringIO()
    view = LiveView(Console(file=out, width=60))
    for _ in range(3):  # nothing new is nothing said
        view.update(STUDY)
    later = [
        *STUDY.trials[:3],
        replace(STUDY.trials[3], state="stopped", step=30),
        replace(STUDY.trials[4], state="running"),
    ]
    view.update(replace(STUDY, trials=later))
    view.update(replace(STUDY, trials=[*later[:4], replace(later[4], attempts=2, step=7)]))
    view.close()
    lines = out.getvalue().splitlines()
    assert lines == [
        "first: trial 0 complete at step 60: spelling 41.0%, position 27.5%, count 30.0%, transfer score 34.5%, 30 s",
        "first: trial 1 pruned at step 20: spelling 41.0%, position 27.5%, count 30.0%, transfer score 90.0%, 10 s",
        "first: trial 2 failed: The loss is nan",
        "first: trial 3 resumes at step 15: lora.r 8, training.learning_rate 0.00123",
        "first: trial 3 stopped at step 30: spelling 41.0%, position 27.5%, count 30.0%, transfer score 20.0%, 10 s",
        "first: trial 4 begins at step 0: lora.r 8, training.learning_rate 0.00123",
        "first: trial 4 resumes at step 7: lora.r 8, training.learning_rate 0.00123",
    ]


def test_a_single_configuration_has_no_choices_to_name() -> None:
    single = replace(STUDY.trials[4], state="running", choices={})
    assert describe(single, STUDY) == "first: trial 4 begins at step 0"


def test_in_a_terminal_the_table_is_drawn_and_taken_away() -> None:
    out = io.StringIO()
    view = LiveView(Console(file=out, width=100, height=20, force_terminal=True))
    view.update(STUDY)
    assert "3 of 6 trials" in out.getvalue()
    view.close()
    view.close()
    assert out.getvalue().count("\x1b[2K") >= 5  # its lines are erased


def test_what_worker_and_dashboard_need_is_imported_before_there_are_two_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    class Away:
        def take(self) -> StudySnapshot:
            raise StorageError("away")

    @contextmanager
    def note(*_: object) -> Iterator[None]:
        seen.append("optuna" in sys.modules)
        yield

    monkeypatch.delitem(sys.modules, "optuna", raising=False)
    monkeypatch.setattr(watch, "repeating", note)
    with Watch(Away(), [], storage_url(None, Path())).kept():  # type: ignore[arg-type]
        pass
    assert seen == [True]


class Noted:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def update(self, study: StudySnapshot) -> None:
        self.told.append(study.name)

    def close(self) -> None:
        self.told.append("closed")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_observers_are_closed_when_the_last_look_is_interrupted(error: type[BaseException]) -> None:
    class Broken:
        def take(self) -> StudySnapshot:
            raise error

    observer = Noted()
    with pytest.raises(error), Watch(Broken(), [observer], None).kept():  # type: ignore[arg-type]
        pass
    assert observer.told == ["closed"]


def test_two_threads_do_not_look_at_once_and_nothing_is_shown_after_the_end() -> None:
    inside, most = [], []

    class Slow:
        def take(self) -> StudySnapshot:
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()
            return STUDY

    observer = Noted()
    watched = Watch(Slow(), [observer], None)  # type: ignore[arg-type]
    threads = [threading.Thread(target=watched._update) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    with watched.kept():
        pass
    watched._update()
    *shown, last = observer.told
    assert set(shown) == {"first"}
    assert len(shown) >= 4  # more where a second has passed
    assert last == "closed"
