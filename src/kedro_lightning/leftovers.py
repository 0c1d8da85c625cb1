"""What runs on the platform and costs, though no run here waits for it."""

from __future__ import annotations

from pathlib import Path

from .config import ComputeConfig
from .platform.client import connect
from .platform.jobs import JobsApi
from .platform.studios import StudiosApi
from .run_state import FOLDER, read_state
from .runner import orphans


def left_running(project: Path, config: ComputeConfig) -> tuple[list[str], list[str]]:
    """Asks the platform; nothing is changed.

    Args:
        project: The project's folder, which knows of its runs.
        config: Its ``compute.yml``.

    Returns:
        The names of running jobs of this plugin that are of no unfinished run here, and those of the Studios of
        ``compute.yml`` that are awake.

    Raises:
        NotSignedInError: There is no account.
        ComputeError: The platform does not answer, or a run's file cannot be read.
    """
    connection = connect(config.teamspace)
    states = [read_state(project, file.stem) for file in sorted((project / FOLDER / "runs").glob("*.json"))]
    waited_for = {str(job["job_id"]) for state in states if not state.finished for job in state.jobs.values()}
    jobs = [job.name for job in orphans(JobsApi(connection, lists_several=True), waited_for)]
    ours = {studio.name for studio in config.studios.values()}
    return jobs, [studio.name for studio in StudiosApi(connection).list() if studio.name in ours and studio.running]
