"""Everything that must be right before money is spent, and what the jobs of a run need."""

from __future__ import annotations

import datetime as dt
import logging
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .code import make_bundle, packages_json, pushed_commit
from .command import NodeRun, Source, job_script, kedro_run, params_variable
from .config import ComputeConfig
from .errors import BudgetError, PlatformError, PreflightError
from .folders import FolderSetting
from .hooks import RUN_ID_VARIABLE
from .installed import check_installed
from .jobs.money import Purse
from .jobs.work import Attempt, Work
from .ledger import Ledger
from .places import check_places
from .plan import Plan, cache_path, machines_of, make_plan, minutes_of
from .platform.client import Connection, connect
from .platform.jobs import MARK, JobsApi, JobView
from .platform.machines import PriceList, cached_prices, read_prices
from .platform.studios import StudiosApi, StudioView
from .units import Unit, make_units

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline

logger = logging.getLogger(__name__)
JOB_RUNNER = f"{__package__}.runner.JobRunner"


@dataclass(frozen=True)
class Ready:
    """A run that may start: every check is passed, the code is on its way."""

    connection: Connection
    config: ComputeConfig
    units: list[Unit]
    plan: Plan
    works: dict[str, Work]
    purse: Purse
    ledger: Ledger
    code: str


def prepare(
    pipeline: Pipeline,
    catalog: CatalogProtocol[Any, Any],
    config: ComputeConfig,
    project: Path,
    run_id: str,
    env: str | None,
    params: Mapping[str, object],
    *,
    here: Collection[str] = (),
    folders: list[FolderSetting] | None = None,
) -> Ready:
    """Checks a run and brings the code to its Studios; rents nothing.

    What can be checked without the platform is checked first.

    Args:
        pipeline: What is run.
        catalog: Where its datasets are.
        config: The settings.
        project: The project's folder.
        run_id: The run.
        env: Its environment.
        params: Its parameters.
        here: Nodes that are not sent out.
        folders: Settings that are folders, for the message where one of them has to change.

    Raises:
        ComputeError: Something is missing; the message says what, and where to set it.
    """
    units = make_units(pipeline, config, here)
    check_places(pipeline, units, catalog, config, project, folders)
    _check_params(params)
    _check_budget_is_set(config)
    source_commit = pushed_commit(project, config.data.bundled) if config.code.mode == "git" else None
    connection = connect(config.teamspace)
    prices = current_prices(connection, project)
    ledger = Ledger(project / config.ledger)
    plan = make_plan(pipeline, catalog, config, lambda _: prices, ledger, here)
    purse = check_money(plan, config, ledger, run_id, connection.teamspace.balance_usd)
    studios_api = StudiosApi(connection)
    studios = _find_studios(units, config, studios_api)
    check_secrets(config, studios_api)
    if config.code.check_packages:
        check_installed(project, studios, studios_api)
    source = bring_code(project, config, studios_api, studios.values(), source_commit)
    code = f"sha256:{source.bundle.sha256}" if source.bundle else f"git:{source.commit}"
    works = {
        unit.name: _work(unit, config, prices, ledger, studios[unit.task], source, run_id, env, params)
        for unit in units
    }
    return Ready(connection, config, units, plan, works, purse, ledger, code)


def bring_code(
    project: Path,
    config: ComputeConfig,
    api: StudiosApi,
    studios: Iterable[StudioView],
    commit: tuple[str, str] | None = None,
) -> Source:
    """Puts a bundle of the code among the files of Studios, unless a pushed commit says it all."""
    if commit is not None:
        return Source(None, *commit, packages=packages_json(project))
    bundle = make_bundle(project, config.code, config.data.bundled)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bundle.tar.gz"
        file.write_bytes(bundle.content)
        for studio in {studio.id: studio for studio in studios}.values():
            api.upload(studio, file, bundle.place)
    return Source(bundle)


def current_prices(connection: Connection, project: Path) -> PriceList:
    """Returns today's prices; those of an earlier day only where the platform does not answer, with a warning.

    Raises:
        PreflightError: There are neither.
    """
    cache = cache_path(project)
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


def check_money(plan: Plan, config: ComputeConfig, ledger: Ledger, run_id: str, balance_usd: float | None) -> Purse:
    """Makes sure that the estimate is within the budgets and the credit, and returns what may be spent.

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
            f"The run is estimated at {plan.usd:.2f} USD and {max(0.0, limit - spent):.2f} USD are left by {name}. "
            "Nothing was started. See 'kedro compute plan'; set the budget in compute.yml."
        )
    return Purse(limit, spent)


def check_secrets(config: ComputeConfig, api: StudiosApi) -> None:
    """Makes sure that the platform's store holds the secrets the jobs need.

    Raises:
        PreflightError: Names those that it does not.
    """
    if not config.secrets:
        return
    missing = sorted(set(config.secrets) - api.secret_names())
    if missing:
        raise PreflightError(
            f"compute: secrets: the platform's store has no {', '.join(missing)}. Set the variable here and run "
            "'kedro compute studios secrets', which stores it without showing it."
        )


def orphans(api: JobsApi, known_running: set[str]) -> list[JobView]:
    """Returns jobs of this plugin that run although no driver here says so."""
    return [job for job in api.find_all(MARK) if not job.state.ended and job.id not in known_running]


def _check_budget_is_set(config: ComputeConfig) -> None:
    if config.budget.run_usd is None:
        raise BudgetError(
            "compute: budget.run_usd: not set, so nothing is rented. Set the USD a run may cost in compute.yml."
        )


def _check_params(params: Mapping[str, object]) -> None:
    try:
        params_variable(params)
    except ValueError as error:
        raise PreflightError(
            f"--params: {error}: this value cannot be passed on to another machine in writing. Put it into a file of "
            "the environment."
        ) from None


def _find_studios(units: list[Unit], config: ComputeConfig, api: StudiosApi) -> dict[str, StudioView]:
    there = {studio.name: studio for studio in api.list()}
    found, missing = {}, []
    for task in dict.fromkeys(unit.task for unit in units):
        name = config.studios[task].name
        if name in there:
            found[task] = there[name]
        else:
            missing.append(f"{name} (for {task})")
    if missing:
        raise PreflightError(
            f"compute: studios: there is no Studio {', '.join(missing)}. "
            "Set them up with 'kedro compute studios create'."
        )
    return found


def _work(
    unit: Unit,
    config: ComputeConfig,
    prices: PriceList,
    ledger: Ledger,
    studio: StudioView,
    source: Source,
    run_id: str,
    env: str | None,
    params: Mapping[str, object],
) -> Work:
    tier = config.tiers[unit.tier]
    machines = tuple(machines_of(unit, config, prices))
    minutes, _ = minutes_of(unit, machines[0], config, ledger)
    command = kedro_run(NodeRun(run_id, unit.nodes, env, params, JOB_RUNNER))
    variables = {**config.variables_of(unit.task), **params_variable(params), RUN_ID_VARIABLE: run_id}

    def script(attempt: Attempt) -> str:
        folder = f"{unit.name}-{attempt.number}"
        return job_script(command, source, config.data.mounts, attempt.limit_seconds, folder, tier.num_machines)

    return Work(
        key=unit.name,
        title=unit.name,
        command=script,
        studio_id=studio.id,
        machines=machines,
        env=tuple(sorted(variables.items())),
        interruptible=tier.interruptible,
        num_machines=tier.num_machines,
        longest_seconds=tier.longest_minutes * 60,
        expected_seconds=minutes * 60,
        priority=max(config.hint_of(node).impact for node in unit.nodes),
    )
