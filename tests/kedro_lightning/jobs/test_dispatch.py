"""Jobs under everything that can go wrong: each piece of work once, none left running."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest
from tests.kedro_lightning.conftest import A100, until, work

from kedro_lightning.errors import (
    BudgetError,
    InterruptedJobError,
    JobError,
    NotSignedInError,
    PlatformError,
    QuotaError,
)
from kedro_lightning.jobs.dispatch import Dispatcher
from kedro_lightning.jobs.starting import RunBudget
from kedro_lightning.jobs.work import Entry, job_name
from kedro_lightning.platform.jobs import JobsApi

RUN = "2026-11-22T02.30.11.123Z"


@pytest.fixture
def make(connection) -> Iterator[Callable[..., Dispatcher]]:
    made: list[Dispatcher] = []

    def make(**changes) -> Dispatcher:
        made.append(Dispatcher(JobsApi(connection), RUN, **changes))
        return made[-1]

    yield make
    for dispatcher in made:
        dispatcher.close()


def job_of(platform, title: str):
    return next(job for job in reversed(platform.jobs) if job["name"].startswith(title))


def test_a_job_is_done_and_its_log_and_cost_are_reported(platform, studio, make, tmp_path: Path) -> None:
    lines, entries = [], []
    dispatcher = make(on_line=lambda title, line: lines.append((title, line)), on_entry=entries.append)
    outcome = dispatcher.submit(work("train", studio, "echo one; echo two")).result(300)
    dispatcher.close()
    assert outcome.job.name == job_name(RUN, "train", 1)
    assert [line for _, line in lines] == ["one", "two", "kedro-compute: exit 0"]
    assert [entry.state for entry in entries][-1] == "completed"
    assert entries[-1].cost_usd > 0


@pytest.mark.parametrize("status", [503, 500, "cut"])
def test_a_lost_answer_makes_no_second_job(platform, studio, make, tmp_path: Path, status) -> None:
    platform.fault(r"POST .*/jobs$", status=status, after=True)
    make().submit(work("train", studio, f"echo done >> {tmp_path}/starts")).result(300)
    assert (tmp_path / "starts").read_text() == "done\n"
    assert len(platform.jobs) == 1
    assert platform.creations == 1


@pytest.mark.parametrize("status", [429, 503, "cut"])
def test_a_refusal_that_passes_is_asked_again(platform, studio, make, status) -> None:
    platform.fault(r"POST .*/jobs$", status=status, times=2)
    make().submit(work("train", studio)).result(300)
    assert len(platform.jobs) == 1


def test_a_conflict_after_a_lost_answer_is_the_job_itself(platform, studio, make) -> None:
    platform.fault(r"POST .*/jobs$", status=409, after=True, body="name taken")
    make().submit(work("train", studio)).result(300)
    assert len(platform.jobs) == 1


@pytest.mark.parametrize(("status", "kind"), [(402, QuotaError), (403, Exception), (422, Exception)])
def test_a_refusal_that_stays_is_one_error(platform, studio, make, status, kind) -> None:
    platform.fault(r"POST .*/jobs$", status=status, times=99, body="no")
    with pytest.raises(kind, match="no"):
        make().submit(work("train", studio)).result(300)
    assert platform.creations == 1


def test_two_jobs_for_the_same_work_become_one(platform, studio, make) -> None:
    dispatcher, flag = make(), Path(platform.world.root) / "seen"
    future = dispatcher.submit(work("train", studio, f"until [ -e {flag} ]; do sleep 0.1; done"))
    until(lambda: platform.running)
    first = platform.jobs[0]
    with platform.world.lock:
        tags = [tag["name"] for tag in first["tags"]]
        late = platform.module.new_job("p-1", "late", first["spec"], tags)  # its answer came after all
    until(lambda: late["state"] in ("stop", "stopped"))
    flag.touch()
    assert future.result(300).job.id == first["id"]


def test_an_outage_while_a_job_runs_changes_nothing(platform, studio, make) -> None:
    future = make().submit(work("train", studio, "sleep 1"))
    until(lambda: platform.running)
    platform.fault(r"GET ", status=503, times=12)
    assert future.result(300).attempts == 1


def test_a_key_that_is_not_valid_any_more_ends_the_run_and_the_machines(platform, studio, make) -> None:
    dispatcher = make()
    future = dispatcher.submit(work("train", studio, "sleep 60"))
    until(lambda: platform.running)
    platform.fault(r"GET .*/jobs$", status=401)
    with pytest.raises(NotSignedInError, match="key is not valid"):
        future.result(300)
    assert dispatcher.close() == []
    assert platform.running == []


def test_a_machine_that_is_taken_away_is_replaced(platform, studio, make, tmp_path: Path) -> None:
    flag = tmp_path / "second"
    future = make().submit(work("train", studio, f"[ -e {flag} ] || (touch {flag}; sleep 60)", interruptible=True))
    until(flag.exists)
    platform.module.set_job(job_of(platform, "train"), state="stopped")
    outcome = future.result(300)
    assert outcome.attempts == 2
    assert [job["state"] for job in platform.jobs] == ["stopped", "completed"]


def test_work_is_not_started_again_for_ever(platform, studio, make) -> None:
    future = make(max_interruptions=1).submit(work("train", studio, "sleep 60"))
    for _ in range(2):
        until(lambda: platform.running)
        platform.module.set_job(job_of(platform, "train"), state="stopped")
    with pytest.raises(InterruptedJobError, match="interrupted 2 times"):
        future.result(300)
    assert platform.running == []


def test_a_job_that_vanishes_is_started_again(platform, studio, make, tmp_path: Path) -> None:
    flag = tmp_path / "second"
    future = make().submit(work("train", studio, f"[ -e {flag} ] || (touch {flag}; sleep 60)"))
    until(flag.exists)
    with platform.world.lock:
        platform.module.lose_job(job_of(platform, "train"))
    assert future.result(300).attempts == 2


def test_out_of_memory_moves_up_to_a_machine_with_more(platform, studio, make) -> None:
    entries: list[Entry] = []
    script = work("train", studio).command

    def command(attempt):
        return script(attempt) if attempt.machine is A100 else "echo torch.OutOfMemoryError: CUDA out of memory; exit 1"

    outcome = make(on_entry=entries.append).submit(work("train", studio, command=command)).result(300)
    assert outcome.machine is A100
    assert [job["spec"]["instanceName"] for job in platform.jobs] == ["lit-t4-1", "lit-a100-1"]
    assert "out of memory" in [entry.note for entry in entries]


def test_out_of_memory_on_the_largest_machine_says_what_to_do(platform, studio, make) -> None:
    with pytest.raises(JobError, match=r"out of memory[\s\S]*add one to tiers"):
        make().submit(work("train", studio, "echo CUDA out of memory; false", machines=(A100,))).result(300)


def test_a_failure_is_reported_with_the_end_of_its_log(platform, studio, make) -> None:
    with pytest.raises(JobError, match=r"train: job .* failed \(error: exit code 3\)\.[\s\S]*\| no such letter"):
        make().submit(work("train", studio, "echo no such letter; exit 3")).result(300)


def test_a_job_ends_itself_at_its_limit(platform, studio, make) -> None:
    from kedro_lightning.code import Bundle, Source
    from kedro_lightning.job_script import job_script

    source = Source(Bundle(b"", "0" * 64))

    def command(attempt):
        script = job_script(["sleep", "60"], source, {}, attempt.limit_seconds, "x")
        return "\n".join(line for line in script.splitlines() if "sha256sum" not in line and "tar " not in line)

    with pytest.raises(JobError, match="longest run reached"):
        make().submit(work("train", studio, command=command, longest_seconds=1)).result(300)
    assert platform.running == []


def test_a_machine_that_cannot_be_had_is_not_waited_for_without_end(platform, studio, make) -> None:
    dispatcher = make(pending_seconds=0.5)
    future = dispatcher.submit(work("train", studio, "sleep 60"))
    for number in (1, 2):
        until(lambda number=number: len(platform.jobs) == number)
        platform.module.set_job(platform.jobs[-1], state="pending")
    with pytest.raises(JobError, match="no machine of its tier"):
        future.result(300)
    assert [job["spec"]["instanceName"] for job in platform.jobs] == ["lit-t4-1", "lit-a100-1"]
    until(lambda: platform.running == [])


def test_closing_stops_every_machine_also_when_answers_are_lost(platform, studio, make) -> None:
    dispatcher = make()
    futures = [dispatcher.submit(work(f"train-{number}", studio, "sleep 60")) for number in range(3)]
    until(lambda: len(platform.running) == 3)
    platform.fault(r"PUT .*/jobs/", status=503, times=2)
    platform.fault(r"GET .*/jobs$", status=500, times=2)
    assert dispatcher.close() == []
    assert platform.running == []
    for future in futures:
        with pytest.raises(JobError, match="the run was ended"):
            future.result(1)


def free(dispatcher: Dispatcher) -> bool:
    """Whether another thread can take the lock of a dispatcher."""
    found: list[bool] = []

    def take() -> None:
        found.append(dispatcher._lock.acquire(timeout=60))
        if found[0]:
            dispatcher._lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("how", ["closed", "an error"])
def test_who_waits_for_a_job_is_told_without_a_lock_and_after_the_machines_are_stopped(
    platform, studio, make, how: str
) -> None:
    dispatcher = make()
    future = dispatcher.submit(work("train", studio, "sleep 60"))
    until(lambda: platform.running)
    told: list[tuple[bool, int]] = []
    future.add_done_callback(lambda done: told.append((free(dispatcher), len(platform.running))))
    if how == "an error":
        platform.fault(r"GET .*/jobs$", status=401)
        until(lambda: told)
    dispatcher.close()
    assert told == [(True, 0 if how == "closed" else 1)]
    assert platform.running == []


def test_a_job_of_which_neither_creation_nor_search_was_answered_is_stopped_in_the_end(
    platform, studio, make, monkeypatch
) -> None:
    monkeypatch.setattr("kedro_lightning.platform.calls._ATTEMPTS", 1)
    platform.fault(r"POST .*/jobs$", status=503, after=True)
    platform.fault(r"GET .*/(jobs|workload-tags)$", status=503)
    dispatcher = make()
    with pytest.raises(PlatformError):
        dispatcher.submit(work("train", studio, "sleep 60")).result(300)
    assert len(platform.running) == 1
    assert dispatcher.close() == []
    assert platform.running == []


def test_a_job_that_is_made_after_the_run_was_ended_is_stopped(platform, studio, make) -> None:
    dispatcher, begun, go = make(), threading.Event(), threading.Event()
    create = dispatcher._api.create

    def slow(request):
        begun.set()
        go.wait(300)
        return create(request)

    dispatcher._api.create = slow
    dispatcher.submit(work("train", studio, "sleep 60"))
    assert begun.wait(300)
    dispatcher._thread.join = lambda timeout: None  # as one that waits no longer
    assert dispatcher.close() == []
    go.set()
    until(lambda: platform.jobs and not platform.running)


def test_a_request_beside_the_watch_that_is_refused_ends_nothing(platform, studio, make, caplog) -> None:
    dispatcher, flag = make(), Path(platform.world.root) / "go"
    other = dispatcher.submit(work("other", studio, f"until [ -e {flag} ]; do sleep 0.1; done"))
    stopped = dispatcher.submit(work("stopped", studio, "sleep 60"))
    until(lambda: len(platform.running) == 2)
    platform.fault(r"PUT .*/jobs/", status=422, body="not now")
    dispatcher.cancel(["stopped"])
    with pytest.raises(InterruptedJobError):
        stopped.result(300)  # it was asked again
    flag.touch()
    assert other.result(300).attempts == 1
    assert "not now. The jobs keep running; asking again." in caplog.text


def test_a_log_that_cannot_be_written_ends_nothing(platform, studio, make, caplog) -> None:
    def on_line(title: str, line: str) -> None:
        raise OSError(28, "No space left on device")

    assert make(on_line=on_line).submit(work("train", studio, "echo one; echo two")).result(300).attempts == 1
    until(lambda: "train: a line of its log cannot be kept ([Errno 28] No space left on device)." in caplog.text)
    assert caplog.text.count("cannot be kept") == 1


def test_no_more_jobs_run_than_allowed_and_the_worthiest_start_first(platform, studio, make) -> None:
    dispatcher = make(max_jobs=1)
    dispatcher._lock.acquire()  # so that all of them wait when the loop looks first
    futures = [dispatcher.submit(work(f"job{n}", studio, priority=float(n))) for n in (1, 3, 2)]
    dispatcher._lock.release()
    wait(futures, 300)
    assert [re.match(r"job(\d)", job["name"])[1] for job in platform.jobs] == ["3", "2", "1"]


def test_work_waits_for_what_it_depends_on_and_is_not_started_after_a_failure(platform, studio, make) -> None:
    dispatcher = make()
    second = dispatcher.submit(work("second", studio, after=("first",)))
    never = dispatcher.submit(work("never", studio, after=("bad",)))
    bad = dispatcher.submit(work("bad", studio, "false"))
    dispatcher.submit(work("first", studio, "sleep 0.3")).result(300)
    second.result(300)
    with pytest.raises(JobError, match="not started, since bad failed"):
        never.result(300)
    assert bad.exception() is not None
    assert sorted(job["name"].split("-")[0] for job in platform.jobs) == ["bad", "first", "second"]


def test_a_quota_lowers_the_number_of_jobs_instead_of_ending_the_run(platform, studio, make) -> None:
    platform.world.job_quota = 1
    dispatcher = make()
    futures = [dispatcher.submit(work(f"job{n}", studio, "sleep 0.3")) for n in range(3)]
    assert [future.result(300).attempts for future in futures] == [1, 1, 1]


@pytest.mark.parametrize(("machines", "seconds"), [(1, 3600), (2, 1800)])
def test_the_budget_limits_the_seconds_of_each_job(platform, studio, make, machines: int, seconds: int) -> None:
    limits = []
    script = work("x", studio).command

    def command(attempt):
        limits.append(attempt.limit_seconds)
        return script(attempt)

    asked = work("train", studio, command=command, expected_seconds=60, num_machines=machines)
    make(budget=RunBudget(0.68)).submit(asked).result(300)
    assert limits == [seconds]  # an hour on a T4 costs all of it


def test_what_a_job_cost_is_spent_and_what_a_refused_one_would_have_cost_is_free(platform, studio, make) -> None:
    money, entries = RunBudget(0.68), []
    dispatcher = make(budget=money, on_entry=entries.append)
    platform.fault(r"POST .*/jobs$", status=422, times=1, body="no")
    with pytest.raises(Exception, match="no"):
        dispatcher.submit(work("refused", studio)).result(300)
    assert money.free_usd == 0.68
    dispatcher.submit(work("train", studio)).result(300)
    assert entries[-1].cost_usd > 0
    assert money.spent_usd == pytest.approx(entries[-1].cost_usd, abs=1e-5)
    assert money.free_usd == pytest.approx(0.68 - money.spent_usd)


def test_a_spent_budget_starts_nothing(platform, studio, make) -> None:
    with pytest.raises(BudgetError, match=r"0\.00 of 1\.00 USD are left"):
        make(budget=RunBudget(1.0, 1.0)).submit(work("train", studio)).result(300)
    assert platform.jobs == []


def test_the_platforms_clock_does_not_matter(platform, studio, make) -> None:
    platform.world.clock_skew = -86400.0
    entries: list[Entry] = []
    make(on_entry=entries.append).submit(work("train", studio, "sleep 1")).result(300)
    assert 0.5 < entries[-1].seconds < 3600


def test_several_machines_are_one_job(platform, studio, make, tmp_path: Path) -> None:
    outcome = make().submit(work("train", studio, f"touch {tmp_path}/rank-$NODE_RANK", num_machines=2)).result(300)
    assert outcome.job.num_machines == 2
    assert sorted(path.name for path in tmp_path.glob("rank-*")) == ["rank-0", "rank-1"]


def test_another_driver_attaches_to_what_runs_and_has_run_and_tries_again_what_failed(
    platform, studio, connection
) -> None:
    def drive(attach: bool):
        return Dispatcher(JobsApi(connection), RUN, attach=attach)

    flag = Path(platform.world.root) / "fixed"
    first = drive(attach=False)
    first.submit(work("done", studio)).result(300)
    with pytest.raises(JobError):
        first.submit(work("bad", studio, f"[ -e {flag} ]")).result(300)
    first.submit(work("long", studio, f"until [ -e {flag} ]; do sleep 0.1; done"))
    until(lambda: platform.running)
    # The first driver is gone without a word; its jobs are all that is left of it.
    second = drive(attach=True)
    again = [second.submit(work(key, studio, f"[ -e {flag} ]")) for key in ("done", "bad", "long")]
    flag.touch()
    assert [future.result(300).attempts for future in again] == [1, 2, 1]
    assert len(platform.jobs) == 4
    second.close()
    first.close()
