"""Settings in layers: a later layer covers an earlier one, and every value remembers where it was set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple

Path = tuple[str, ...]

WHOLE: tuple[Path, ...] = (("study", "space"),)
"""Groups that a later layer replaces as a whole: the union of two search spaces is not what either of them says."""


class Setting(NamedTuple):
    """A value and where it was set.

    Attributes:
        value: A plain value; a mapping only where it is replaced as a whole, as an entry of a search space is.
        place: The file, or the option of the command line.
        key: The dotted name in that place; none where the option says all.
        extended: The group whose ``extends`` brought it, by its path in the layer.
    """

    value: Any
    place: str
    key: str = ""
    extended: Path | None = None

    @property
    def origin(self) -> str:
        """The place and the name in it."""
        if not self.key:
            return self.place
        return f"{self.place} {self.key}" if self.place.startswith("--") else f"{self.place}:{self.key}"


Layer = dict[Path, Setting]


def overlay(below: Layer, above: Layer, *, whole: Iterable[Path] = ()) -> Layer:
    """Returns two layers as one.

    What a group extends in the later layer takes the place of what it extends in the earlier one; everything else that
    the earlier one says stays where the later one says nothing.

    Args:
        below: The earlier one.
        above: The later one; its values win.
        whole: Groups that are replaced as soon as the later one says anything of them.
    """
    replaced = {group for group in whole if any(path[: len(group)] == group for path in above)}
    extended = {setting.extended for setting in above.values()} - {None}
    parents = {path[:n] for path in above for n in range(1, len(path))}

    def is_covered(path: Path) -> bool:
        # A group covers a single value of the same name, and the other way round.
        upwards = [path[:n] for n in range(1, len(path) + 1)]
        return path in parents or any(each in above or each in replaced for each in upwards)

    kept = {path: each for path, each in below.items() if not (is_covered(path) or each.extended in extended)}
    return kept | above


def merge(layers: Iterable[Layer]) -> Layer:
    """Returns the layers of a whole configuration as one, the earliest first."""
    return reduce(lambda below, above: overlay(below, above, whole=WHOLE), layers, {})


def under(layer: Layer, at: Path) -> Layer:
    """Returns a layer as a part of a larger one."""
    return {
        (*at, *path): each._replace(extended=None if each.extended is None else (*at, *each.extended))
        for path, each in layer.items()
    }


def nest(layer: Layer) -> dict[str, Any]:
    """Returns the values of a layer as nested mappings."""
    content: dict[str, Any] = {}
    for path, setting in layer.items():
        inner = content
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = setting.value
    return content


def leaves(content: Mapping[str, Any], at: Path = ()) -> dict[Path, Any]:
    """Returns the values of nested mappings by their paths; an empty group is a value."""
    found: dict[Path, Any] = {}
    for key, value in content.items():
        path = (*at, key)
        found |= leaves(value, path) if isinstance(value, Mapping) and value else {path: value}
    return found


def value_at(content: Any, path: Iterable[str]) -> Any:
    """Returns what stands at a path of nested mappings."""
    return reduce(lambda inner, part: inner[part], path, content)


def place_of(layer: Layer, location: Iterable[int | str]) -> str:
    """Returns the place that set a value, or the last one that said anything of the group it is missing from.

    Args:
        layer: All settings.
        location: The value's path; what follows a setting's own path, such as an index, is left out.
    """
    path: tuple[Any, ...] = tuple(location)
    for n in range(len(path), 0, -1):
        if path[:n] in layer:
            return layer[path[:n]].place
        if inside := [each.place for known, each in layer.items() if known[:n] == path[:n]]:
            return inside[-1]
    return ""


def given_though_searched(layer: Layer, given: str = "--params") -> list[str]:
    """Returns a sentence for each setting of a trial that was given though the study tries values of its own for it."""
    space = {path[2]: each.place for path, each in layer.items() if path[:2] == ("study", "space") and len(path) > 2}
    found = {".".join(path[1:]): each for path, each in layer.items() if path[0] == "trial" and each.place == given}
    return [
        f"{given} trial.{name}: {each.value!r} is the default alone, as the study tries values of its own for it "
        f"(study.space, {space[name]}). Take it out of the space to fix it."
        for name, each in found.items()
        # Both given by one option: a study that `kedro tune` has resolved, and has spoken of.
        if name in space and space[name] != given
    ]
