"""From tag to job: which nodes of a pipeline go together to a rented machine, and what their job does there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .code import Source
from .config import ComputeConfig
from .errors import SettingsError
from .hooks import RunContext
from .job_script import job_script
from .jobs.work import Attempt, Work
from .platform.machines import Machine, PriceList, choose, known_machine
from .platform.studios import StudioView
from .variables import PARAMS_VARIABLE, RUN_ID_VARIABLE

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

JOB_RUNNER = f"{__package__}.runner.JobRunner"

_NO_DEFAULTS = tuple(
    f"--{option}="
    for option in ("tags", "from-nodes", "to-nodes", "from-inputs", "to-outputs", "namespaces", "runner-params")
)
"""The run has chosen the nodes; what a project has as defaults of its ``kedro run`` must not choose again."""


@dataclass(frozen=True)
class NodeJob:
    """Nodes that one job runs; ``name`` is that of the node, or of the group."""

    name: str
    tier: str
    task: str
    nodes: tuple[str, ...]


def make_node_jobs(pipeline: Pipeline, config: ComputeConfig, here: Collection[str] = ()) -> list[NodeJob]:
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
        if node.name not in here and _tier_of(node, config) is not None:
            groups.setdefault(_group_of(node, config) or node.name, []).append(node)
    jobs = []
    for name, nodes in groups.items():
        names = [node.name for node in nodes]
        tiers = {str(_tier_of(node, config)) for node in nodes}
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
        jobs.append(NodeJob(name, tiers.pop(), str(tasks.pop()), tuple(names)))
    return jobs


def parents_outside(pipeline: Pipeline, job: NodeJob) -> set[str]:
    """Returns the nodes outside a job that must be done before it can start."""
    return {
        parent.name
        for node, parents in pipeline.node_dependencies.items()
        if node.name in job.nodes
        for parent in parents
        if parent.name not in job.nodes
    }


def datasets_across(pipeline: Pipeline, job: NodeJob) -> tuple[list[str], list[str]]:
    """Returns the datasets a job reads from elsewhere, and those it leaves for others; parameters are neither."""
    from kedro.io.core import is_parameter

    inside = pipeline.only_nodes(*job.nodes)
    elsewhere = (pipeline - inside).all_inputs()
    inputs = sorted(name for name in inside.inputs() if not is_parameter(name))
    outputs = sorted(inside.outputs() | (inside.all_outputs() & elsewhere))
    return inputs, outputs


def machines_of(tier: str, gigabytes: float, asked_by: str, config: ComputeConfig, prices: PriceList) -> list[Machine]:
    """Returns the machines of a tier that have the memory, cheapest first.

    Args:
        tier: Name of the tier.
        gigabytes: Memory that is needed on the accelerator.
        asked_by: The setting that says so.
        config: The settings.
        prices: What is offered.

    Raises:
        SettingsError: The tier names a machine that does not exist, or none of its machines has the memory.
    """
    settings = config.tiers[tier]
    for name in settings.machines:
        if known_machine(name) is None and prices.find(name) is None:
            known = ", ".join(sorted({machine.name for machine in prices.machines})) or "none"
            raise SettingsError(
                f"compute: tiers.{tier}.machines: there is no machine {name!r}. Available now: {known}."
            )
    found = choose(prices, settings.machines, gigabytes, settings.interruptible)
    if not found:
        raise SettingsError(
            f"compute: tiers.{tier}.machines: none of {', '.join(settings.machines)} is offered with the "
            f"{gigabytes:g} GB that {asked_by} asks for. Add a larger machine."
        )
    return found


def machines_of_job(job: NodeJob, config: ComputeConfig, prices: PriceList) -> list[Machine]:
    """Returns the machines a job may run on, cheapest first.

    Raises:
        SettingsError: There is none.
    """
    gigabytes = max(config.hint_of(node).gpu_gigabytes for node in job.nodes)
    return machines_of(job.tier, gigabytes, f"nodes.{job.nodes[0]}.gpu_gigabytes", config, prices)


def work_of_job(
    job: NodeJob,
    config: ComputeConfig,
    prices: PriceList,
    minutes: float,
    studio: StudioView,
    source: Source,
    run_id: str,
    context: RunContext,
) -> Work:
    """Returns what is to be done for a job: ``kedro run`` of its nodes, as a part of this run.

    Args:
        job: The nodes.
        config: The settings.
        prices: What is offered.
        minutes: How long it will probably take.
        studio: The Studio it starts from.
        source: Where the machine finds the code.
        run_id: The run it is a part of.
        context: The environment, the pipelines and the parameters of that run.
    """
    tier = config.tiers[job.tier]
    machines = tuple(machines_of_job(job, config, prices))
    command = kedro_run(job.nodes, context.env, context.options.get("pipeline_names") or ())
    variables = {**config.variables_of(job.task), **params_variable(context.params), RUN_ID_VARIABLE: run_id}

    def script(attempt: Attempt) -> str:
        folder = f"{job.name}-{attempt.number}"
        return job_script(command, source, config.data.mounts, attempt.limit_seconds, folder, tier.num_machines)

    return Work(
        key=job.name,
        title=job.name,
        command=script,
        studio_id=studio.id,
        machines=machines,
        env=tuple(sorted(variables.items())),
        interruptible=tier.interruptible,
        num_machines=tier.num_machines,
        longest_seconds=tier.longest_minutes * 60,
        expected_seconds=minutes * 60,
        priority=max(config.hint_of(node).impact for node in job.nodes),
    )


def kedro_run(nodes: Collection[str], env: str | None, pipelines: Collection[str] = ()) -> list[str]:
    """Returns the ``kedro run`` of some nodes of pipelines in a job; parameters come in a variable."""
    command = ["kedro", "run", f"--nodes={','.join(nodes)}", f"--runner={JOB_RUNNER}", *_NO_DEFAULTS]
    if pipelines:
        command.append(f"--pipelines={','.join(pipelines)}")
    return [*command, f"--env={env}"] if env else command


def params_variable(params: Mapping[str, object]) -> dict[str, str]:
    """Returns the variable that gives a job the parameters of its run; nothing where there are none.

    Raises:
        ValueError: A value would not come back as it was; the message is its name.
    """
    if lost := next(_lost(params), None):
        raise ValueError(lost)
    return {PARAMS_VARIABLE: json.dumps(params)} if params else {}


def _lost(params: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yields the names of values that JSON does not give back as they were."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _lost(value, f"{prefix}{name}.")
            continue
        try:
            comes_back = json.loads(json.dumps(value)) == value
        except (TypeError, ValueError):
            comes_back = False
        if not comes_back:
            yield f"{prefix}{name}"


def _tier_of(node: Node, config: ComputeConfig) -> str | None:
    """Returns the tier of a node, or ``None`` for one that runs here."""
    tags = sorted(tag for tag in node.tags if tag in config.tags)
    if len(tags) > 1:
        raise SettingsError(
            f"compute: tags: node {node.name!r} has {len(tags)} tags that name a tier: "
            f"{', '.join(f'{tag} -> {config.tags[tag]}' for tag in tags)}. Leave it one of them."
        )
    return (config.hint_of(node.name).tier or config.tags[tags[0]]) if tags else None


def _group_of(node: Node, config: ComputeConfig) -> str | None:
    groups = sorted(tag for tag in node.tags if tag.startswith(config.group_prefix))
    if len(groups) > 1:
        raise SettingsError(f"compute: node {node.name!r} is in {len(groups)} groups: {', '.join(groups)}.")
    return groups[0] if groups else None


def _between(pipeline: Pipeline, inside: set[str]) -> set[str]:
    """Returns the nodes outside that come after one node of a group and before another."""
    after, before = pipeline.from_nodes(*inside), pipeline.to_nodes(*inside)
    return {node.name for node in (after & before).nodes} - inside
