"""``kedro compute deploy``: a service on rented machines, its releases, and the way back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .cli_common import env_option, examples, json_option, one_message, prices_to_show, print_json, settings
from .config import ComputeConfig, DeploymentSettings
from .errors import BudgetError, PreflightError, SettingsError
from .platform.client import Connection, connect
from .platform.deployments import DeploymentsApi, DeploymentView, deployment_of
from .platform.machines import Machine, PriceList
from .platform.studios import StudiosApi, StudioView
from .preflight import current_prices


@click.command(
    short_help="Start, change, roll back or stop a service with replicas.",
    epilog=examples(
        "kedro compute deploy speller --dry-run",
        "kedro compute deploy speller --release fp_1a2b3c4d5e6f",
        "kedro compute deploy speller --back",
    ),
)
@click.argument("name")
@click.option("--release", default="", help="A word for this release; another word makes a new release.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent and what it costs an hour; start nothing.")
@click.option("--back", is_flag=True, help="Roll back to the release before the one that runs now.")
@click.option("--status", is_flag=True, help="Show what runs, and the releases.")
@click.option("--stop", is_flag=True, help="Stop all replicas.")
@env_option
@json_option
def deploy(
    name: str, release: str, dry_run: bool, back: bool, status: bool, stop: bool, env: str | None, as_json: bool
) -> None:
    """Start the service NAME of compute.yml, or update the one that runs.

    A new release takes over replica by replica: the new one has to answer its health check first.
    """
    if sum((dry_run, back, status, stop)) > 1:
        raise click.UsageError("--dry-run, --back, --status and --stop exclude each other.")
    with one_message():
        project, config = settings(env)
        wanted = _settings_of(config, name)
        if dry_run:
            _show(_planned(project, config, name, wanted, release), as_json)
            return
        connection = connect(config.teamspace)
        api = DeploymentsApi(connection)
        if stop:
            found = api.stop(name)
        elif back:
            found = _back(api, name)
        elif status:
            found = api.get(name)
        else:
            found = _start(api, connection, project, config, name, wanted, release)
        _show({**asdict(found), "releases": [asdict(each) for each in api.releases(name)]}, as_json)


def _settings_of(config: ComputeConfig, name: str) -> DeploymentSettings:
    if name not in config.deployments:
        known = ", ".join(config.deployments) or "none"
        raise SettingsError(f"compute: deployments: there is no {name!r}. Known: {known}.")
    return config.deployments[name]


def _back(api: DeploymentsApi, name: str) -> DeploymentView:
    releases, now = api.releases(name), api.get(name)
    place = next((i for i, release in enumerate(releases) if release.id == now.release_id), 0)
    if place + 1 >= len(releases):
        raise PreflightError(f"deployment {name}: there is no release before the one that runs.")
    return api.restore(name, releases[place + 1])


def _start(
    api: DeploymentsApi,
    connection: Connection,
    project: Path,
    config: ComputeConfig,
    name: str,
    wanted: DeploymentSettings,
    release: str,
) -> DeploymentView:
    machine = _machine(current_prices(connection, project), name, wanted)
    most = _usd_per_hour(machine, wanted)[1]
    if wanted.most_usd_per_hour is None or most > wanted.most_usd_per_hour:
        raise BudgetError(
            f"compute: deployments.{name}.most_usd_per_hour: {wanted.most_usd_per_hour}; {wanted.max_replicas} "
            f"replicas on {machine.name} cost {most:.2f} USD an hour. Raise it, or lower max_replicas."
        )
    studios = StudiosApi(connection)
    studio = studios.of_tasks([wanted.task], config)[wanted.task]
    studios.check_secrets(f"deployments.{name}.secrets", wanted.secrets)
    return api.deploy(name, wanted, studio, machine.slug, release)


def _planned(
    project: Path, config: ComputeConfig, name: str, wanted: DeploymentSettings, release: str
) -> dict[str, Any]:
    prices = prices_to_show(project, config, [wanted.machine])
    machine = _machine(prices, name, wanted)
    studio = StudioView(f"<{config.studio_of(wanted.task).name}>", "", "<its cloud>", "", "", 0.0, True)
    body = deployment_of(name, wanted, studio, machine.slug, release, "<teamspace>")
    least, most = _usd_per_hour(machine, wanted)
    return {
        "deployment": _without_empty(body.to_dict()),
        "usd_per_hour": {"least": round(least, 4), "most": round(most, 4), "prices": prices.source},
        "may_cost_usd_per_hour": wanted.most_usd_per_hour,
    }


def _machine(prices: PriceList, name: str, wanted: DeploymentSettings) -> Machine:
    machine = prices.find(wanted.machine)
    if machine is None:
        known = ", ".join(sorted({each.name for each in prices.machines})) or "none"
        raise PreflightError(f"compute: deployments.{name}.machine: {wanted.machine!r} is not offered. Known: {known}.")
    return machine


def _usd_per_hour(machine: Machine, wanted: DeploymentSettings) -> tuple[float, float]:
    price = machine.price(wanted.interruptible)
    return price * wanted.min_replicas, price * wanted.max_replicas


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: found for key, each in value.items() if (found := _without_empty(each)) not in (None, {}, [])}
    return [_without_empty(each) for each in value] if isinstance(value, list) else value


def _show(content: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(content)
    elif "deployment" in content:
        import yaml

        click.echo(yaml.safe_dump(content["deployment"], sort_keys=False), nl=False)
        cost = content["usd_per_hour"]
        what = f"{cost['least']:.2f} to {cost['most']:.2f} USD an hour"
        click.echo(f"# {what} (prices: {cost['prices']}); nothing was started.")
    else:
        click.echo(
            f"{content['name']}: {content['state'] or 'unknown'}, release {content['label'] or content['release_id']}, "
            f"{content['ready_replicas']} replicas ready of {content['min_replicas']} to {content['max_replicas']}"
        )
        for url in content["urls"]:
            click.echo(f"  {url}")
        for release in content["releases"]:
            runs = "runs" if release["id"] == content["release_id"] else "kept"
            click.echo(f"  release {release['version']} {release['label']} ({runs})")
