"""The plan of a run: what would run where, for how long and for how much; nothing is started."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import ComputeConfig
from .errors import SettingsError
from .ledger import Ledger
from .places import crossing, is_parameter, place_of, size_of
from .platform.machines import Machine, PriceList, choose, known_machine
from .units import Unit, make_units, unit_of

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
    usd: float
    inputs: tuple[tuple[str, int | None], ...]
    outputs: tuple[tuple[str, int | None], ...]

    def as_record(self) -> dict[str, Any]:
        """Returns the row as plain values."""
        return {
            "name": self.name, "nodes": list(self.nodes), "task": self.task, "tier": self.tier,
            "machine": self.machine.name if self.machine else HERE, "interruptible": self.interruptible,
            "usd_per_hour": self.usd_per_hour, "minutes": self.minutes, "estimated_from": self.estimated_from,
            "usd": self.usd, "inputs": dict(self.inputs), "outputs": dict(self.outputs),
        }  # fmt: skip


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

    def as_record(self) -> dict[str, Any]:
        """Returns the plan as plain values."""
        return {
            "rows": [row.as_record() for row in self.rows],
            "usd": round(self.usd, 4),
            "prices_read_at": self.prices_read_at,
            "prices_source": self.prices_source,
        }


def machines_of(unit: Unit, config: ComputeConfig, prices: PriceList) -> list[Machine]:
    """Returns the machines a unit may run on, cheapest first.

    Raises:
        SettingsError: The tier names a machine that does not exist, or none of its machines has the memory.
    """
    tier = config.tiers[unit.tier]
    for name in tier.machines:
        if known_machine(name) is None and prices.find(name) is None:
            known = ", ".join(sorted({machine.name for machine in prices.machines})) or "none"
            raise SettingsError(
                f"compute: tiers.{unit.tier}.machines: there is no machine {name!r}. To be had now: {known}."
            )
    gigabytes = max(config.hint_of(node).gpu_gigabytes for node in unit.nodes)
    found = choose(prices, tier.machines, gigabytes, tier.interruptible)
    if not found:
        raise SettingsError(
            f"compute: tiers.{unit.tier}.machines: none of {', '.join(tier.machines)} is offered with the "
            f"{gigabytes:g} GB that nodes.{unit.nodes[0]}.gpu_gigabytes asks for. Add a larger machine."
        )
    return found


def make_plan(
    pipeline: Pipeline,
    catalog: CatalogProtocol[Any, Any] | None,
    config: ComputeConfig,
    price_source: Callable[[set[str]], PriceList],
    ledger: Ledger,
    here: Collection[str] = (),
) -> Plan:
    """Makes the plan of a pipeline.

    Args:
        pipeline: What would run.
        catalog: For the sizes of datasets; ``None`` to leave them out.
        config: The settings.
        price_source: Gives prices for machine names; not asked where nothing is rented.
        ledger: Past runs.
        here: Nodes that are not sent out.

    Raises:
        SettingsError: The settings do not fit the pipeline.
    """
    units = make_units(pipeline, config, here)
    wanted = {name for unit in units for name in config.tiers[unit.tier].machines}
    prices = price_source(wanted) if units else PriceList((), "", "none")
    by_node = unit_of(units)
    rows: list[PlanRow] = []
    seen: set[str] = set()
    for node in pipeline.nodes:
        unit = by_node.get(node.name)
        if unit is None:
            sizes = (_sizes(node.inputs, catalog), _sizes(node.outputs, catalog))
            rows.append(PlanRow(node.name, (node.name,), "", HERE, None, False, 0.0, None, "", 0.0, *sizes))
        elif unit.name not in seen:
            seen.add(unit.name)
            rows.append(_rented(pipeline, unit, catalog, config, prices, ledger))
    return Plan(tuple(rows), prices.read_at, prices.source)


def _rented(
    pipeline: Pipeline,
    unit: Unit,
    catalog: CatalogProtocol[Any, Any] | None,
    config: ComputeConfig,
    prices: PriceList,
    ledger: Ledger,
) -> PlanRow:
    tier = config.tiers[unit.tier]
    machine = machines_of(unit, config, prices)[0]
    minutes, source = minutes_of(unit, machine, config, ledger)
    usd_per_hour = machine.price(tier.interruptible) * tier.num_machines
    inputs, outputs = crossing(pipeline, unit)
    return PlanRow(
        unit.name, unit.nodes, unit.task, unit.tier, machine, tier.interruptible, usd_per_hour, minutes, source,
        usd_per_hour * minutes / 60, _sizes(inputs, catalog), _sizes(outputs, catalog),
    )  # fmt: skip


def minutes_of(unit: Unit, machine: Machine, config: ComputeConfig, ledger: Ledger) -> tuple[float, str]:
    """Returns the minutes a unit will probably take, and what that was taken from."""
    past = ledger.minutes(unit.name, machine.name)
    if past is not None:
        return past, "past runs"
    return sum(config.hint_of(node).minutes for node in unit.nodes), "compute.yml"


def _sizes(names: Any, catalog: CatalogProtocol[Any, Any] | None) -> tuple[tuple[str, int | None], ...]:
    kept = [name for name in names if not is_parameter(name)]
    if catalog is None:
        return tuple((name, None) for name in kept)
    return tuple((name, size_of(place_of(name, catalog))) for name in kept)


def cache_path(project: Path) -> Path:
    """Returns where prices are kept between runs."""
    return project / ".kedro-compute" / "prices.json"
