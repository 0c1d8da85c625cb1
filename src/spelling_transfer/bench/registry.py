"""Finds the public benchmarks: those of this package and any that an installed package registers."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from spelling_transfer.bench.base import BenchError, PublicSet
from spelling_transfer.errors import reinstall_command

ENTRY_POINT_GROUP = "spelling_transfer.public_sets"


@cache
def load_sets() -> dict[str, PublicSet]:
    """Returns every registered set by name, in alphabetical order.

    Raises:
        BenchError: An entry point cannot be loaded, is no public benchmark, takes a taken name, or there is none.
    """
    sets: dict[str, PublicSet] = {}
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: (each.name, each.value)):
        origin = f"Entry point {entry_point.name!r} = {entry_point.value!r} of group {ENTRY_POINT_GROUP!r}"
        try:
            loaded = entry_point.load()
            found = loaded() if isinstance(loaded, type) else loaded
        except Exception as error:  # a plugin's import may fail in any way
            raise BenchError(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(found, PublicSet):
            raise BenchError(
                f"{origin} is no public benchmark: it needs all members of spelling_transfer.bench.PublicSet."
            )
        if found.name != entry_point.name or found.name in sets:
            raise BenchError(f"{origin} is a set named {found.name!r}: the two names must be equal, and each its own.")
        sets[found.name] = found
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
