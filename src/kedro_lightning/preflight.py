"""Everything that must be right before money is spent, checked once; then the code is brought to the Studios."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.utils import is_kedro_project

from .code import Source, bring_code, pushed_commit
from .config import ComputeConfig, conf_source
from .costs import Ledger, refresh
from .errors import BudgetError, PlatformError, PreflightError
from .hooks import RunContext
from .jobs.starting import RunBudget
from .jobs.work import Work
from .node_jobs import NodeJob, params_variable, work_of_job
from .packages import check_installed
from .places import check_places, folder_settings
from .plan import Plan, make_plan
from .platform.client import Connection, connect
from .platform.jobs import JobsApi
from .platform.machines import PriceList, cached_prices, read_prices
from .platform.studios import StudiosApi, StudioView
from .run_state import FOLDER, own_folder
from .times import JobTimes

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A run that may start: every check is passed, the code is on its way."""

    connection: Connection
    plan: Plan
    works: dict[str, Work]
    budget: RunBudget
    ledger: Ledger
    code: str


@dataclass(frozen=True)
class Market:
    """What is offered today, and what was paid before."""

    connection: Connection
    prices: PriceList
    ledger: Ledger


def preflight(
    pipeline: Pipeline,
    jobs: list[NodeJob],
    catalog: CatalogProtocol[Any, Any],
    config: ComputeConfig,
    context: RunContext,
    run_id: str,
    done: Collection[str] = (),
) -> Ready:
    """Checks a run and brings the code to its Studios; rents nothing.

    What can be checked without the platform is checked first.

    Args:
        pipeline: What is run.
        jobs: The jobs of the pipeline.
        catalog: Where its datasets are.
        config: The settings.
        context: How the run was started.
        run_id: The run.
        done: Nodes that an earlier driver of the run has done; they cost nothing more.

    Raises:
        ComputeError: Something is missing; the message says what, and where to set it.
    """
    check_places(pipeline, jobs, catalog, config, context.project, folder_settings(context.loader, context.project))
    _check_project(context.project)
    _check_conf_source(context)
    _check_params(context.params)
    check_budget_is_set(config)
    commit = commit_of(context.project, config)
    market = open_market(context.project, config)
    times = JobTimes(config, market.ledger, context.loader)
    plan = make_plan(pipeline, jobs, catalog, config, market.prices, times)
    minutes = {row.name: row.minutes or 0.0 for row in plan.rented}
    refresh(market.ledger, JobsApi(market.connection, lists_several=True), running_only=True)
    plan = plan.without(market.ledger.completed(run_id), done)
    budget = check_money(plan, config, market.ledger, run_id, market.connection.teamspace.balance_usd)
    tasks = [job.task for job in jobs]
    studios, source = ready_studios(context.project, config, StudiosApi(market.connection), tasks, commit)
    works = {
        job.name: work_of_job(job, config, market.prices, minutes[job.name], studios[job.task], source, run_id, context)
        for job in jobs
    }
    return Ready(market.connection, plan, works, budget, market.ledger, source.version)


def check_budget_is_set(config: ComputeConfig) -> None:
    """Checks that somebody has said what may be spent.

    Raises:
        BudgetError: Nobody has.
    """
    if config.budget.run_usd is None:
        raise BudgetError(
            "compute: budget.run_usd: not set, so nothing is rented. Set the USD a run may cost in compute.yml."
        )


def commit_of(project: Path, config: ComputeConfig) -> tuple[str, str] | None:
    """Returns repository and commit where the code travels so, or ``None`` where it travels as a bundle.

    Raises:
        PreflightError: The commit is not all there is, or is not pushed.
    """
    return pushed_commit(project, config.data.bundled) if config.code.mode == "git" else None


def open_market(project: Path, config: ComputeConfig) -> Market:
    """Signs in and reads the prices of the day.

    Raises:
        ComputeError: Nobody is signed in, or there are no prices.
    """
    connection = connect(config.teamspace)
    return Market(connection, current_prices(connection, project), Ledger(project / config.ledger))


def ready_studios(
    project: Path, config: ComputeConfig, api: StudiosApi, tasks: Iterable[str], commit: tuple[str, str] | None
) -> tuple[dict[str, StudioView], Source]:
    """Brings the code to the Studios of some tasks; returns these by task, and where the machines find the code.

    Raises:
        PreflightError: A Studio, a secret or a package is missing.
    """
    studios = api.of_tasks(tasks, config)
    api.check_secrets("secrets", config.secrets)
    if config.code.check_packages:
        check_installed(project, studios, api)
    return studios, bring_code(project, config, api, studios.values(), commit)


def price_cache(project: Path) -> Path:
    """Returns where prices are kept between runs."""
    return project / FOLDER / "prices.json"


def current_prices(connection: Connection, project: Path) -> PriceList:
    """Returns today's prices; those of an earlier day only where the platform does not answer, with a warning.

    Raises:
        PreflightError: There are neither.
    """
    cache = price_cache(project)
    own_folder(project)
    try:
        prices = read_prices(connection, cache)
    except PlatformError as error:
        kept = cached_prices(cache)
        if kept is None:
            raise
        logger.warning("%s Prices of %s are used.", error, kept.read_at)
        return kept
    if not prices.machines:
        raise PreflightError(f"Teamspace {connection.teamspace.name!r} offers no machines.")
    return prices


def check_money(
    plan: Plan,
    config: ComputeConfig,
    ledger: Ledger,
    run_id: str,
    balance_usd: float | None,
) -> RunBudget:
    """Checks that the estimate is within what the budgets and the credit leave; returns what may be spent.

    Raises:
        BudgetError: It is not.
    """
    budget = config.budget
    spent = ledger.spent(run_id=run_id)
    limits = {"budget.run_usd": float(budget.run_usd or 0.0)}
    if budget.month_usd is not None:
        month = dt.datetime.now(dt.UTC).strftime("%Y-%m")
        limits["budget.month_usd"] = budget.month_usd - (ledger.spent(month=month) - spent)
    if balance_usd is not None:
        limits["the credit of the teamspace"] = balance_usd + spent
    name, limit = min(limits.items(), key=lambda item: item[1])
    if plan.usd > limit - spent:
        raise BudgetError(
            f"What is to be run is estimated at {plan.usd:.2f} USD and {max(0.0, limit - spent):.2f} USD are left by "
            f"{name}. Nothing was started. See 'kedro compute plan'; set the budget in compute.yml."
        )
    return RunBudget(limit, spent)


def _check_project(project: Path) -> None:
    if not is_kedro_project(project):
        raise PreflightError(
            f"{project}: a job is 'kedro run' in a copy of this folder, whose pyproject.toml has no [tool.kedro]. Run "
            "from the project's own folder; an installed package of a project cannot start jobs."
        )


def _check_conf_source(context: RunContext) -> None:
    own = context.project / conf_source()
    source = getattr(context.loader, "conf_source", own)
    if Path(source).resolve() != own.resolve():
        raise PreflightError(
            f"--conf-source: {source}: a job reads the project's own configuration, {own}, and would run with other "
            "settings than this run. Leave the option out, and put what differs into an environment of that folder."
        )


def _check_params(params: Mapping[str, object]) -> None:
    try:
        params_variable(params)
    except ValueError as error:
        raise PreflightError(
            f"--params: {error}: this value cannot be serialised for another machine. Put it into a file of "
            "the environment."
        ) from None
