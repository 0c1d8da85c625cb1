"""Finds the public benchmarks: those of this package and any that an installed package registers."""

from __future__ import annotations

from functools import cache

from spelling_transfer.bench.base import BenchError, PublicSet
from spelling_transfer.errors import reinstall_command
from spelling_transfer.tasks.registry import load_registered

ENTRY_POINT_GROUP = "spelling_transfer.public_sets"


@cache
def load_sets() -> dict[str, PublicSet]:
    """Returns every registered set by name, in alphabetical order.

    Raises:
        BenchError: An entry point cannot be loaded, is no public benchmark, takes a taken name, or there is none.
    """
    registered = load_registered(ENTRY_POINT_GROUP, PublicSet, "public benchmark", BenchError)
    sets: dict[str, PublicSet] = {name: found for name, _, found in registered}
    if not sets:
        raise BenchError(f"No public benchmark is registered: installation reads them. Run {reinstall_command()!r}.")
    return sets


def choose_set(name: str) -> PublicSet:
    """Returns a set by name.

    Raises:
        BenchError: There is none of that name.
    """
    sets = load_sets()
    if name not in sets:
        raise BenchError(f"There is no public benchmark {name!r}. 'kedro bench list' shows them: {', '.join(sets)}.")
    return sets[name]
