"""Stopping all jobs of a run, and not believing it before the platform says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ..errors import PlatformError
from ..platform.jobs import JobsApi, JobView

logger = logging.getLogger(__name__)


def stop_all(api: JobsApi, tag: str, known: Iterable[JobView], seconds: float = 120.0) -> list[str]:
    """Stops jobs, those included whose creation was never answered.

    Args:
        api: The platform's jobs.
        tag: Tag of the run.
        known: Jobs that run as far as we know.
        seconds: How long to try.

    Returns:
        Names of jobs that could not be stopped.
    """
    end = time.monotonic() + seconds
    left = {job.id: job for job in known}
    asked: set[str] = set()
    while True:
        new = [job for job in left.values() if job.id not in asked]
        try:
            if new:
                with ThreadPoolExecutor(min(8, len(new))) as pool:
                    list(pool.map(api.stop, new))
                asked.update(job.id for job in new)
            left = {job.id: job for job in api.find_all(tag) if not job.state.ended}
        except PlatformError as error:
            logger.warning("%s Trying again to stop the jobs.", error)
        else:
            if not left:
                return []
        if time.monotonic() > end:
            return sorted(job.name for job in left.values())
        if not any(job.id not in asked for job in left.values()):
            time.sleep(0.5)
