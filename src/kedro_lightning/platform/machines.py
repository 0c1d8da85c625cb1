"""Machines: what they are called, how much memory they have, and what they cost today."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..files import write_whole
from .client import Connection, import_sdk

GPU_GIGABYTES = {
    "CPU": 0.0, "T4": 16.0, "L4": 24.0, "L40S": 48.0, "A100": 40.0, "A100_80GB": 80.0, "RTXP_6000": 96.0,
    "H100": 80.0, "H200": 141.0, "B200": 180.0,
}  # fmt: skip
"""Memory of one accelerator, from the makers' data sheets; A100 is the smaller of the two sold under the name."""

FALLBACK_USD_PER_HOUR = {
    "CPU": 0.44, "T4": 0.98, "L4": 1.58, "L40S": 4.50, "A100": 5.68, "RTXP_6000": 6.00, "H100": 12.34, "H200": 14.00,
    "B200": 20.00,
}  # fmt: skip
"""High estimates for a plan without a connection; never used where money is spent."""


@dataclass(frozen=True)
class Machine:
    """A machine that can be rented."""

    name: str
    slug: str
    family: str
    accelerators: int
    gpu_gigabytes: float
    usd_per_hour: float
    interruptible_usd_per_hour: float | None = None
    available: bool = True

    def price(self, interruptible: bool) -> float:
        """Returns USD an hour; the full price where the platform names none for interruptible use."""
        if interruptible and self.interruptible_usd_per_hour:
            return self.interruptible_usd_per_hour
        return self.usd_per_hour


@dataclass(frozen=True)
class PriceList:
    """Machines with their prices, and when these were read."""

    machines: tuple[Machine, ...]
    read_at: str
    source: str

    def find(self, name: str) -> Machine | None:
        """Returns the cheapest offer of a machine, by any of its names; offers that are sold out come last."""
        wanted = _names(name)
        offers = [
            machine for machine in self.machines if wanted & ({machine.name, machine.slug} | _names(machine.slug))
        ]
        return min(offers, key=lambda machine: (not machine.available, machine.usd_per_hour), default=None)


def choose(prices: PriceList, names: Sequence[str], gigabytes: float, interruptible: bool) -> list[Machine]:
    """Returns the machines of a tier that have the memory and can be had, cheapest first.

    Prices decide, not the order of a list: an H100 has been cheaper than an A100.
    """
    found = [machine for name in names if (machine := prices.find(name)) and machine.gpu_gigabytes >= gigabytes]
    free = [machine for machine in found if machine.available] or found
    return sorted(free, key=lambda machine: (machine.price(interruptible), machine.gpu_gigabytes, machine.name))


def read_prices(connection: Connection, cache: Path | None = None) -> PriceList:
    """Asks the platform for machines and prices, and keeps the answer with its date.

    Raises:
        PlatformError: The platform does not answer. (The SDK's own method hides that behind an empty list.)
    """
    clusters = connection.read("list clouds", connection.client.cluster_service_list_clusters)
    own = connection.read("list clouds", connection.client.cluster_service_list_project_clusters)
    from lightning_sdk.api.cloud_account_api import CloudAccountApi

    accounts = {entry.id: entry for entry in [*(clusters.clusters or []), *(own.clusters or [])]}
    api = connection.sdk(CloudAccountApi)
    machines: list[Machine] = []
    for identity, account in accounts.items():
        if str(account.spec.cluster_type) != "CLUSTER_TYPE_GLOBAL":
            continue
        answer = connection.calls.read(
            "list machines",
            api.list_cloud_account_accelerators,
            teamspace_id=connection.teamspace.id,
            cloud_account_id=identity,
            org_id=connection.teamspace.owner_id,
        )
        machines += [machine for entry in answer.accelerator or [] if (machine := _machine(entry))]
    prices = PriceList(tuple(machines), dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "platform")
    if cache is not None and machines:
        kept = {"read_at": prices.read_at, "machines": [asdict(machine) for machine in prices.machines]}
        write_whole(cache, json.dumps(kept, indent=1))
    return prices


def cached_prices(cache: Path) -> PriceList | None:
    """Returns the prices kept by the last :func:`read_prices`, with their date."""
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        machines = tuple(Machine(**entry) for entry in content["machines"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return PriceList(machines, str(content["read_at"]), "cache")


def estimated_prices(names: Iterable[str]) -> PriceList:
    """Returns estimates for machines, for a plan made without a connection."""
    machines = []
    for name in names:
        known = known_machine(name)
        if known is not None and (price := FALLBACK_USD_PER_HOUR.get(known.family)):
            machines.append(
                replace(known, usd_per_hour=price * max(1, known.accelerators if known.family != "CPU" else 1))
            )
    return PriceList(tuple(machines), "", "estimate")


def known_machine(name: str) -> Machine | None:
    """Returns what the SDK knows of a machine, or ``None`` for a name that it does not have."""
    found = _sdk_machine(name)
    if found is None:
        return None
    family = str(found.family or "").replace("RTX PRO", "RTXP_6000")
    count = int(found.accelerator_count or 1)
    return Machine(found.name, found.slug, family, count, _gigabytes(found.slug, family, count), 0.0)


def _sdk_machine(name: str) -> Any:
    import_sdk()
    from lightning_sdk.machine import Machine as SdkMachine

    known = [machine for machine in vars(SdkMachine).values() if isinstance(machine, SdkMachine)]
    candidates = (name, name.upper(), name.lower(), f"lit-{name.lower()}")
    # For a name that it does not know, the SDK makes a machine of its own.
    found = (SdkMachine.from_str(candidate) for candidate in candidates)
    return next((machine for machine in found if any(machine is each for each in known)), None)


def _names(name: str) -> set[str]:
    found = _sdk_machine(name)
    return {name, name.upper(), name.lower()} | ({found.name, found.slug} if found is not None else set())


def _gigabytes(slug: str, family: str, count: int) -> float:
    if family in ("CPU", "DATA-PREP", ""):
        return 0.0
    key = "A100_80GB" if "80gb" in slug and family == "A100" else family
    return GPU_GIGABYTES.get(key, 0.0) * max(1, count)


def _machine(entry: Any) -> Machine | None:
    if not entry.enabled or not entry.cost:
        return None
    gpu = entry.accelerator_type == "GPU"
    count = int((entry.resources.gpu if gpu else entry.resources.cpu) or 1)
    slug, family = str(entry.slug_multi_cloud), str(entry.family or "")
    known = _sdk_machine(slug)
    return Machine(
        name=known.name if known is not None else slug,
        slug=slug,
        family=family,
        accelerators=count,
        gpu_gigabytes=_gigabytes(slug, family, count) if gpu else 0.0,
        usd_per_hour=float(entry.cost),
        interruptible_usd_per_hour=float(entry.spot_price) if entry.spot_price else None,
        available=not entry.out_of_capacity,
    )
