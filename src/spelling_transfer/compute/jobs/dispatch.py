"""All jobs of a run, started and watched by one loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
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
from ..platform.jobs import MARK, JobRequest, JobsApi, JobView, State
from .failure import Cause, cause_of, describe
from .following import Followers
from .money import SHORTEST_SECONDS, Purse, price
from .submit import keep_oldest, submit
from .tracked import Tracked, was_interrupted
from .work import Attempt, Entry, Outcome, Work, attempt_tag, job_name, run_tag

logger = logging.getLogger(__name__)

_LONGEST_ROUND_SECONDS = 10.0
_SHORTEST_ROUND_SECONDS = 0.3
_CALLS_PER_JOB_MINUTE = 6.0
_FEW_JOBS = 8
_HURRY_SECONDS = 3.0
_ROUNDS_UNTIL_GONE = 3
_STOP_SECONDS = 120.0
EntryListener = Callable[[Entry], None]
LineListener = Callable[[str, str], None]


class Dispatcher:
    """Starts pieces of work as jobs, as many at a time as money and limits allow, and tells how each ended.

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
        purse: Purse | None = None,
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
            purse: The money.
            attach: Jobs of this run may be there already, from a driver that was killed.
            on_entry: Told of every change of a job.
            on_line: Told of every line of a log, with the title of the work.
        """
        self._api, self._run_id, self._tag = api, run_id, run_tag(run_id)
        self._max_jobs, self._max_interruptions = max_jobs, max_interruptions
        self._pending_seconds, self._attach = pending_seconds, attach
        self._purse = purse or Purse(None)
        self._on_entry = on_entry
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._queue: list[Tracked] = []
        self._running: list[Tracked] = []
        self._done: set[str] = set()
        self._failed: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._hurry_until = 0.0
        self._followers = Followers(api, on_line, self._hurry)

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
        """Ends the loop and stops every job that still runs.

        Returns:
            Names of jobs that could not be stopped; they end by their own time limit.
        """
        with self._lock:
            self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=60)
        self._followers.close()
        with self._lock:
            unfinished = [tracked for tracked in self._running if tracked.job is not None]
            was_asked = self._thread is not None and bool(self._running or self._queue)
            for tracked in [*self._running, *self._queue]:
                tracked.fail(InterruptedJobError(f"{tracked.work.title}: the run was ended."))
            self._running.clear()
            self._queue.clear()
        return self._stop_all(unfinished) if was_asked else []

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while not self._closed:
                self._drop_cancelled()
                self._start_waiting()
                self._wake.wait(self._round_seconds())
                self._wake.clear()
                if self._running and not self._closed:
                    self._look()
        except Exception as error:  # whoever waits for a job must hear of it
            logger.debug("The loop that watches jobs ended.", exc_info=True)
            with self._lock:
                for tracked in [*self._running, *self._queue]:
                    tracked.fail(error)
                self._queue.clear()
                self._closed = True

    def _hurry(self) -> None:
        """A job says that it ends: the platform will say so in a moment."""
        self._hurry_until = time.monotonic() + _HURRY_SECONDS
        self._wake.set()

    def _round_seconds(self) -> float:
        count = len(self._running)
        if count and time.monotonic() < self._hurry_until:
            return _SHORTEST_ROUND_SECONDS
        if not count:
            return 1.0 if self._queue else 30.0
        usual = min(_LONGEST_ROUND_SECONDS, max(1.0, 60 / (_CALLS_PER_JOB_MINUTE * count)))
        if count > _FEW_JOBS:
            return usual
        # Much can happen to a job that is new or about to end, little to one that has been running for an hour.
        youngest = min(time.monotonic() - tracked.changed_at for tracked in self._running)
        return max(_SHORTEST_ROUND_SECONDS, min(usual, _SHORTEST_ROUND_SECONDS + youngest / 4))

    def _drop_cancelled(self) -> None:
        with self._lock:
            cancelled = [tracked for tracked in [*self._queue, *self._running] if tracked.cancelled]
        for tracked in cancelled:
            if tracked.job is not None and tracked in self._running:
                self._api.stop(tracked.job)
            self._give_up(tracked, InterruptedJobError(f"{tracked.work.title}: stopped."))

    def _start_waiting(self) -> None:
        with self._lock:
            waiting = sorted(self._queue, key=lambda tracked: -tracked.work.priority)
        for tracked in waiting:
            if len(self._running) >= self._max_jobs or self._closed:
                return
            if lost := self._failed.intersection(tracked.work.after):
                self._give_up(tracked, JobError(f"{tracked.work.title}: not started, since {min(lost)} failed."))
            elif self._done.issuperset(tracked.work.after):
                try:
                    if not self._start(tracked, len(waiting)):
                        return
                except ComputeError as error:
                    self._give_up(tracked, error)

    def _start(self, tracked: Tracked, waiting: int) -> bool:
        """Starts a job; returns whether more could be started."""
        work, machine = tracked.work, tracked.machine
        usd_per_hour = price(machine, work.interruptible, work.num_machines)
        sharers = min(waiting, self._max_jobs - len(self._running))
        limit = self._purse.limit(usd_per_hour, work.longest_seconds, work.expected_seconds, sharers)
        if limit < min(SHORTEST_SECONDS, work.longest_seconds):
            if self._running:
                return False  # what the others leave over may be enough
            raise BudgetError(
                f"{work.title}: not started. {max(0.0, self._purse.free_usd):.2f} of {self._purse.budget_usd:.2f} USD "
                f"are left: {limit} s on {machine.name} at {usd_per_hour:.2f} USD an hour (budget in compute.yml)."
            )
        attempt = Attempt(tracked.attempt, machine, limit)
        key_tag = attempt_tag(self._run_id, work.key, tracked.attempt)
        request = JobRequest(
            name=job_name(self._run_id, work.key, tracked.attempt),
            command=work.command(attempt),
            machine=machine.slug,
            studio_id=work.studio_id,
            tags=(MARK, self._tag, key_tag),
            env=dict(work.env),
            interruptible=work.interruptible,
            num_machines=work.num_machines,
        )
        try:
            job = submit(self._api, request, self._tag, key_tag, look_first=self._attach)
        except QuotaError:
            if not self._running:
                raise
            self._max_jobs = len(self._running)  # as many as the account allows
            logger.info("The account allows %d jobs at a time.", self._max_jobs)
            return False
        self._purse.reserve(work.key, usd_per_hour, limit)
        tracked.begin(job, key_tag, limit, usd_per_hour)
        with self._lock:
            self._queue.remove(tracked)
            self._running.append(tracked)
        self._tell(tracked)
        return True

    def _look(self) -> None:
        try:
            jobs = self._api.find_all(self._tag)
        except NotSignedInError:
            raise
        except PlatformError as error:
            # Says nothing about the jobs. They go on, and end by their own limit if nobody ever comes back.
            logger.warning("%s The jobs go on; looking again.", error)
            return
        for tracked in list(self._running):
            mine = [job for job in jobs if tracked.key_tag in job.tags]
            job = keep_oldest(self._api, mine) if len(mine) > 1 else next(iter(mine), None)
            if job is None:
                self._missing(tracked)
            else:
                self._update(tracked, job)

    def _missing(self, tracked: Tracked) -> None:
        tracked.missing += 1
        if tracked.missing >= _ROUNDS_UNTIL_GONE and tracked.job is not None and not self._api.exists(tracked.job):
            self._interrupted(tracked, "the platform does not know it any more")

    def _update(self, tracked: Tracked, job: JobView) -> None:
        changed = tracked.see(job)
        if changed:
            self._tell(tracked)
        if job.state is State.RUNNING and changed:
            self._followers.add(tracked)
        if job.state is State.COMPLETED:
            self._read_log(tracked, job)
            self._leave(tracked)
            self._done.add(tracked.work.key)
            tracked.finish(Outcome(tracked.work.key, job, tracked.machine, tracked.attempt, tracked.seconds))
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
        lines = self._read_log(tracked, job)
        cause = cause_of(job.message, lines, tracked.seconds, tracked.limit_seconds)
        message = describe(tracked.work.title, job.name, job.message, lines, cause)
        if cause is Cause.MEMORY and tracked.larger_machine():
            logger.warning("%s: out of memory on %s; a larger one.", tracked.work.title, tracked.machine.name)
            self._again(tracked, cause.value, tracked.move_up)
            return
        hint = {
            Cause.MEMORY: " No machine of the tier has more memory; add one to tiers in compute.yml.",
            Cause.TIME: f" It was ended after {tracked.limit_seconds} seconds: tiers.longest_minutes or budget.",
            Cause.ENVIRONMENT: " Set the Studio up again with 'kedro compute studios create'.",
        }.get(cause, "")
        self._give_up(tracked, JobError(message + ("\n" + hint.strip() if hint else "")))

    def _interrupted(self, tracked: Tracked, reason: str) -> None:
        if tracked.interruptions >= self._max_interruptions:
            self._give_up(
                tracked,
                InterruptedJobError(
                    f"{tracked.work.title}: interrupted {tracked.interruptions + 1} times, last since {reason}. "
                    "See max_interruptions in compute.yml, or rent a machine that cannot be taken away."
                ),
            )
            return
        tracked.interruptions += 1
        logger.warning("%s: interrupted (%s); starting again.", tracked.work.title, reason)
        self._again(tracked, "interrupted", lambda: None)

    def _waited_too_long(self, tracked: Tracked, job: JobView) -> None:
        self._api.stop(job)
        minutes = self._pending_seconds / 60
        if tracked.other_machine():
            logger.warning("%s: no %s within %.0f minutes.", tracked.work.title, tracked.machine.name, minutes)
            self._again(tracked, "no machine", tracked.move_on)
            return
        self._give_up(
            tracked,
            JobError(
                f"{tracked.work.title}: no machine of its tier ({tracked.machine.name}) could be had within "
                f"{minutes:.0f} minutes. See tiers and pending_minutes in compute.yml."
            ),
        )

    def _again(self, tracked: Tracked, note: str, change: Callable[[], object]) -> None:
        self._tell(tracked, note)
        self._leave(tracked)
        change()
        tracked.attempt += 1
        with self._lock:
            self._queue.append(tracked)

    def _give_up(self, tracked: Tracked, error: ComputeError) -> None:
        self._leave(tracked)
        self._failed.add(tracked.work.key)
        tracked.fail(error)

    def _leave(self, tracked: Tracked) -> None:
        with self._lock:
            if tracked in self._running:
                self._running.remove(tracked)
                self._purse.settle(tracked.work.key, tracked.cost_usd)
            if tracked in self._queue:
                self._queue.remove(tracked)
        self._followers.remove(tracked)

    # -- telling -------------------------------------------------------------------------------------------------------

    def _tell(self, tracked: Tracked, note: str = "") -> None:
        if tracked.job is not None:
            self._on_entry(tracked.entry(note))

    def _read_log(self, tracked: Tracked, job: JobView) -> list[str]:
        try:
            lines = [line.text for line in self._api.logs([job])]
        except PlatformError as error:
            logger.warning("%s: its log cannot be read: %s", tracked.work.title, error)
            return tracked.lines
        self._followers.complete(tracked, lines)
        return lines

    def _stop_all(self, unfinished: Sequence[Tracked]) -> list[str]:
        """Stops jobs and makes sure that they are stopped, those without an answer to their creation included."""
        end = time.monotonic() + _STOP_SECONDS
        left = {tracked.job.id: tracked.job for tracked in unfinished if tracked.job is not None}
        asked: set[str] = set()
        while time.monotonic() < end:
            try:
                for job in left.values():
                    if job.id not in asked:
                        self._api.stop(job)
                        asked.add(job.id)
                left = {job.id: job for job in self._api.find_all(self._tag) if not job.state.ended}
            except PlatformError as error:
                logger.warning("%s Trying again to stop the jobs.", error)
            if not left:
                return []
            time.sleep(0.5)
        return sorted(job.name for job in left.values())
