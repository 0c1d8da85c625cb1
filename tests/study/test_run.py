"""A study with workers: the same trials as with one, resumed where it was left, refused where it is another one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import light_study
import pandas as pd
import psutil
import pytest
import sqlalchemy as sa
from light_study import LightObjective, LightStudy, light_defaults, light_settings
from sqlalchemy.exc import OperationalError

from spelling_transfer.study.config import StudyConfigError, TrialConfig
from spelling_transfer.study.interfaces import (
    Monitor,
    StudyError,
    StudyInterruptedError,
    StudyResult,
    TrialFailedError,
    TrialOutcome,
)
from spelling_transfer.study.plan import StudyPlan, read_plan, write_plan
from spelling_transfer.study.records import Records
from spelling_transfer.study.run import run_study
from spelling_transfer.study.storage import StorageError, open_engine, recorded_name, storage_url
from spelling_transfer.study.watch import Snapshots


@pytest.fixture(autouse=True)
def _workers_find_the_light_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(light_study.__file__).parent), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def assert_same(first: StudyResult, second: StudyResult) -> None:
    pd.testing.assert_frame_equal(first.trials, second.trials)
    pd.testing.assert_frame_equal(first.curves, second.curves)
    assert first.base == second.base


class Untouchable(LightStudy):
    """A study whose trials must not be run."""

    def open(self) -> LightObjective:
        raise AssertionError("trained")

    def write(self, folder: Path) -> tuple[str, dict[str, object]]:
        raise AssertionError("started workers")


class Meddles(LightObjective):
    """Does something in the middle of a trial; has the identity of the light study, so that it may take part in it."""

    def __init__(self, number: int, step: int, act: Callable[[], None]) -> None:
        super().__init__(LightStudy())
        self.seed, self.step, self.act = number, step, act

    def identity(self) -> dict[str, str]:
        return dict(LightStudy().identity())

    def open(self) -> LightObjective:
        return self

    def write(self, folder: Path) -> tuple[str, dict[str, object]]:
        raise AssertionError("one worker needs no files")

    def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
        if config.training.seed == self.seed:
            progress = monitor.progress

            def meddle(step: int) -> None:
                if step == self.step:
                    self.act()
                progress(step)

            monitor.progress = meddle  # type: ignore[method-assign]
        return super().__call__(config, monitor)


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_two_workers_give_the_trials_of_one_and_a_second_call_returns_at_once(tmp_path: Path, sampler: str) -> None:
    space = {"lora.r": {"values": [4, 8]}, "lora.alpha": {"values": [8, 16, 32]}}
    settings = light_settings(sampler=sampler, n_trials=6, space=space, patience=3)
    one = run_study(settings, light_defaults(), LightStudy())
    several = settings.model_copy(update={"workers": 2})
    assert_same(one, run_study(several, light_defaults(), LightStudy(), folder=tmp_path / "study"))
    assert one.trials["number"].tolist() == list(range(6))
    assert one.trials["seed"].tolist() == list(range(6))
    assert not one.trials.duplicated(["lora.r", "lora.alpha"]).any() or sampler == "random"
    assert_same(one, run_study(several, light_defaults(), Untouchable(), folder=tmp_path / "study"))


@pytest.mark.parametrize(
    ("sampler", "pruner"), [("tpe", "hyperband"), ("cmaes", "median"), ("qmc", "successive_halving")]
)
def test_a_study_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path, sampler: str, pruner: str) -> None:
    space = {"lora.r": {"values": [4, 8, 16, 32]}, "lora.alpha": {"values": [8, 16, 32, 64]}}
    settings = light_settings(
        sampler=sampler, pruner=pruner, n_trials=14, space=space, startup_trials=4, transfer_eval_frequency=10
    )
    undisturbed = run_study(settings, light_defaults(), LightStudy())
    for number, step in ((3, 10), (9, 8)):  # after a verdict and before the end; between two checkpoints
        away = Meddles(number, step, failing(StorageError("the disk was away")))
        with pytest.raises(StorageError, match="was away"):
            run_study(settings, light_defaults(), away, folder=tmp_path / "study")
    assert_same(undisturbed, run_study(settings, light_defaults(), LightStudy(), folder=tmp_path / "study"))
    assert set(undisturbed.trials["state"]) == {"complete", "pruned"}


def test_a_study_can_be_prolonged_and_not_shortened(tmp_path: Path) -> None:
    run_study(light_settings(n_trials=3), light_defaults(), LightStudy(), folder=tmp_path)
    longer = run_study(light_settings(n_trials=5), light_defaults(), LightStudy(), folder=tmp_path)
    assert_same(longer, run_study(light_settings(n_trials=5), light_defaults(), LightStudy()))
    with pytest.raises(StudyConfigError, match=r"study\.n_trials: 2 is less than the 5 trials"):
        run_study(light_settings(n_trials=2), light_defaults(), Untouchable(), folder=tmp_path)


def test_a_name_in_use_with_other_settings_or_data_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    settings = light_settings(n_trials=1)
    run_study(settings, light_defaults(), LightStudy(), folder=tmp_path)
    others = [
        (light_settings(n_trials=1, space={"lora.r": {"values": [4, 8]}}), light_defaults(), Untouchable(), "space"),
        (light_settings(n_trials=1, focus="transfer"), light_defaults(), Untouchable(), 'study.focus is "balanced"'),
        (light_settings(n_trials=1, patience=3), light_defaults(), Untouchable(), "study.patience is null there and 3"),
        (settings, light_defaults(max_steps=31), Untouchable(), "trial.training.max_steps is 30 there and 31 here"),
        (settings, light_defaults(), Untouchable(data="other"), "data.data"),
        (
            light_settings(n_trials=1, patience=3),
            light_defaults(),
            Untouchable(data="other"),
            "settings: study.patience",
        ),
    ]
    for other, defaults, source, difference in others:
        with pytest.raises(StudyConfigError, match="is in use in") as refused:
            run_study(other, defaults, source, folder=tmp_path)
        assert difference in str(refused.value)
        assert "another name" in str(refused.value)
    changes = {"workers": 2, "heartbeat_seconds": 5, "checkpoint_every": 3}
    same = light_defaults().varied({"training.log_every_steps": 7})
    run_study(light_settings(n_trials=1, **changes), same, Untouchable(), folder=tmp_path)


def test_a_worker_does_not_read_what_another_version_planned(tmp_path: Path) -> None:
    plan = StudyPlan(light_settings(), light_defaults(), tmp_path)
    write_plan(plan, LightStudy())
    assert read_plan(tmp_path)[0] == plan
    file = tmp_path / "launch.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 1}))
    with pytest.raises(StudyError, match="another version of this project"):
        read_plan(tmp_path)


def test_the_study_without_a_name_of_its_own_begins_anew_and_loses_none_of_those_before(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "spelling_transfer_exp"
    first = light_settings(n_trials=2, name="spelling_transfer_exp")
    second, third = (first.model_copy(update={"n_trials": 1, "focus": focus}) for focus in ("transfer", "spelling"))
    trials = run_study(first, light_defaults(), LightStudy(), folder=folder).trials
    for other in (second, third):
        assert len(run_study(other, light_defaults(), LightStudy(), folder=folder).trials) == 1
    # Each comes back with its settings, and nothing is trained again.
    for other, n_trials in ((first, 2), (second, 1), (third, 1), (first, 2)):
        assert len(run_study(other, light_defaults(), Untouchable(), folder=folder).trials) == n_trials
    assert run_study(first, light_defaults(), Untouchable(), folder=folder).trials.equals(trials)
    assert len(list(folder.parent.iterdir())) == 3


def test_fewer_trials_than_were_begun_are_another_study_too(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "spelling_transfer_exp"
    longer = light_settings(n_trials=2, name="spelling_transfer_exp")
    shorter, other = longer.model_copy(update={"n_trials": 1}), longer.model_copy(update={"focus": "transfer"})
    for settings in (longer, other, shorter):
        run_study(settings, light_defaults(), LightStudy(), folder=folder)
    assert len(run_study(shorter, light_defaults(), Untouchable(), folder=folder).trials) == 1
    kept = [each for each in folder.parent.iterdir() if each != folder]
    assert sorted(len(list((each / "trials").iterdir())) for each in kept) == [2, 2]
    for each in kept:  # as 'kedro tune list' reads them
        assert Records(open_engine(storage_url(None, each)), recorded_name(each.name)).find() is not None


def test_of_kept_studies_with_these_settings_the_longest_that_is_not_too_long_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "spelling_transfer_exp"
    two = light_settings(n_trials=2, name="spelling_transfer_exp")
    one, three, other = (
        two.model_copy(update=update) for update in ({"n_trials": 1}, {"n_trials": 3}, {"focus": "transfer"})
    )
    trials = run_study(two, light_defaults(), LightStudy(), folder=folder).trials
    run_study(one, light_defaults(), LightStudy(), folder=folder)
    # To and fro, with another study in between too: neither is trained again, and no further copy is left.
    for settings, n_trials in ((two, 2), (one, 1), (two, 2), (one, 1)):
        assert len(run_study(settings, light_defaults(), Untouchable(), folder=folder).trials) == n_trials
    run_study(other, light_defaults(), LightStudy(), folder=folder)
    for settings, n_trials in ((two, 2), (one, 1), (other, 2), (one, 1)):
        assert len(run_study(settings, light_defaults(), Untouchable(), folder=folder).trials) == n_trials
    assert len(list(folder.parent.iterdir())) == 3
    # More than any has: the longest is gone on with.
    longer = run_study(three, light_defaults(), LightStudy(), folder=folder).trials
    assert longer["number"].tolist() == [0, 1, 2]
    assert longer["selection_score"].tolist()[:2] == trials["selection_score"].tolist()


def test_records_in_another_format_are_kept_beside_and_called_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "studies" / "spelling_transfer_exp"
    settings = light_settings(n_trials=1, name="spelling_transfer_exp")
    run_study(settings, light_defaults(), LightStudy(), folder=folder)
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("UPDATE spelling_transfer_studies SET version = version - 1")
    connection.close()
    assert len(run_study(settings, light_defaults(), LightStudy(), folder=folder).trials) == 1
    assert "held a study with records in another format; it is kept as spelling_transfer_exp." in caplog.text
    assert len(list(folder.parent.iterdir())) == 2


def test_a_damaged_study_beside_the_folder_is_left_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "spelling_transfer_exp"
    first = light_settings(n_trials=1, name="spelling_transfer_exp")
    other = first.model_copy(update={"focus": "transfer"})
    for settings in (first, other):
        run_study(settings, light_defaults(), LightStudy(), folder=folder)
    (kept,) = (each for each in folder.parent.iterdir() if each != folder)
    for file in kept.glob("study.db*"):
        file.unlink()
    (kept / "study.db").write_bytes(b"no database" * 100)
    assert len(run_study(first, light_defaults(), LightStudy(), folder=folder).trials) == 1
    assert (kept / "study.db").read_bytes().startswith(b"no database")


def test_the_folder_of_a_study_that_another_run_is_training_is_not_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "spelling_transfer_exp"
    first = light_settings(n_trials=2, name="spelling_transfer_exp")
    shorter = first.model_copy(update={"n_trials": 1})
    other = first.model_copy(update={"n_trials": 1, "focus": "transfer"})
    was_tried = []

    class InATrial(LightObjective):
        def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
            # A study of one trial is this one, until it has begun the second.
            tried = [(other, "other settings or other data"), (shorter, "more trials")][: len(was_tried) + 1]
            for changed, difference in tried:
                with pytest.raises(StudyConfigError, match=f"another run is training .*, with {difference} than this"):
                    run_study(changed, light_defaults(), LightStudy(), folder=folder)
            was_tried.append(config)
            return super().__call__(config, monitor)

    class Source(LightStudy):
        def open(self) -> LightObjective:
            return InATrial(self)

    trials = run_study(first, light_defaults(), Source(), folder=folder).trials
    assert len(was_tried) == 2
    assert trials["state"].tolist() == ["complete", "complete"]
    assert list(folder.parent.iterdir()) == [folder]
    assert len(run_study(other, light_defaults(), LightStudy(), folder=folder).trials) == 1


def test_the_folder_of_a_study_that_is_still_loading_its_model_is_not_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "spelling_transfer_exp"
    first = light_settings(n_trials=1, name="spelling_transfer_exp")
    other = first.model_copy(update={"focus": "transfer"})

    class Loads(LightStudy):
        def open(self) -> LightObjective:
            with pytest.raises(StudyConfigError, match=r"training .*, with other settings or other data"):
                run_study(other, light_defaults(), LightStudy(), folder=folder)
            return super().open()

    assert run_study(first, light_defaults(), Loads(), folder=folder).trials["state"].tolist() == ["complete"]
    assert list(folder.parent.iterdir()) == [folder]
    assert len(run_study(other, light_defaults(), LightStudy(), folder=folder).trials) == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF])
def test_a_file_system_without_locks_keeps_no_study_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    first = light_settings(n_trials=1, name="spelling_transfer_exp")
    for focus in ("balanced", "transfer"):
        settings = first.model_copy(update={"focus": focus})
        assert len(run_study(settings, light_defaults(), LightStudy(), folder=tmp_path / "study").trials) == 1


def test_a_folder_that_was_renamed_is_told_from_one_without_a_study(tmp_path: Path) -> None:
    run_study(light_settings(n_trials=1), light_defaults(), LightStudy(), folder=tmp_path / "light")
    folder = (tmp_path / "light").rename(tmp_path / "other")
    for resume in (True, False):
        with pytest.raises(StudyConfigError, match="contains the study 'light', not 'other'"):
            run_study(light_settings(name="other", resume=resume), light_defaults(), Untouchable(), folder=folder)


def test_resuming_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyConfigError, match="there is no study 'light'"):
        run_study(light_settings(resume=True), light_defaults(), Untouchable(), folder=tmp_path)


def test_of_what_has_not_changed_nothing_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_study(light_settings(n_trials=2), light_defaults(), LightStudy(), folder=tmp_path)
    records = Records(open_engine(storage_url(None, tmp_path)), "light")
    snapshots = Snapshots(StudyPlan(light_settings(n_trials=2), light_defaults(), tmp_path), records)
    first = snapshots.take()
    monkeypatch.setattr(records, "steps", None)
    assert snapshots.take() == first
    assert first.base["spelling"] == 0.1
    records.engine.dispose()


def test_a_trial_that_fails_does_not_end_the_study_but_if_all_do_it_says_why(tmp_path: Path) -> None:
    source = replace(LightStudy(), fail=4e-4)
    trials = run_study(light_settings(n_trials=8), light_defaults(), source).trials
    failed = trials[trials["state"] == "failed"]
    assert 0 < len(failed) < 8
    assert (failed["training.learning_rate"] >= 4e-4).all()
    assert failed["transfer_score"].isna().all()
    with pytest.raises(StudyError, match=r"Each of the 2 trials.*learning rate is too high"):
        run_study(light_settings(n_trials=2), light_defaults(), replace(LightStudy(), fail=0.0), folder=tmp_path)
    for error in (TrialFailedError("The loss is nan at step 12"), ValueError("no such luck")):
        folder, diverges = tmp_path / type(error).__name__, Meddles(1, 12, failing(error))
        trials = run_study(light_settings(n_trials=2), light_defaults(), diverges, folder=folder).trials
        assert trials["state"].tolist() == ["complete", "failed"]
        assert [file.name for file in folder.glob("trials/*/*")] == ["steps.log"] * 2  # and no checkpoint of step 7


@pytest.mark.parametrize("how", [TrialFailedError("it diverged"), ValueError("no such luck"), None])
def test_a_trial_that_ends_badly_after_another_worker_took_it_over_ends_no_study(
    tmp_path: Path, how: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    def taken_over() -> None:
        with sqlite3.connect(tmp_path / "study.db") as connection:
            connection.execute(
                "UPDATE spelling_transfer_trials_v3 SET state='stopped', attempt=2, owner='other' WHERE number=1"
            )
        if how is not None:
            raise how

    meddles = Meddles(1, 12, taken_over)
    trials = run_study(light_settings(n_trials=3, pruner="none"), light_defaults(), meddles, folder=tmp_path).trials
    assert trials["state"].tolist() == ["complete", "stopped", "complete"]
    assert "Trial 1 was taken over by another worker." in caplog.text


def test_an_error_in_a_worker_reaches_the_user_in_its_own_words(tmp_path: Path) -> None:
    class Broken(LightStudy):
        def write(self, folder: Path) -> tuple[str, dict[str, object]]:
            return "light_study:open_light", {"no_such": 1}

    with pytest.raises(StudyError, match="no_such"):
        run_study(light_settings(workers=2), light_defaults(), Broken(), folder=tmp_path)
    with pytest.raises(StudyConfigError, match=r"study\.backend: 'moon' is not installed; there are .*local"):
        run_study(light_settings(backend="moon"), light_defaults(), LightStudy(), folder=tmp_path)


def test_ctrl_c_ends_the_one_worker_after_its_step_and_the_next_call_goes_on(tmp_path: Path) -> None:
    pressed = Meddles(2, 17, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(StudyInterruptedError, match="stopped with 2 of 6 trials finished"):
        run_study(light_settings(), light_defaults(), pressed, folder=tmp_path)
    result = run_study(light_settings(), light_defaults(), LightStudy(), folder=tmp_path)
    assert_same(result, run_study(light_settings(), light_defaults(), LightStudy()))
    steps = (tmp_path / "trials" / "0002" / "steps.log").read_text().split("\n")
    assert steps.index("17") < steps.index("from 14") < steps.index("18")


def test_ctrl_c_does_not_wait_for_records_that_are_away_and_the_outage_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("BEGIN", {}, sqlite3.OperationalError("the server is away"))

    def press() -> None:
        sa.event.listen(sa.Engine, "begin", away)
        os.kill(os.getpid(), signal.SIGINT)

    settings = light_settings(heartbeat_seconds=1)  # this process lives on: only silence says that its worker ended
    try:
        with pytest.raises(StudyInterruptedError, match=r"could not be reached\. .*the server is away.* it resumes"):
            run_study(settings, light_defaults(), Meddles(2, 17, press), folder=tmp_path)
    finally:
        sa.event.remove(sa.Engine, "begin", away)
    assert "the server is away. Trials wait for it" in caplog.text
    result = run_study(settings, light_defaults(), LightStudy(), folder=tmp_path)
    assert_same(result, run_study(light_settings(), light_defaults(), LightStudy()))


def test_ctrl_c_ends_all_workers_and_the_next_call_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "trials" / "0000" / "steps.log"

    def press() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not (log.is_file() and "kept 7" in log.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = set(psutil.Process().children())  # what earlier tests left in this process, such as wandb's service
    threading.Thread(target=press).start()
    settings, defaults = light_settings(workers=2), light_defaults(max_steps=90)  # it is pressed long before the last
    with pytest.raises(StudyInterruptedError, match="of 6 trials finished"):
        run_study(settings, defaults, LightStudy(step_seconds=0.05), folder=tmp_path)
    assert set(psutil.Process().children()) <= before
    records = Records(open_engine(storage_url(None, tmp_path)), "light")
    assert {row.state for row in records.trials()} <= {"waiting", "complete"}
    records.engine.dispose()
    result = run_study(light_settings(), defaults, LightStudy(), folder=tmp_path)
    assert_same(result, run_study(light_settings(), defaults, LightStudy()))
    assert re.search("from [1-9]", log.read_text())


def test_optunas_own_tables_hold_the_study_for_its_dashboard(tmp_path: Path) -> None:
    import optuna

    settings = light_settings(sampler="tpe", pruner="median", n_trials=9)
    result = run_study(settings, light_defaults(), LightStudy(), folder=tmp_path)
    study = optuna.load_study(study_name="light", storage=f"sqlite:///{tmp_path}/study.db")
    assert [trial.number for trial in study.trials] == list(range(9))
    assert [trial.params["lora.r"] for trial in study.trials] == result.trials["lora.r"].tolist()
    names = {"complete": "COMPLETE", "pruned": "PRUNED"}
    assert [trial.state.name for trial in study.trials] == [names[state] for state in result.trials["state"]]
    best = result.trials[result.trials["state"] == "complete"]["selection_score"].max()
    assert study.best_value == pytest.approx(best)
    assert [len(trial.intermediate_values) for trial in study.trials] == [
        int((result.curves["number"] == number).sum()) for number in range(9)
    ]
