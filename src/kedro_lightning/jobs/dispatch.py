"""All jobs of a run, started and watched by one loop."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future

from ..errors import (
    BudgetError,
    ComputeError,
    InterruptedJobError,
    JobError,
    NotSignedInError,
    PlatformError,
    QuotaError,
)
from ..platform.jobs import JobsApi, JobView, State
from ..platform.machines import Machine
from .logs import Cause, LogFollowers, advice, cause_of, describe
from .starting import JobOrder, RunBudget, Starter, keep_oldest, stop_all
from .work import Entry, Outcome, Tracked, Work, fail, finish, run_tag, was_interrupted

logger = logging.getLogger(__name__)

_ROUNDS_UNTIL_GONE = 3
_LONGEST_SECONDS = 10.0
_SHORTEST_SECONDS = 0.3
_SHORTEST_FOR_MANY_SECONDS = 0.5
_REQUESTS_PER_JOB_MINUTE = 6.0
_FEW_JOBS = 8
_HURRY_SECONDS = 3.0
EntryListener = Callable[[Entry], None]
LineListener = Callable[[str, str], None]
_open: set[Dispatcher] = set()


def open_dispatchers() -> list[Dispatcher]:
    """Returns the dispatchers of this process that have been started and not closed."""
    return list(_open)


class Pace:
    """How often the platform is asked: often while something may happen, seldom while nothing will."""

    def __init__(self) -> None:
        """Begins without a hurry."""
        self._hurry_until = 0.0

    def hurry(self) -> None:
        """A job has said that it ends: the platform will say so in a moment."""
        self._hurry_until = time.monotonic() + _HURRY_SECONDS

    def seconds(self, running: Sequence[Tracked], *, waiting: bool) -> float:
        """Returns how long to wait before the next round."""
        count = len(running)
        if not count:
            return 1.0 if waiting else 30.0
        now = time.monotonic()
        if now < self._hurry_until:
            return _SHORTEST_SECONDS
        usual = max(_SHORTEST_FOR_MANY_SECONDS, min(_LONGEST_SECONDS, 60 / (_REQUESTS_PER_JOB_MINUTE * count)))
        if count > _FEW_JOBS:
            return usual
        # Much can happen to a job that is new or about to end, little to one that has been running for an hour.
        youngest = min(now - tracked.changed_at for tracked in running)
        return max(_SHORTEST_SECONDS, min(usual, _SHORTEST_SECONDS + youngest / 4))


class Dispatcher:
    """Starts pieces of work as jobs, as many at a time as money and limits allow, and reports how each ended.

    One thread does all of it. However many jobs run, a round is one request.
    """

    def __init__(
        self,
        api: JobsApi,
        run_id: str,
        *,
        max_jobs: int = 8,
        max_interruptions: int = 3,
        pending_seconds: float = 7200.0,
        budget: RunBudget | None = None,
        attach: bool = False,
        on_entry: EntryListener = lambda entry: None,
        on_line: LineListener = lambda title, line: None,
    ) -> None:
        """Makes a dispatcher; the first piece of work starts its thread.

        Args:
            api: The platform's jobs.
            run_id: Marks all jobs, so that they are found again.
            max_jobs: Jobs at one time.
            max_interruptions: How often work is started again after its machine was taken away.
            pending_seconds: How long a job may wait for a machine.
            budget: The money; no limit if left out.
            attach: Jobs of this run may be there already, from a driver that was killed.
            on_entry: Called with every change of a job.
            on_line: Called with the title of the work and every line of its log.
        """
        self._api, self._run_id, self._tag = api, run_id, run_tag(run_id)
        self._max_jobs, self._max_interruptions = max_jobs, max_interruptions
        self._pending_seconds, self._attach = pending_seconds, attach
        self._budget = budget or RunBudget(math.inf)
        self._starter = Starter(api, run_id, self._budget, attach=attach)
        self._on_entry = on_entry
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._queue: list[Tracked] = []
        self._running: list[Tracked] = []
        self._done: set[str] = set()
        self._failed: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pace = Pace()
        self._logs = LogFollowers(api, on_line, self._hurry)

    def submit(self, work: Work) -> Future[Outcome]:
        """Takes on a piece of work; the future ends with how it went, or with the reason it could not be done."""
        tracked = Tracked(work)
        with self._lock:
            if self._closed:
                raise ComputeError("The run is over; no work can be added.")
            self._queue.append(tracked)
            self._api.lists_several |= work.num_machines > 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="kedro-compute", daemon=True)
                _open.add(self)
                self._thread.start()
        self._wake.set()
        return tracked.future

    def cancel(self, keys: Collection[str]) -> None:
        """Stops pieces of work; those that have ended already are no error."""
        with self._lock:
            for tracked in [*self._queue, *self._running]:
                if tracked.work.key in keys:
                    tracked.cancelled = True
        self._wake.set()

    def close(self) -> list[str]:
        """Ends the loop and stops all jobs; returns the names of those that end by their own time limit alone."""
        with self._lock:
            self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=60)
        self._logs.close()
        with self._lock:
            left = [*self._running, *self._queue]
            known = [tracked.job for tracked in self._running if tracked.job is not None]
            self._running.clear()
            self._queue.clear()
        try:  # money first; and whoever waits is told without the lock, since it may want one that another holds
            return stop_all(self._api, self._tag, known) if self._thread is not None else []
        finally:
            _open.discard(self)
            for tracked in left:
                fail(tracked.future, InterruptedJobError(f"{tracked.work.title}: the run was ended."))

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while not self._closed:
                self._drop_cancelled()
                self._start_waiting()
                self._wake.wait(self._pace.seconds(self._running, waiting=bool(self._queue)))
                self._wake.clear()
                if self._running and not self._closed:
                    self._update_all()
        except Exception as error:  # whoever waits for a job must hear of it
            logger.debug("The loop that watches jobs ended.", exc_info=True)
            with self._lock:
                left = [*self._running, *self._queue]
                self._queue.clear()
                self._closed = True
            for tracked in left:
                fail(tracked.future, error)

    def _hurry(self) -> None:
        self._pace.hurry()
        self._wake.set()

    def _drop_cancelled(self) -> None:
        with self._lock:
            cancelled = [tracked for tracked in [*self._queue, *self._running] if tracked.cancelled]
        for tracked in cancelled:
            with _jobs_run_on():
                if tracked.job is not None and tracked in self._running:
                    self._api.stop(tracked.job)
                self._give_up(tracked, InterruptedJobError(f"{tracked.work.title}: stopped."))

    def _start_waiting(self) -> None:
        with self._lock:
            waiting = sorted(self._queue, key=lambda tracked: -tracked.work.priority)
        places = self._max_jobs - len(self._running)
        batch: list[JobOrder] = []
        for tracked in waiting:
            if lost := self._failed.intersection(tracked.work.after):
                self._give_up(tracked, JobError(f"{tracked.work.title}: not started, since {min(lost)} failed."))
            elif len(batch) < places and self._done.issuperset(tracked.work.after):
                try:
                    order = self._starter.ask(
                        tracked,
                        sharers=min(len(waiting), places) - len(batch),
                        others_run=bool(self._running or batch),
                    )
                except BudgetError as error:
                    self._give_up(tracked, error)
                    continue
                if order is None:
                    break  # what the others leave over may be enough
                batch.append(order)
        if batch and not self._closed:
            self._begin(self._starter.start(batch))

    def _begin(self, made: list[tuple[JobOrder, JobView | ComputeError]]) -> None:
        for order, job in made:
            if isinstance(job, JobView) and self._attach and job.state is State.FAILED:
                # It failed under an earlier driver; to resume that run means to try again.
                self._budget.settle(order.tracked.work.key, 0.0)
                order.tracked.attempt += 1
                self._wake.set()
            elif isinstance(job, JobView) and self._closed:
                with _jobs_run_on():
                    self._api.stop(job)  # made after the clean-up looked for what there is
            elif isinstance(job, JobView):
                order.tracked.begin(job, order.key_tag, order.limit_seconds, order.usd_per_hour)
                with self._lock:
                    self._queue.remove(order.tracked)
                    self._running.append(order.tracked)
                self._report(order.tracked)
        for order, error in made:
            if isinstance(error, QuotaError) and self._running:
                self._max_jobs = len(self._running)  # as many as the account allows; the rest waits
                logger.info("The account allows %d jobs at a time.", self._max_jobs)
            elif isinstance(error, ComputeError):
                self._give_up(order.tracked, error)

    def _update_all(self) -> None:
        ended: list[Tracked] = []
        with _jobs_run_on():
            jobs = self._api.find_all(self._tag)
            for tracked in list(self._running):
                with _jobs_run_on():
                    mine = [job for job in jobs if tracked.key_tag in job.tags]
                    job = keep_oldest(self._api, mine) if len(mine) > 1 else next(iter(mine), None)
                    if job is None:
                        self._missing(tracked)
                    else:
                        self._update(tracked, job, ended)
            self._logs.read_all(ended)

    def _missing(self, tracked: Tracked) -> None:
        tracked.missing += 1
        if tracked.missing >= _ROUNDS_UNTIL_GONE and tracked.job is not None and not self._api.exists(tracked.job):
            self._interrupted(tracked, "the platform does not know it any more")

    def _update(self, tracked: Tracked, job: JobView, ended: list[Tracked]) -> None:
        changed = tracked.see(job)
        if changed:
            self._report(tracked)
        if job.state is State.RUNNING and changed:
            self._logs.add(tracked)
        if job.state is State.COMPLETED:
            self._leave(tracked)
            ended.append(tracked)
            self._done.add(tracked.work.key)
            finish(tracked.future, Outcome(job, tracked.machine, tracked.attempt))
        elif job.state is State.FAILED:
            self._failed_job(tracked, job)
        elif job.state is State.STOPPED:
            self._interrupted(tracked, job.message or "its machine was taken away or stopped")
        elif job.state is State.PENDING and tracked.pending_seconds > self._pending_seconds:
            self._waited_too_long(tracked, job)

    # -- what can go wrong with a job ----------------------------------------------------------------------------------

    def _failed_job(self, tracked: Tracked, job: JobView) -> None:
        if was_interrupted(job.message):
            self._interrupted(tracked, job.message)
            return
        lines = self._logs.read(tracked, job)
        cause = cause_of(job.message, lines, tracked.seconds, tracked.limit_seconds)
        message = describe(tracked.work.title, job.name, job.message, lines, cause)
        if cause is Cause.MEMORY and (machine := tracked.larger_machine()):
            logger.warning("%s: out of memory on %s; a larger one.", tracked.work.title, tracked.machine.name)
            self._again(tracked, cause.value, machine)
            return
        self._give_up(tracked, JobError(message + advice(cause, tracked.limit_seconds)))

    def _interrupted(self, tracked: Tracked, reason: str) -> None:
        if tracked.interruptions >= self._max_interruptions:
            text = f"{tracked.work.title}: interrupted {tracked.interruptions + 1} times, last since {reason}. See "
            text += "max_interruptions in compute.yml, or rent a machine that cannot be taken away."
            self._give_up(tracked, InterruptedJobError(text))
            return
        tracked.interruptions += 1
        logger.warning("%s: interrupted (%s); starting again.", tracked.work.title, reason)
        self._again(tracked, "interrupted")

    def _waited_too_long(self, tracked: Tracked, job: JobView) -> None:
        self._api.stop(job)
        minutes = self._pending_seconds / 60
        if machine := tracked.other_machine():
            logger.warning("%s: no %s within %.0f minutes.", tracked.work.title, tracked.machine.name, minutes)
            self._again(tracked, "no machine", machine)
            return
        text = f"{tracked.work.title}: no machine of its tier ({tracked.machine.name}) could be had within "
        text += f"{minutes:.0f} minutes. See tiers and pending_minutes in compute.yml."
        self._give_up(tracked, JobError(text))

    def _again(self, tracked: Tracked, note: str, machine: Machine | None = None) -> None:
        self._report(tracked, note)
        self._leave(tracked)
        if machine is not None:
            tracked.move(machine)
        tracked.attempt += 1
        with self._lock:
            self._queue.append(tracked)

    def _give_up(self, tracked: Tracked, error: ComputeError) -> None:
        self._leave(tracked)
        self._failed.add(tracked.work.key)
        fail(tracked.future, error)

    def _leave(self, tracked: Tracked) -> None:
        with self._lock:
            if tracked in self._running:
                self._running.remove(tracked)
                self._budget.settle(tracked.work.key, tracked.cost_usd)
            if tracked in self._queue:
                self._queue.remove(tracked)
        self._logs.remove(tracked)

    def _report(self, tracked: Tracked, note: str = "") -> None:
        if tracked.job is not None:
            self._on_entry(tracked.entry(note))


@contextlib.contextmanager
def _jobs_run_on() -> Iterator[None]:
    """Takes a request that the platform refused or did not answer for what it is: nothing that is known of the jobs.

    They keep running, and end by their own limit if nobody ever comes back.
    """
    try:
        yield
    except NotSignedInError:
        raise
    except PlatformError as error:
        logger.warning("%s The jobs keep running; asking again.", error)
