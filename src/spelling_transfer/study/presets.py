"""Ready settings in ``conf/*/study/``: files that build on one another with ``extends``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

from spelling_transfer.study.config import StudyConfigError
from spelling_transfer.study.documents import SUFFIXES, parse_document
from spelling_transfer.study.layers import SPACE, Layer, flatten, nest, overlay, under

EXTENDS = "extends"
VERSION = "version"
SPACES = "search_spaces"
ENTRY_POINT_GROUP = "spelling_transfer.search_spaces"

GROUP_OF = {SPACE: SPACES, "trial": "training", "lightning": "lightning", "model_profile": "models"}
"""The folder in which a group's ``extends`` is looked up where it names none."""


class FileSystem(Protocol):
    """The part of fsspec that is used here."""

    def isfile(self, path: str) -> bool:
        """Tells whether there is a file."""
        ...

    def cat_file(self, path: str) -> bytes:
        """Returns its content."""
        ...

    def glob(self, path: str) -> list[str]:
        """Returns the files that match a pattern."""
        ...


class Presets:
    """Finds and reads ready settings.

    Args:
        folders: The ``study`` folders, the one that is looked into first at the start.
        files: Where these folders are.
        shown_from: The part of a path that messages and origins leave out.
    """

    def __init__(self, folders: Sequence[str], files: FileSystem, *, shown_from: str = "") -> None:
        self._folders = list(folders)
        self._files = files
        self._shown_from = shown_from

    def load(self, group: str, name: str) -> dict[str, Any]:
        """Returns the settings of a file, with those it extends.

        Args:
            group: The folder, such as ``training``.
            name: The file's name without its ending; for search spaces also the name of an entry point.

        Raises:
            StudyConfigError: There is no such file, it is not valid, or files extend each other in a circle.
        """
        return nest(self.layer(group, name))

    def layer(self, group: str, name: str) -> Layer:
        """Returns the same with the origin of each value."""
        return self._layer(group, name, first=0, trail=())

    def expand(
        self, content: Mapping[str, Any], place: str, *, at: tuple[str, ...] = (), group: str | None = None
    ) -> Layer:
        """Returns the settings of a mapping with what it, or a group in it, extends.

        Args:
            content: The mapping.
            place: Where it stands, for messages and origins.
            at: Its path in that place.
            group: The folder in which names are looked up that name none.
        """
        return self._expand(content, place, at=at, group=group, own=None, trail=())

    def names(self, group: str) -> list[str]:
        """Returns the names there are in a group, in alphabetical order."""
        found = {
            str(file).rpartition("/")[2].removesuffix(suffix)
            for folder in self._folders
            for suffix in SUFFIXES
            for file in self._files.glob(f"{folder}/{group}/*{suffix}")
        }
        if group == SPACES:
            found |= set(entry_points(group=ENTRY_POINT_GROUP).names)
        return sorted(found)

    def _layer(self, group: str, name: str, first: int, trail: tuple[str, ...]) -> Layer:
        for place_in_order, folder in enumerate(self._folders[first:], start=first):
            for suffix in SUFFIXES:
                file = f"{folder}/{group}/{name}{suffix}"
                if not self._files.isfile(file):
                    continue
                shown = self._shown(file)
                if file in trail:
                    circle = " extends ".join(self._shown(each) for each in [*trail[trail.index(file) :], file])
                    raise StudyConfigError(f"{shown}: files extend each other in a circle: {circle}.")
                try:
                    text = self._files.cat_file(file).decode("utf-8")
                except UnicodeDecodeError as error:
                    raise StudyConfigError(f"{shown}: not UTF-8.") from error
                own = (group, name, place_in_order)
                content = parse_document(text, shown)
                return self._expand(content, shown, at=(), group=group, own=own, trail=(*trail, file))
        if group == SPACES and (plugin := self._plugin(name)) is not None:
            return self._expand(plugin, f"entry point {name}", at=(), group=group, own=None, trail=trail)
        raise self._missing(group, name, trail)

    def _expand(
        self,
        content: Mapping[str, Any],
        place: str,
        *,
        at: tuple[str, ...],
        group: str | None,
        own: tuple[str, str, int] | None,
        trail: tuple[str, ...],
    ) -> Layer:
        layer: Layer = {}
        extended = content.get(EXTENDS) or []
        where = f"{place}:{'.'.join((*at, EXTENDS))}"
        for reference in [extended] if isinstance(extended, str) else extended:
            if not isinstance(reference, str):
                raise StudyConfigError(f"{where}: {reference!r} is not the name of a file.")
            folder, _, name = reference.rpartition("/")
            folder = folder or group or ""
            if not folder:
                raise StudyConfigError(f"{where}: {reference!r} names no folder; write one such as training/{name}.")
            # A file that extends its own name means the one it stands before: that of the base environment.
            first = own[2] + 1 if own is not None and own[:2] == (folder, name) else 0
            layer = overlay(layer, self._layer(folder, name, first, trail))
        is_space = group == SPACES
        for key, value in content.items():
            if key == EXTENDS or (key == VERSION and not at):
                continue
            if isinstance(value, Mapping) and value and not is_space:
                inner = self._expand(value, place, at=(*at, key), group=GROUP_OF.get(key), own=None, trail=trail)
                # What extends nothing and says nothing is an empty group.
                layer = overlay(layer, under(inner, (key,)) or flatten({key: {}}, place, at=at))
            elif is_space and value is None:
                layer.pop((key,), None)  # an inherited setting is no longer searched
            else:
                layer = overlay(layer, flatten({key: value}, place, at=at, in_space=is_space))
        return layer

    def _plugin(self, name: str) -> Mapping[str, Any] | None:
        for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
            origin = f"Entry point {name!r} = {point.value!r} of group {ENTRY_POINT_GROUP!r}"
            try:
                loaded = point.load()
                space = loaded() if callable(loaded) else loaded
            except Exception as error:  # a plugin may fail in any way
                raise StudyConfigError(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from error
            if not isinstance(space, Mapping):
                raise StudyConfigError(
                    f"{origin} is no search space: it must be, or return, entries by setting name, "
                    f"not {type(space).__name__}."
                )
            return space
        return None

    def _missing(self, group: str, name: str, trail: tuple[str, ...]) -> StudyConfigError:
        known = self.names(group)
        close = difflib.get_close_matches(name, known, n=3)
        by = f"{self._shown(trail[-1])}: extends: " if trail else ""
        hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
        hint += f"Known: {', '.join(known)}. " if known else "The folder has no files. "
        target = self._shown(f"{self._folders[-1]}/{group}/{name}.yml")
        return StudyConfigError(
            f"{by}study/{group}: there is no {name!r}. {hint}Choose one of these or write {target}."
        )

    def _shown(self, file: str) -> str:
        return file.removeprefix(self._shown_from).lstrip("/") if self._shown_from else file


def uses_extends(content: Mapping[str, Any]) -> bool:
    """Tells whether a group, or a group in it, extends a file."""
    inner = [value for value in content.values() if isinstance(value, Mapping)]
    return EXTENDS in content or any(map(uses_extends, inner))
