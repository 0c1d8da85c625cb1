"""What ``kedro tune`` prints: the resolved configuration with the origin of each value, the estimate, the result."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from spelling_transfer.commands.tune_plan import Plan
from spelling_transfer.configuration.documents import CONFIG_VERSION
from spelling_transfer.study.estimates import Estimate

_COLUMNS = 80


def configuration_data(plan: Plan) -> dict[str, Any]:
    """Returns the resolved configuration as plain values."""
    return {
        "version": CONFIG_VERSION,
        "settings": {
            ".".join(path): {"value": setting.value, "origin": setting.origin}
            for path, setting in plan.settings.items()
        },
        "constraints": [str(constraint) for constraint in plan.space.constraints],
    }


def print_configuration(plan: Plan) -> None:
    """Prints each setting with its value below the place that set it, in 80 columns."""
    by_place: dict[str, list[tuple[str, str, str]]] = {}
    for path, setting in plan.settings.items():
        place, _, key = setting.origin.partition(":")
        by_place.setdefault(place, []).append((".".join(path), _short(setting.value), key))
    width = max(len(name) for rows in by_place.values() for name, _, _ in rows)
    for place, rows in by_place.items():
        click.secho(place, bold=True)
        for name, value, key in rows:
            # The key is told where it is not the setting's own name, as in a preset that others extend.
            elsewhere = f"  ({key})" if key and not name.endswith(key) else ""
            said = f"{value}{elsewhere}"
            if width + len(said) > _COLUMNS - 4:  # what does not fit beside its name stands below it
                click.echo(f"  {name}\n   {said}")
            else:
                click.echo(f"  {name:<{width}}  {said}")
    for constraint in plan.space.constraints:
        click.echo(f"constraint: {constraint}")


def plan_data(plan: Plan, found: Estimate) -> dict[str, Any]:
    """Returns the plan as plain values."""
    data = {
        "study": plan.study.name,
        "sampler": plan.study.sampler,
        "pruner": plan.study.pruner,
        "focus": plan.study.focus_name,
        "model": plan.profile.name,
        "searched": plan.space.as_data(),
        "estimate": asdict(found),
    }
    if plan.study.sweep:
        from spelling_transfer.tracking import sweep_config

        data["sweep"] = sweep_config(plan.study, plan.space)
    return data


def print_plan(plan: Plan, found: Estimate, *, err: bool) -> None:
    """Prints what a study will try and take."""
    study = plan.study
    of = "" if found.configurations is None else f" of {found.configurations:,} configurations"
    names = ", ".join(plan.space.entries) or "nothing: the default configuration"
    lines = {
        "study": f"{study.name} ({study.focus_name} focus), {plan.profile.name}",
        "searched": names,
        "sampler": f"{study.sampler}, pruner {study.pruner}",
        "trials": f"{found.trials:,}{of}",
        "steps": f"at most {found.steps:,}, {found.examples:,} examples, {found.evaluations:,} evaluations",
        "memory": _memory(found),
        "time": _time(found),
        "arms": _arms(found),
        "cost": _cost(plan, found),
    }
    if study.sweep:
        lines["sweep"] = "the server of Weights & Biases chooses; --dry-run --json shows its configuration"
    for name, text in lines.items():
        click.echo(f"{name:<9} {text}", err=err)


def _memory(found: Estimate) -> str:
    there = f"{found.machine_gib:g} GiB ({found.tier})"
    return f"unknown, of {there}" if found.memory_gib is None else f"about {found.memory_gib:.1f} GiB of {there}"


def _time(found: Estimate) -> str:
    if found.hours is None or found.hours_with_workers is None:
        return found.basis
    shared = f", {_duration(found.hours_with_workers)} with {found.workers} workers" if found.workers > 1 else ""
    return f"about {_duration(found.hours)}{shared} ({found.basis})"


def _arms(found: Estimate) -> str:
    number = found.arm_trainings
    said = f"{number} training{'' if number == 1 else 's'} with the best configuration, after the trials"
    return said if found.arm_hours is None else f"{said}: about {_duration(found.arm_hours)} more"


def _cost(plan: Plan, found: Estimate) -> str:
    if found.cost_usd is None:
        return "unknown"
    rented = f"{found.cost_usd:.2f} USD on a rented {found.tier}"
    return rented if plan.study.backend != "local" else f"{rented}; none on a machine of your own"


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} hours"
    number, unit = (round(hours * 60), "minute") if hours * 60 >= 1 else (round(hours * 3600), "second")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
