"""Starting jobs once, within the money there is, and stopping all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import BudgetError, ComputeError, PlatformError
from ..platform.calls import make_once
from ..platform.jobs import MARK, JobRequest, JobsApi, JobView
from .work import Attempt, Tracked, attempt_tag, job_name, run_tag

logger = logging.getLogger(__name__)

SHORTEST_SECONDS = 60
"""A job that could not even start within its limit is not worth its price."""

_SIDE_BY_SIDE = 8  # requests at one time; the platform answers one in some tenths of a second
STOP_SECONDS = 120.0
"""How long jobs are asked to stop."""


class RunBudget:
    """The money of a run: what is spent, and what running jobs may still spend before they end themselves.

    A job is given no more seconds than its share pays for, so nothing has to be watched for the budget to hold.
    """

    def __init__(self, budget_usd: float, spent_usd: float = 0.0) -> None:
        """Makes a budget; ``spent_usd`` is what earlier parts of the same run have spent."""
        self.budget_usd, self.spent_usd = budget_usd, spent_usd
        self._reserved: dict[str, float] = {}

    @property
    def free_usd(self) -> float:
        """What is neither spent nor reserved."""
        return self.budget_usd - self.spent_usd - sum(self._reserved.values())

    def limit(self, usd_per_hour: float, longest_seconds: int, expected_seconds: float, sharers: int) -> int:
        """Returns how many seconds a job may run: an even share of what is left, all of it where that is too little.

        Args:
            usd_per_hour: Price of all its machines.
            longest_seconds: What the tier allows.
            expected_seconds: How long it will probably take.
            sharers: Jobs that may run at the same time.
        """
        if usd_per_hour <= 0:
            return longest_seconds
        affordable = self.free_usd / usd_per_hour * 3600
        share = affordable / max(1, sharers)
        wanted = share if share >= 1.5 * expected_seconds else affordable
        return int(max(0.0, min(longest_seconds, wanted)))

    def reserve(self, key: str, machine_usd_per_hour: float, seconds: int) -> None:
        """Reserves the money for the whole limit of a job."""
        self._reserved[key] = machine_usd_per_hour * seconds / 3600

    def settle(self, key: str, cost_usd: float) -> None:
        """Takes what a job did cost in place of what was reserved for it."""
        self._reserved.pop(key, None)
        self.spent_usd += cost_usd


@dataclass(frozen=True)
class JobOrder:
    """A job that is to be asked for, its money reserved."""

    tracked: Tracked
    request: JobRequest
    key_tag: str
    limit_seconds: int
    usd_per_hour: float


class Starter:
    """Makes jobs of work."""

    def __init__(self, api: JobsApi, run_id: str, budget: RunBudget, *, attach: bool) -> None:
        """Holds what all jobs of a run share; ``attach`` looks for a job before it is asked for."""
        self._api, self._run_id, self._budget, self._attach = api, run_id, budget, attach

    def ask(self, tracked: Tracked, *, sharers: int, others_run: bool) -> JobOrder | None:
        """Reserves the money for a job; ``None`` if what other jobs leave over has to be waited for.

        Raises:
            BudgetError: There is not enough money, and no other job that could leave any.
        """
        work, machine = tracked.work, tracked.machine
        usd_per_hour = machine.price(work.interruptible) * work.num_machines
        limit = self._budget.limit(usd_per_hour, work.longest_seconds, work.expected_seconds, sharers)
        if limit < min(SHORTEST_SECONDS, work.longest_seconds):
            if others_run:
                return None
            free, whole = max(0.0, self._budget.free_usd), self._budget.budget_usd
            raise BudgetError(
                f"{work.title}: not started. {free:.2f} of {whole:.2f} USD are left: "
                f"{limit} s on {machine.name} at {usd_per_hour:.2f} USD an hour (budget in compute.yml)."
            )
        self._budget.reserve(work.key, usd_per_hour, limit)
        key_tag = attempt_tag(self._run_id, work.key, tracked.attempt)
        request = JobRequest(
            name=job_name(self._run_id, work.key, tracked.attempt),
            command=work.command(Attempt(tracked.attempt, machine, limit)),
            machine=machine.slug,
            studio_id=work.studio_id,
            tags=(MARK, run_tag(self._run_id), key_tag),
            env=dict(work.env),
            interruptible=work.interruptible,
            num_machines=work.num_machines,
        )
        return JobOrder(tracked, request, key_tag, limit, usd_per_hour)

    def start(self, batch: Sequence[JobOrder]) -> list[tuple[JobOrder, JobView | ComputeError]]:
        """Asks for jobs; the money of those that could not be had is free again."""
        with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(batch))) as pool:
            made = list(zip(batch, pool.map(self._create, batch), strict=True))
        for order, result in made:
            if isinstance(result, ComputeError):
                self._budget.settle(order.tracked.work.key, 0.0)
        return made

    def _create(self, order: JobOrder) -> JobView | ComputeError:
        """Returns the job for an order, making it unless it is there, or the reason it could not be had.

        A request without an answer may have made a job. It is looked for by the tag that no other attempt carries
        before anything is asked again; where two are found in the end, the older one stays. After a driver was killed
        it is looked for before anything is asked at all.
        """

        def find() -> JobView | None:
            there = self._api.find_all(run_tag(self._run_id))
            return keep_oldest(self._api, [job for job in there if order.key_tag in job.tags])

        try:
            return make_once(find, lambda: self._api.create(order.request), look_first=self._attach)
        except ComputeError as error:
            return error


def keep_oldest(api: JobsApi, jobs: list[JobView]) -> JobView | None:
    """Stops all but the oldest of some jobs that are the same work; returns that one."""
    if not jobs:
        return None
    first, *others = sorted(jobs, key=lambda job: (str(job.created_at or ""), job.id))
    for job in others:
        if not job.state.ended:
            logger.warning("Job %s was started twice; %s is stopped.", first.name, job.name)
            api.stop(job)
    return first


def stop_all(api: JobsApi, tag: str, known: Collection[JobView], *, only_known: bool = False) -> list[str]:
    """Stops jobs, those included whose creation was never answered, and asks until the platform says that they ended.

    Args:
        api: The platform's jobs.
        tag: Tag of the run.
        known: Jobs that run as far as we know.
        only_known: Leave alone what else carries the tag.

    Returns:
        Names of jobs that could not be stopped.
    """
    end = time.monotonic() + STOP_SECONDS
    left = {job.id: job for job in known}
    wanted, asked = set(left), set[str]()
    while True:
        new = [job for job in left.values() if job.id not in asked]
        try:
            if new:
                with ThreadPoolExecutor(min(8, len(new))) as pool:
                    list(pool.map(api.stop, new))
                asked.update(job.id for job in new)
            running = [job for job in api.find_all(tag) if not job.state.ended]
            left = {job.id: job for job in running if not only_known or job.id in wanted}
        except PlatformError as error:
            logger.warning("%s Trying again to stop the jobs.", error)
        else:
            if not left:
                return []
        if time.monotonic() > end:
            return sorted(job.name for job in left.values())
        if not any(job.id not in asked for job in left.values()):
            time.sleep(0.5)
