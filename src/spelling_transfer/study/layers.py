"""Settings in layers: a later layer covers an earlier one, and every value remembers where it was set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Path = tuple[str, ...]
SPACE = "space"
"""The key whose content is a search space: its entries are replaced as a whole, since half a range is none."""


class Setting(NamedTuple):
    """A value and where it was set.

    Attributes:
        value: A plain value; never a mapping with settings of its own.
        origin: ``file:key`` or an option of the command line.
    """

    value: Any
    origin: str


Layer = dict[Path, Setting]


def flatten(content: Mapping[str, Any], place: str, *, at: Path = (), in_space: bool = False) -> Layer:
    """Returns the settings of a mapping one by one.

    Args:
        content: Nested mappings.
        place: Where it stands.
        at: Its path in that place, for the origins.
        in_space: Whether it is a search space.
    """
    layer: Layer = {}
    for key, value in content.items():
        path = (*at, str(key))
        if isinstance(value, Mapping) and value and not in_space:
            inner = flatten(value, place, at=path, in_space=key == SPACE)
            layer |= {(str(key), *rest): setting for rest, setting in inner.items()}
        else:
            layer[(str(key),)] = Setting(value, f"{place}:{'.'.join(path)}" if place else ".".join(path))
    return layer


def overlay(below: Layer, above: Layer, *, whole: tuple[Path, ...] = ()) -> Layer:
    """Returns two layers as one.

    Args:
        below: The earlier one.
        above: The later one; its values win.
        whole: Groups that are replaced as soon as the later one says anything of them.
    """
    groups = {group for group in whole if any(path[: len(group)] == group for path in above)}

    def is_covered(path: Path) -> bool:
        if any(path[: len(group)] == group for group in groups):
            return True
        # A group covers a single value of the same name, and the other way round.
        return any(path[:n] in above for n in range(1, len(path) + 1)) or path in parents

    parents = {path[:n] for path in above for n in range(1, len(path))}
    return {path: setting for path, setting in below.items() if not is_covered(path)} | above


def nest(layer: Layer) -> dict[str, Any]:
    """Returns the values of a layer as nested mappings."""
    content: dict[str, Any] = {}
    for path, setting in layer.items():
        inner = content
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = setting.value
    return content


def below(layer: Layer, at: Path) -> Layer:
    """Returns the settings of a group, by their paths in it."""
    return {path[len(at) :]: setting for path, setting in layer.items() if path[: len(at)] == at and path != at}


def under(layer: Layer, at: Path) -> Layer:
    """Returns a layer as a part of a larger one."""
    return {(*at, *path): setting for path, setting in layer.items()}
