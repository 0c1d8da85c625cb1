"""Starting a job once, whatever the platform answers."""

from __future__ import annotations

import logging
import time

from ..errors import ConflictError, PlatformError, TransientError
from ..platform.jobs import JobRequest, JobsApi, JobView

logger = logging.getLogger(__name__)

_ATTEMPTS = 8
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 15.0


def submit(api: JobsApi, request: JobRequest, run_tag: str, key_tag: str, *, look_first: bool = False) -> JobView:
    """Returns the job for a request, making it unless it is there.

    A request without an answer may have made a job. It is looked for by the tag that no other attempt carries before
    anything is asked again; where two are found in the end, the older one stays.

    Args:
        api: The platform's jobs.
        request: The job, ``run_tag`` and ``key_tag`` among its tags.
        run_tag: Tag of the run, by which jobs are listed.
        key_tag: Tag of this attempt alone.
        look_first: Look before asking at all, as one must after a driver was killed.

    Raises:
        PlatformError: The platform refused, or did not answer for long.
    """
    last: PlatformError | None = None
    for attempt in range(_ATTEMPTS):
        if (attempt or look_first) and (found := find(api, run_tag, key_tag)) is not None:
            return found
        try:
            return api.create(request)
        except ConflictError as error:
            last = error
            if (found := find(api, run_tag, key_tag)) is not None:
                return found
            raise
        except TransientError as error:
            last = error
            logger.info("%s Looking whether it was done.", error)
            time.sleep(min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**attempt))
    if (found := find(api, run_tag, key_tag)) is not None:
        return found
    raise last or PlatformError(f"start job {request.name}: the platform did not do it.")


def find(api: JobsApi, run_tag: str, key_tag: str) -> JobView | None:
    """Returns the job of an attempt, the oldest if there are several, which it stops but for that one."""
    return keep_oldest(api, [job for job in api.find_all(run_tag) if key_tag in job.tags])


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
