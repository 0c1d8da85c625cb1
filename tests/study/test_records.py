"""Trials are claimed, lost and finished in any order; what is recorded at the end is each of them once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, TrialOutcome
from spelling_transfer.study.monitor import TrialMonitor
from spelling_transfer.study.plan import StudyPlan
from spelling_transfer.study.records import (
    MAX_FAILED_ATTEMPTS,
    ClaimLostError,
    Proposal,
    Records,
    TrialRow,
)
from spelling_transfer.study.storage import StorageError, open_engine


def records_in(folder: Path) -> Records:
    records = Records(open_engine(sa.URL.create("sqlite", database=str(folder / "study.db"))), "study")
    records.create("{}", base=False)
    return records


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = records_in(tmp_path)
    yield records
    records.engine.dispose()


def propose(number: int) -> Proposal:
    return Proposal({"lora.r": number})


def claim(records: Records, owner: str, planned: int = 3, dead: tuple[str, ...] = ()) -> TrialRow | None:
    return records.claim(owner, planned, propose, is_dead=lambda row, _: row.owner in dead or row.heartbeat == 0)


def test_workers_that_claim_at_once_never_get_the_same_trial(tmp_path: Path) -> None:
    planned, taken = 24, []
    start = threading.Barrier(6)

    def work(worker: int) -> None:
        records = Records(open_engine(sa.URL.create("sqlite", database=str(tmp_path / "study.db"))), "study")
        start.wait()
        while (row := claim(records, f"{worker}-{len(taken)}-{threading.get_ident()}", planned)) is not None:
            taken.append(row.number)
            records.write(row, state="complete")
        records.engine.dispose()

    records_in(tmp_path).engine.dispose()
    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(planned))


def test_a_worker_taken_for_dead_writes_nothing_once_its_trial_is_given_away(records: Records) -> None:
    first = claim(records, "first")
    assert first is not None
    records.write(first, steps=[("evaluation", {"step": 10, "score": 1.0})], step=10)
    second = claim(records, "second", dead=("first",))
    assert second is not None
    assert (second.number, second.attempt, second.step) == (first.number, 2, 10)
    with pytest.raises(ClaimLostError):
        records.write(first, steps=[("evaluation", {"step": 20, "score": 9.0})], state="complete")
    records.write(second, steps=[("evaluation", {"step": 20, "score": 2.0})], state="complete")
    with pytest.raises(ClaimLostError):
        records.write(first, state="pruned")
    assert [row.state for row in records.trials()] == ["complete"]
    assert [row["score"] for row in records.steps("evaluation")[0]] == [1.0, 2.0]


def test_a_result_that_was_written_although_the_answer_was_lost_can_be_written_again(records: Records) -> None:
    row = claim(records, "worker")
    assert row is not None
    for _ in range(2):
        records.write(row, steps=[("evaluation", {"step": 1, "score": 0.5})], state="complete", loss=0.25)
    assert [(each.state, each.loss) for each in records.trials()] == [("complete", 0.25)]
    assert records.steps("evaluation") == {0: [{"step": 1, "score": 0.5}]}


def test_a_trial_that_has_ended_ends_no_other_way(records: Records) -> None:
    row = claim(records, "worker")
    assert row is not None
    records.write(row, state="complete", loss=0.25)
    for values in ({}, {"state": "failed"}, {"state": "waiting"}, {"step": 7}):
        with pytest.raises(ClaimLostError):
            records.write(row, steps=[("evaluation", {"step": 1})], **values)
    (ended,) = records.trials()
    assert (ended.state, ended.loss, ended.step) == ("complete", 0.25, 0)
    assert records.steps("evaluation") == {}


def test_a_worker_that_says_it_lives_while_its_trial_is_being_taken_keeps_it(records: Records) -> None:
    first = claim(records, "first", planned=1)
    assert first is not None

    @sa.event.listens_for(records.engine, "before_cursor_execute")
    def beat(connection: object, cursor: sqlite3.Cursor, statement: str, *_: object) -> None:
        # What another connection may do between two statements of this one, where the database locks rows alone.
        if statement.startswith("UPDATE"):
            cursor.connection.execute(f"UPDATE {statement.split()[1]} SET heartbeat = heartbeat + 1")

    assert claim(records, "second", planned=1, dead=("first",)) is None
    sa.event.remove(records.engine, "before_cursor_execute", beat)
    records.write(first, state="complete")
    assert [(row.owner, row.attempt) for row in records.trials()] == [("first", 1)]


def test_the_correctness_of_each_question_is_kept_as_it_was(records: Records) -> None:
    row = claim(records, "worker")
    assert row is not None
    correct = tuple(place % 3 == 0 for place in range(601))
    records.write(row, steps=[("evaluation", {"step": 1, "correct": correct}), ("metrics", {"step": 1, "loss": 2.0})])
    assert records.steps("evaluation") == {0: [{"step": 1, "correct": correct}]}
    assert records.steps("metrics", [0]) == {0: [{"step": 1, "loss": 2.0}]}


def test_a_claim_that_is_repeated_gets_the_same_trial(records: Records) -> None:
    assert claim(records, "once") == claim(records, "once")
    assert len(records.trials()) == 1


def test_the_base_models_row_comes_first_and_is_none_of_the_trials(tmp_path: Path) -> None:
    records = Records(open_engine(sa.URL.create("sqlite", database=str(tmp_path / "study.db"))), "study")
    records.create("{}", base=True)
    taken = [claim(records, f"worker-{place}", planned=2) for place in range(4)]
    assert [row and row.number for row in taken] == [-1, 0, 1, None]
    assert [row.number for row in records.trials()] == [0, 1]
    records.engine.dispose()


def test_a_number_that_is_taken_while_it_is_proposed_is_asked_for_again(records: Records) -> None:
    answers = [None, Proposal({"lora.r": 4})]
    row = records.claim("worker", 1, lambda _: answers.pop(0), is_dead=lambda *_: False)
    assert row is not None
    assert row.proposal.choices == {"lora.r": 4}


def test_the_trials_of_a_worker_with_a_similar_name_are_not_released(records: Records) -> None:
    for owner in ("host_1-a", "hostx1-b"):
        assert claim(records, owner) is not None
    records.release("host_1")
    assert {row.owner: row.heartbeat == 0 for row in records.trials()} == {"host_1-a": True, "hostx1-b": False}


def test_studies_in_one_storage_know_nothing_of_each_other(tmp_path: Path) -> None:
    engine = open_engine(sa.URL.create("sqlite", database=str(tmp_path / "study.db")))
    one, other = (Records(engine, name) for name in ("one", "other"))
    for each in (one, other):
        each.create("{}", base=True)
    taken = [claim(one, f"w-{place}", planned=1) for place in range(2)]
    assert [row and row.number for row in taken] == [-1, 0]
    assert [(row.number, row.state) for row in other.rows()] == [(-1, "waiting")]
    assert taken[1] is not None
    one.write(taken[1], steps=[("evaluation", {"step": 1, "score": 0.5})], step=1)
    assert [row and row.number for row in (claim(other, f"w-{place}", planned=1) for place in (2, 3))] == [-1, 0]
    assert other.steps("evaluation") == {}
    one.release("w")
    assert [row.heartbeat == 0 for row in (*one.rows(), *other.rows())] == [True, True, False, False]
    engine.dispose()


def test_a_worker_that_is_gone_is_at_no_trial(records: Records) -> None:
    for owner in ("first", "second"):
        claim(records, owner)
    assert [row.owner for row in records.running(lambda row, _: row.owner == "first")] == ["second"]


def test_a_trial_that_kills_its_workers_fails_in_the_end_and_the_study_goes_on(records: Records) -> None:
    for attempt in range(MAX_FAILED_ATTEMPTS):
        row = claim(records, f"worker-{attempt}")
        assert row is not None
        assert row.number == 0
        records.release(f"worker-{attempt}")
    following = claim(records, "survivor")
    assert following is not None
    assert following.number == 1
    failed = records.trials()[0]
    assert failed.state == "failed"
    assert "memory" in failed.error


def test_a_trial_that_gets_on_is_taken_up_as_often_as_it_takes(records: Records) -> None:
    for attempt in range(3 * MAX_FAILED_ATTEMPTS):
        row = claim(records, f"worker-{attempt}")
        assert row is not None
        assert row.number == 0
        records.write(row, step=row.step + 1)
        records.release(f"worker-{attempt}")
    assert records.trials()[0].state == "running"


def monitor_of(records: Records, folder: Path, owner: str = "first", **claimed: Any) -> TrialMonitor:
    row = claim(records, owner, **claimed)
    assert row is not None
    settings = StudySettings.model_validate({"space": {"lora.r": {"values": [4]}}, "patience": 1})
    return TrialMonitor(row, records, None, StudyPlan(settings, TrialConfig(), folder), threading.Event())


def test_metrics_wait_for_a_storage_that_is_away(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StorageError("away")

    monitor = monitor_of(records, tmp_path)
    monitor.metrics({"step": 1, "loss": 2.0})
    with monkeypatch.context() as patch:
        patch.setattr(records, "write", away)
        monitor.heartbeat()
    monitor.metrics({"step": 2, "loss": 1.0})
    monitor.heartbeat()
    assert records.steps("metrics") == {0: [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]}


def test_a_trial_that_is_taken_up_again_keeps_its_time_and_is_no_further_back(records: Records, tmp_path: Path) -> None:
    first = claim(records, "first")
    assert first is not None
    records.write(first, step=10, seconds=100.0)
    monitor = monitor_of(records, tmp_path, "second", dead=("first",))
    monitor.progress(8)  # from its last checkpoint on
    monitor.heartbeat()
    (row,) = records.trials()
    assert row.step == 10
    assert 100.0 <= row.seconds < 200.0


def test_what_a_checkpoint_will_not_report_again_is_recorded_before_it_and_a_verdict_stands(
    records: Records, tmp_path: Path
) -> None:
    monitor = monitor_of(records, tmp_path)
    assert [monitor(Evaluation(step, 0.5, 0.5, 0.5)) for step in (1, 2)] == ["complete", "stopped"]
    monitor.metrics({"step": 3, "loss": 2.0})
    monitor.progress(monitor.checkpoint_every)
    assert records.steps("metrics") == {0: [{"step": 3, "loss": 2.0}]}
    before = records.steps("evaluation")
    again = monitor_of(records, tmp_path, "second", dead=("first",))
    assert again(Evaluation(2, 0.9, 0.9, 0.9)) == "stopped"
    assert records.steps("evaluation") == before


def test_a_worker_that_learns_from_its_heartbeat_that_its_trial_is_gone_stops(records: Records, tmp_path: Path) -> None:
    monitor = monitor_of(records, tmp_path)
    assert claim(records, "second", dead=("first",)) is not None
    monitor.heartbeat()
    with pytest.raises(ClaimLostError):
        monitor.progress(1)


def test_a_score_that_is_only_reached_again_is_no_gain_and_the_end_is_recorded_unasked(
    records: Records, tmp_path: Path
) -> None:
    monitor = monitor_of(records, tmp_path)
    curve = [Evaluation(step, 0.5, 0.5, 0.5) for step in (10, 20, 30)]
    assert [monitor(each) for each in curve[:2]] == ["complete", "stopped"]
    monitor.finish(TrialOutcome(curve, 0.25, 30, "stopped"))
    assert [(row.state, row.step, row.loss) for row in records.trials()] == [("stopped", 30, 0.25)]
    assert [(row["step"], row["verdict"]) for row in records.steps("evaluation")[0]] == [
        (10, "complete"),
        (20, "stopped"),
        (30, "stopped"),
    ]


_EVENTS = st.lists(st.tuples(st.sampled_from(["claim", "die", "finish", "zombie", "release"]), st.integers(0, 3)))


@settings(max_examples=40)
@given(events=_EVENTS, planned=st.integers(1, 5))
def test_whatever_happens_each_trial_ends_once(events: list[tuple[str, int]], planned: int) -> None:
    records = Records(open_engine(sa.URL.create("sqlite")), "study")  # in memory
    records.create("{}", base=False)
    holding: dict[int, TrialRow] = {}
    lost: list[TrialRow] = []
    ended: list[int] = []
    for place, (event, worker) in enumerate(events):
        row = holding.get(worker)
        if event == "claim" and row is None:
            dead = tuple(each.owner for each in lost)
            if (new := claim(records, f"{worker}-{place}", planned, dead)) is not None:
                holding[worker] = new
        elif row is not None and event == "die":
            lost.append(holding.pop(worker))
        elif row is not None and event == "release":
            records.write(holding.pop(worker), state="waiting")
        elif row is not None and event == "finish":
            records.write(holding.pop(worker), state="complete", step=1)
            ended.append(row.number)
        elif event == "zombie" and lost:
            # One that is not dead after all may still finish, unless its trial was given away.
            try:
                records.write(lost[0], state="complete", step=1)
                ended.append(lost.pop(0).number)
            except ClaimLostError:
                lost.pop(0)
    for row in [*lost, *holding.values()]:
        records.release(row.owner)
    while (row := claim(records, f"last-{len(ended)}-{len(lost)}", planned)) is not None:
        records.write(row, state="complete", step=1)
        ended.append(row.number)
    rows = records.trials()
    assert [row.number for row in rows] == list(range(planned))
    failed = [row.number for row in rows if row.state == "failed"]
    assert sorted(ended + failed) == list(range(planned))
    records.engine.dispose()
