"""Asking for jobs: what each may cost is settled one by one, the requests themselves are made side by side."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import BudgetError, ComputeError
from ..platform.jobs import MARK, JobRequest, JobsApi, JobView
from .money import SHORTEST_SECONDS, Purse, price
from .submit import submit
from .tracked import Tracked
from .work import Attempt, attempt_tag, job_name, run_tag

SIDE_BY_SIDE = 8
"""Requests at one time; the platform answers one in some tenths of a second."""


@dataclass(frozen=True)
class Asked:
    """A job that is to be asked for, its money put aside."""

    tracked: Tracked
    request: JobRequest
    key_tag: str
    limit_seconds: int
    usd_per_hour: float


class Starter:
    """Makes jobs of work."""

    def __init__(self, api: JobsApi, run_id: str, purse: Purse, *, attach: bool) -> None:
        """Holds what all jobs of a run share; ``attach`` looks for a job before it is asked for."""
        self._api, self._run_id, self._purse, self._attach = api, run_id, purse, attach

    def ask(self, tracked: Tracked, *, sharers: int, others_run: bool) -> Asked | None:
        """Puts aside the money for a job; ``None`` if what other jobs leave over has to be waited for.

        Raises:
            BudgetError: There is not enough money, and no other job that could leave any.
        """
        work, machine = tracked.work, tracked.machine
        usd_per_hour = price(machine, work.interruptible, work.num_machines)
        limit = self._purse.limit(usd_per_hour, work.longest_seconds, work.expected_seconds, sharers)
        if limit < min(SHORTEST_SECONDS, work.longest_seconds):
            if others_run:
                return None
            raise BudgetError(
                f"{work.title}: not started. {max(0.0, self._purse.free_usd):.2f} of {self._purse.budget_usd:.2f} USD "
                f"are left: {limit} s on {machine.name} at {usd_per_hour:.2f} USD an hour (budget in compute.yml)."
            )
        self._purse.reserve(work.key, usd_per_hour, limit)
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
        return Asked(tracked, request, key_tag, limit, usd_per_hour)

    def start(self, batch: Sequence[Asked]) -> list[tuple[Asked, JobView | ComputeError]]:
        """Asks for jobs; the money of those that could not be had is free again."""
        with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(batch))) as pool:
            made = list(zip(batch, pool.map(self._create, batch), strict=True))
        for asked, result in made:
            if isinstance(result, ComputeError):
                self._purse.settle(asked.tracked.work.key, 0.0)
        return made

    def _create(self, asked: Asked) -> JobView | ComputeError:
        tag = run_tag(self._run_id)
        try:
            return submit(self._api, asked.request, tag, asked.key_tag, look_first=self._attach)
        except ComputeError as error:
            return error
