"""How long a job may run for the money that is left, so that nothing has to be watched for the budget to hold."""

from __future__ import annotations

from ..platform.machines import Machine

SHORTEST_SECONDS = 60
"""A job that could not even start within its limit is not worth its price."""


class Purse:
    """The money of a run: what is spent, and what running jobs may still spend before they end themselves."""

    def __init__(self, budget_usd: float | None, spent_usd: float = 0.0) -> None:
        """Makes a purse.

        Args:
            budget_usd: What may be spent in all; ``None`` for no limit, which is for tests and free machines.
            spent_usd: What earlier parts of the same run have spent.
        """
        self.budget_usd, self.spent_usd = budget_usd, spent_usd
        self._reserved: dict[str, float] = {}

    @property
    def free_usd(self) -> float:
        """What is neither spent nor promised."""
        if self.budget_usd is None:
            return float("inf")
        return self.budget_usd - self.spent_usd - sum(self._reserved.values())

    def limit(self, usd_per_hour: float, longest_seconds: int, expected_seconds: float, sharers: int) -> int:
        """Returns how many seconds a job may run: an even share of what is left, all of it where that is too little.

        Args:
            usd_per_hour: Price of all its machines.
            longest_seconds: What the tier allows.
            expected_seconds: How long it will probably take.
            sharers: Jobs that may run at the same time.
        """
        if self.budget_usd is None or usd_per_hour <= 0:
            return longest_seconds
        affordable = self.free_usd / usd_per_hour * 3600
        share = affordable / max(1, sharers)
        wanted = share if share >= 1.5 * expected_seconds else affordable
        return int(max(0.0, min(longest_seconds, wanted)))

    def reserve(self, key: str, machine_usd_per_hour: float, seconds: int) -> None:
        """Promises a job the money for its whole limit."""
        self._reserved[key] = machine_usd_per_hour * seconds / 3600

    def settle(self, key: str, cost_usd: float) -> None:
        """Takes what a job did cost in place of what it was promised."""
        self._reserved.pop(key, None)
        self.spent_usd += cost_usd


def price(machine: Machine, interruptible: bool, num_machines: int) -> float:
    """Returns USD an hour of all machines of a job."""
    return machine.price(interruptible) * num_machines
