"""The plan of a run: what would run where, for how long and for how much; nothing is started."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .config import ComputeConfig
from .node_jobs import NodeJob, datasets_across, machines_of_job
from .places import place_of, size_of
from .platform.machines import Machine, PriceList
from .times import JobTimes

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline

HERE = "here"


@dataclass(frozen=True)
class PlanRow:
    """One line of a plan; ``machine`` is ``None`` for nodes that run on this machine."""

    name: str
    nodes: tuple[str, ...]
    task: str
    tier: str
    machine: Machine | None
    interruptible: bool
    usd_per_hour: float
    minutes: float | None
    estimated_from: str
    notes: tuple[str, ...]
    usd: float
    inputs: tuple[tuple[str, int | None], ...]
    outputs: tuple[tuple[str, int | None], ...]

    def as_record(self) -> dict[str, Any]:
        """Returns the row as plain values."""
        return {
            **vars(self),
            "machine": self.machine.name if self.machine else HERE,
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
        }


@dataclass(frozen=True)
class Plan:
    """All lines of a plan, with the prices they come from."""

    rows: tuple[PlanRow, ...]
    prices_read_at: str
    prices_source: str

    @property
    def usd(self) -> float:
        """The estimate for everything."""
        return sum(row.usd for row in self.rows)

    @property
    def rented(self) -> list[PlanRow]:
        """The lines that need a rented machine."""
        return [row for row in self.rows if row.machine is not None]

    def without(self, jobs: Collection[str], nodes: Collection[str]) -> Plan:
        """Returns the plan without rented machines for these jobs, and for jobs of these nodes alone."""
        done = [row for row in self.rented if row.name in jobs or set(row.nodes) <= set(nodes)]
        return replace(self, rows=tuple(row for row in self.rows if row not in done))

    def as_record(self) -> dict[str, Any]:
        """Returns the plan as plain values."""
        return {
            "rows": [row.as_record() for row in self.rows],
            "usd": round(self.usd, 4),
            "prices_read_at": self.prices_read_at,
            "prices_source": self.prices_source,
        }


def make_plan(
    pipeline: Pipeline,
    jobs: list[NodeJob],
    catalog: CatalogProtocol[Any, Any],
    config: ComputeConfig,
    prices: PriceList,
    times: JobTimes,
) -> Plan:
    """Makes the plan of a pipeline.

    Args:
        pipeline: What would run.
        jobs: The jobs of the pipeline.
        catalog: For the sizes of datasets.
        config: The settings.
        prices: What is offered; empty where there are no jobs.
        times: How long jobs take.

    Raises:
        SettingsError: The settings do not fit the machines that are offered.
    """
    rows: dict[str, PlanRow] = {}
    by_node = {node: job for job in jobs for node in job.nodes}
    for node in pipeline.nodes:
        job = by_node.get(node.name)
        if job is None:
            sizes = (_sizes(node.inputs, catalog), _sizes(node.outputs, catalog))
            rows[node.name] = PlanRow(node.name, (node.name,), "", HERE, None, False, 0.0, None, "", (), 0.0, *sizes)
        elif job.name not in rows:
            rows[job.name] = _rented(pipeline, job, catalog, config, prices, times)
    return Plan(tuple(rows.values()), prices.read_at, prices.source)


def _rented(
    pipeline: Pipeline,
    job: NodeJob,
    catalog: CatalogProtocol[Any, Any],
    config: ComputeConfig,
    prices: PriceList,
    times: JobTimes,
) -> PlanRow:
    tier = config.tiers[job.tier]
    machine = machines_of_job(job, config, prices)[0]
    time = times.of(job, machine)
    usd_per_hour = machine.price(tier.interruptible) * tier.num_machines
    inputs, outputs = datasets_across(pipeline, job)
    return PlanRow(
        job.name, job.nodes, job.task, job.tier, machine, tier.interruptible, usd_per_hour, time.minutes, time.basis,
        time.notes, usd_per_hour * time.minutes / 60, _sizes(inputs, catalog), _sizes(outputs, catalog),
    )  # fmt: skip


def _sizes(names: list[str], catalog: CatalogProtocol[Any, Any]) -> tuple[tuple[str, int | None], ...]:
    from kedro.io.core import is_parameter

    return tuple((name, size_of(place_of(name, catalog))) for name in names if not is_parameter(name))
