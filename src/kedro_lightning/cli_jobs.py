"""``kedro compute status``, ``logs`` and ``stop``."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from .cli_common import env_option, examples, json_option, one_message, print_json, print_table, settings
from .errors import ComputeError
from .jobs.starting import STOP_SECONDS, stop_all
from .jobs.work import run_tag
from .platform.client import connect
from .platform.deployments import DeploymentsApi
from .platform.jobs import MARK, JobsApi, JobView, State
from .platform.studios import StudiosApi


@click.command(
    short_help="Show the jobs of a run, or all that run now.",
    epilog=examples("kedro compute status", "kedro compute status 2026-11-22T02.30.11.123Z --json"),
)
@click.argument("run_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Also jobs that have ended.")
@env_option
@json_option
def status(run_id: str | None, everything: bool, env: str | None, as_json: bool) -> None:
    """Show the jobs of a run, or all jobs of this plugin that run now; and Studios and deployments that run."""
    with one_message():
        _, config = settings(env)
        connection = connect(config.teamspace)
        jobs = JobsApi(connection, lists_several=True).find_all(run_tag(run_id) if run_id else MARK)
        if not (everything or run_id):
            jobs = [job for job in jobs if not job.state.ended]
        rows = [_row(job) for job in jobs]
        awake = [
            {"name": studio.name, "machine": studio.machine, "idle_minutes": studio.idle_minutes}
            for studio in StudiosApi(connection).list()
            if studio.running
        ]
        deployments = DeploymentsApi(connection).running(config.deployments)
        if as_json:
            serving = [asdict(deployment) for deployment in deployments]
            content = {"jobs": rows, "studios_awake": awake, "deployments": serving}
            print_json({**content, "credit_usd": connection.teamspace.balance_usd})
            return
        if rows:
            print_table(
                rows,
                {"name": "JOB", "state": "STATE", "machine": "MACHINE", "minutes": "MINUTES", "cost_usd": "USD",
                 "message": "MESSAGE"},
            )  # fmt: skip
        else:
            click.echo("No job runs." if not run_id else f"Run {run_id} has no jobs.")
        for studio in awake:
            click.echo(f"Studio {studio['name']} is awake on {studio['machine']}.")
        for each in deployments:
            click.echo(f"Deployment {each.name} serves with {each.ready_replicas} replicas.")


@click.command(
    short_help="Show or follow the log of a job.", epilog=examples("kedro compute logs train-1a2b3c4d-1 --follow")
)
@click.argument("job")
@click.option("--follow", "-f", is_flag=True, help="Keep printing until the job ends.")
@env_option
def logs(job: str, follow: bool, env: str | None) -> None:
    """Show the log of a JOB, by its name or the beginning of its name; of several, the newest."""
    with one_message():
        _, config = settings(env)
        api = JobsApi(connect(config.teamspace), lists_several=True)
        found = _find(api, job)
        if follow and found.state in (State.PENDING, State.RUNNING):
            while (found := _refresh(api, found)).state is State.PENDING:
                time.sleep(2.0)
            for line in api.follow(found, lambda: _refresh(api, found).state.ended):
                click.echo(line)
            found = _refresh(api, found)
        else:
            for line in api.logs([found])[found.id]:
                click.echo(line)
        if found.state is State.FAILED:
            raise ComputeError(f"Job {found.name} failed: {found.message or 'the platform gives no reason'}.")


@click.command(
    short_help="Stop jobs and Studios.",
    epilog=examples("kedro compute stop --all", "kedro compute stop --run=RUN_ID", "kedro compute stop JOB JOB"),
)
@click.argument("jobs", nargs=-1)
@click.option("--run", "run_id", default=None, help="All jobs of this run.")
@click.option("--all", "everything", is_flag=True, help="All jobs of this plugin, and the Studios of compute.yml.")
@env_option
@json_option
def stop(jobs: tuple[str, ...], run_id: str | None, everything: bool, env: str | None, as_json: bool) -> None:
    """Stop jobs, and with --all the Studios too, and wait until they are stopped.

    Deployments keep serving; with --all, those that cost are named.
    """
    if sum([bool(jobs), bool(run_id), everything]) != 1:
        raise click.UsageError("Name jobs, or give --run=RUN_ID, or --all.")
    with one_message():
        _, config = settings(env)
        connection = connect(config.teamspace)
        api = JobsApi(connection, lists_several=True)
        tag = run_tag(run_id) if run_id else MARK
        wanted = {_find(api, name).id for name in jobs}
        chosen = [job for job in api.find_all(tag) if not job.state.ended and (job.id in wanted or not jobs)]
        ours = {studio.name for studio in config.studios.values()} if everything else set[str]()
        stopped_studios = StudiosApi(connection).stop_running(ours)
        left = stop_all(api, tag, chosen, only_known=bool(jobs))
        if as_json:
            print_json({"stopped": [job.name for job in chosen if job.name not in left], "studios": stopped_studios})
        else:
            click.echo(f"Stopped {len(chosen) - len(left)} jobs and {len(stopped_studios)} Studios.")
        try:
            for each in DeploymentsApi(connection).running(config.deployments) if everything else []:
                end = f"'kedro compute deploy {each.name} --stop' ends it."
                click.echo(f"Deployment {each.name} still serves, and costs: {end}", err=True)
        except ComputeError as error:  # what was not stopped is yet to be said
            click.echo(f"Whether deployments still serve is not known: {error}", err=True)
        if left:
            raise ComputeError(
                f"Not stopped after {STOP_SECONDS:.0f} seconds: {', '.join(left)}. Stop them on the platform's page."
            )


def _find(api: JobsApi, name: str) -> JobView:
    jobs = api.find_all(MARK)
    exact = [job for job in jobs if name in (job.name, job.id)]
    found = exact or [job for job in jobs if job.name.startswith(name)]
    if not found:
        known = ", ".join(sorted({job.name for job in jobs})[-5:]) or "none"
        raise ComputeError(f"There is no job {name!r}. Known: {known}.")
    return max(found, key=lambda job: str(job.created_at or ""))


def _refresh(api: JobsApi, job: JobView) -> JobView:
    return next((other for other in api.find_all(MARK) if other.id == job.id), job)


def _row(job: JobView) -> dict[str, Any]:
    minutes = None
    if job.started_at and job.stopped_at:
        minutes = round((job.stopped_at - job.started_at).total_seconds() / 60, 2)
    return {
        "name": job.name, "id": job.id, "state": job.raw_state, "machine": job.machine, "cost_usd": job.cost_usd,
        "minutes": minutes, "message": job.message, "num_machines": job.num_machines,
    }  # fmt: skip
