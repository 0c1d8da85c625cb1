"""Which nodes go together to one rented machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .config import ComputeConfig
from .errors import SettingsError

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node


@dataclass(frozen=True)
class Unit:
    """Nodes that one job runs; ``name`` is that of the node, or of the group."""

    name: str
    tier: str
    task: str
    nodes: tuple[str, ...]


def tier_of(node: Node, config: ComputeConfig) -> str | None:
    """Returns the tier of a node, or ``None`` for one that runs here.

    Raises:
        SettingsError: Two tags of the node name tiers.
    """
    tags = sorted(tag for tag in node.tags if tag in config.tags)
    if len(tags) > 1:
        raise SettingsError(
            f"compute: tags: node {node.name!r} has {len(tags)} tags that name a tier: "
            f"{', '.join(f'{tag} -> {config.tags[tag]}' for tag in tags)}. Leave it one of them."
        )
    return (config.hint_of(node.name).tier or config.tags[tags[0]]) if tags else None


def make_units(pipeline: Pipeline, config: ComputeConfig, here: Collection[str] = ()) -> list[Unit]:
    """Returns the jobs of a pipeline, in an order in which they can run.

    Args:
        pipeline: What is run.
        config: Says which tags name a tier.
        here: Nodes that run on this machine whatever their tags say.

    Raises:
        SettingsError: A node matches two tags, a group cannot be one job, or a node has no Studio.
    """
    groups: dict[str, list[Node]] = {}
    for node in pipeline.nodes:
        if node.name not in here and tier_of(node, config) is not None:
            groups.setdefault(_group_of(node, config) or node.name, []).append(node)
    units = []
    for name, nodes in groups.items():
        names = [node.name for node in nodes]
        tiers = {str(tier_of(node, config)) for node in nodes}
        if len(tiers) > 1:
            raise SettingsError(f"compute: group {name!r}: its nodes name several tiers: {', '.join(sorted(tiers))}.")
        if len(nodes) > 1 and (between := _between(pipeline, set(names))):
            raise SettingsError(
                f"compute: group {name!r} cannot be one job: {', '.join(sorted(between))} would have to run in the "
                "middle of it. Give these nodes the same group, or none."
            )
        tasks = {config.task_of(node) for node in names}
        if None in tasks or len(tasks) > 1:
            known = ", ".join(config.studios) or "none"
            problem = "belong to several Studios" if len(tasks) > 1 else "have no Studio"
            raise SettingsError(
                f"compute: studios: {', '.join(names)} {problem}. Name them in studios.TASK.nodes of exactly one task. "
                f"Tasks: {known}."
            )
        units.append(Unit(name, tiers.pop(), str(tasks.pop()), tuple(names)))
    return units


def unit_of(units: Iterable[Unit]) -> dict[str, Unit]:
    """Returns the unit of each node that has one."""
    return {node: unit for unit in units for node in unit.nodes}


def outside_needs(pipeline: Pipeline, unit: Unit) -> set[str]:
    """Returns the nodes outside a unit that must be done before its job can start."""
    inside = set(unit.nodes)
    return {
        parent.name
        for node, parents in pipeline.node_dependencies.items()
        if node.name in inside
        for parent in parents
        if parent.name not in inside
    }


def _group_of(node: Node, config: ComputeConfig) -> str | None:
    groups = sorted(tag for tag in node.tags if tag.startswith(config.group_prefix))
    if len(groups) > 1:
        raise SettingsError(f"compute: node {node.name!r} is in {len(groups)} groups: {', '.join(groups)}.")
    return groups[0] if groups else None


def _between(pipeline: Pipeline, inside: set[str]) -> set[str]:
    """Returns the nodes outside that come after one node of a group and before another."""
    parents = {node.name: {parent.name for parent in found} for node, found in pipeline.node_dependencies.items()}
    after: set[str] = set()
    for node in pipeline.nodes:  # in an order of execution, so parents come first
        if parents.get(node.name, set()) & (inside | after):
            after.add(node.name)
    before: set[str] = set()
    for node in reversed(pipeline.nodes):
        if node.name in inside or node.name in before:
            before |= parents.get(node.name, set())
    return (after & before) - inside
