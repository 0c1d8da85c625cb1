"""Files that build on one another with ``extends``: ready ones in ``conf/*/study/``, and a user's own."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spelling_transfer.configuration.documents import (
    CONFIG_VERSION,
    SUFFIXES,
    VERSION,
    ConfigurationError,
    parse_document,
    read_file,
    write_file,
)
from spelling_transfer.configuration.layers import Layer, Setting, merge, overlay, under
from spelling_transfer.files import NAME_RULE, is_name

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from spelling_transfer.study.config import StudySettings, TrialConfig

EXTENDS = "extends"
SPACES = "search_spaces"
ENTRY_POINT_GROUP = "spelling_transfer.search_spaces"

GROUP_OF = {"space": SPACES, "trial": "training", "lightning": "lightning", "model_profile": "models"}
"""The folder in which a group's ``extends`` is looked up where it names none."""

_PARAMS = "params"
_GROUPS = ("study", "trial", _PARAMS)
"""What a user's own configuration holds: two groups, and below ``params`` any others."""
_RECOMMENDED = "config"
"""Where a recommendation (``best_config.json``) holds its configuration."""


class Presets:
    """Finds and reads ready settings.

    Args:
        folders: The ``study`` folders, the one that is looked into first at the start.
        files: Where these folders are.
        shown_from: The part of a path that messages and origins leave out.
        resolve: Fills in a name that is written as an interpolation, such as ``${globals:model_profile}``.
    """

    def __init__(
        self,
        folders: Sequence[str],
        files: AbstractFileSystem,
        *,
        shown_from: str = "",
        resolve: Callable[[str], str] = str,
    ) -> None:
        self._folders = list(folders)
        self._files = files
        self._shown_from = shown_from
        self._resolve = resolve

    def expand(
        self,
        content: Mapping[str, Any],
        place: str,
        *,
        at: tuple[str, ...] = (),
        group: str | None = None,
        own: tuple[str, str, int] | None = None,
        trail: tuple[str, ...] = (),
    ) -> Layer:
        """Returns the settings of nested groups, with what each of them extends.

        Args:
            content: The groups.
            place: Where they stand, for messages and origins.
            at: Their path in that place.
            group: The folder in which a name without one is looked up.
            own: Of a ready file: its folder, its name, and the place of its ``study`` folder among all.
            trail: The files that led there.

        Raises:
            ConfigurationError: There is no such file, it is not valid, or files extend each other in a circle.
        """
        layer: Layer = {}
        for reference in _references(content, where := Setting("", place, _dotted((*at, EXTENDS))).origin):
            folder, _, name = self._resolve(reference).rpartition("/")
            folder = folder or group or ""
            if not folder:
                raise ConfigurationError(f"{where}: {name!r} names no folder; write one such as training/{name}.")
            # A file that extends its own name means the one it stands before: that of the base environment.
            first = own[2] + 1 if own is not None and own[:2] == (folder, name) else 0
            layer = overlay(layer, self._layer(folder, name, first, trail, where))
        layer = {path: each._replace(extended=()) for path, each in layer.items()}
        for key, value in content.items():
            if key == EXTENDS:
                continue
            is_entry = group == SPACES  # an entry of a search space is one value, since half a range is none
            if is_entry and value is None:
                layer.pop((key,), None)  # an inherited setting is no longer searched
            elif isinstance(value, Mapping) and value and not is_entry:
                inner = self.expand(value, place, at=(*at, key), group=GROUP_OF.get(key), trail=trail)
                empty: Layer = {(key,): Setting({}, place, _dotted((*at, key)))}
                layer = overlay(layer, under(inner, (key,)) or empty)
            else:
                layer = overlay(layer, {(key,): Setting(value, place, _dotted((*at, key)))})
        return layer

    def experiment(self, reference: str, folder: Path) -> Layer:
        """Reads a configuration of a study: a file, or the name of a ready one.

        A file has the groups ``study`` and ``trial``, each with what it changes, and others below ``params``. It may
        extend another file, given relative to itself. The recommendation of a study is read as well: its configuration
        is the trial.

        Args:
            reference: A file that ends in ``.yml``, ``.yaml`` or ``.json``; else a name in ``conf/*/study/training/``.
            folder: Where a relative path begins.

        Raises:
            ConfigurationError: There is no such file or name, it is not valid, or files extend each other in a circle.
        """
        if not reference.endswith(SUFFIXES):
            return self.expand({"trial": {EXTENDS: reference}}, "--config")
        return self._experiment(folder / reference, reference, trail=())

    def names(self, group: str) -> list[str]:
        """Returns the names there are in a group, in alphabetical order."""
        found = {
            str(file).rpartition("/")[2].removesuffix(suffix)
            for folder in self._folders
            for suffix in SUFFIXES
            for file in self._files.glob(f"{folder}/{group}/[!.]*{suffix}")
        }
        if group == SPACES:
            found |= set(entry_points(group=ENTRY_POINT_GROUP).names)
        return sorted(found)

    def _layer(self, group: str, name: str, first: int, trail: tuple[str, ...], where: str) -> Layer:
        if not all(is_name(part) for part in (*group.split("/"), name)):
            raise ConfigurationError(f"{where}: {f'{group}/{name}'!r} cannot name a file of study/: {NAME_RULE}.")
        for place_in_order, folder in enumerate(self._folders[first:], start=first):
            for suffix in SUFFIXES:
                file = f"{folder}/{group}/{name}{suffix}"
                if not self._files.isfile(file):
                    continue
                shown = self._shown(file)
                if file in trail:
                    raise _circle(shown, [self._shown(each) for each in trail[trail.index(file) :]])
                try:
                    text = self._files.cat_file(file).decode("utf-8")
                except UnicodeDecodeError as error:
                    raise ConfigurationError(f"{shown}: not UTF-8.") from error
                content, own = parse_document(text, shown), (group, name, place_in_order)
                return self.expand(content, shown, group=group, own=own, trail=(*trail, file))
        if group == SPACES and (plugin := _plugin(name)) is not None:
            return self.expand(plugin, f"entry point {name}", group=group, trail=trail)
        raise self._missing(group, name, where)

    def _experiment(self, file: Path, shown: str, trail: tuple[Path, ...]) -> Layer:
        file = file.resolve()
        if file in trail:
            raise _circle(shown, [each.name for each in trail[trail.index(file) :]])
        content = read_file(file)
        below = []
        for reference in _references(content, f"{shown}:{EXTENDS}"):
            if not reference.endswith(SUFFIXES):
                raise ConfigurationError(
                    f"{shown}:{EXTENDS}: {reference!r} is not a file; extend a ready configuration inside a group, "
                    f"as in trial: {{extends: {reference}}}."
                )
            below.append(self._experiment(file.parent / reference, reference, (*trail, file)))
        return merge([*below, self.expand(_groups(content, shown), shown)])

    def _missing(self, group: str, name: str, where: str) -> ConfigurationError:
        known = self.names(group)
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
        hint += f"Known: {', '.join(known)}. " if known else "The folder has no files. "
        target = self._shown(f"{self._folders[-1]}/{group}/{name}.yml")
        return ConfigurationError(
            f"{where}: study/{group}: there is no {name!r}. {hint}Choose one of these or write {target}."
        )

    def _shown(self, file: str) -> str:
        return file.removeprefix(self._shown_from).lstrip("/") if self._shown_from else file


def save_experiment(
    study: StudySettings, trial: TrialConfig, file: Path, params: Mapping[str, Any] | None = None
) -> None:
    """Writes a whole configuration, and parameters of other groups, to a file that ``kedro tune --config`` takes."""
    groups = {"study": study.model_dump(mode="json"), "trial": trial.model_dump(mode="json")}
    write_file({VERSION: CONFIG_VERSION, **groups, **({_PARAMS: dict(params)} if params else {})}, file)


def _references(content: Mapping[str, Any], where: str) -> list[str]:
    extended = content.get(EXTENDS, [])
    references = extended if isinstance(extended, list) else [extended]
    for reference in references:
        if not isinstance(reference, str) or not reference:
            raise ConfigurationError(f"{where}: {reference!r} is not the name of a file.")
    return references


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(map(str, path))  # a name in a parameter file may be a number


def _circle(shown: str, trail: list[str]) -> ConfigurationError:
    circle = " extends ".join([*trail, trail[0]])
    return ConfigurationError(f"{shown}: files extend each other in a circle: {circle}.")


def _groups(content: Mapping[str, Any], shown: str) -> dict[str, Mapping[str, Any]]:
    recommended = content.get(_RECOMMENDED)
    if isinstance(recommended, Mapping) and "transfer_score" in content:
        return {"trial": recommended}
    groups = {name: values for name, values in content.items() if name != EXTENDS}
    for name, values in groups.items():
        if name not in _GROUPS:
            raise ConfigurationError(f"{shown}: {name}: unknown group{_meant(name)}. Known: {', '.join(_GROUPS)}.")
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"{shown}: {name}: expected settings by name, found {values!r}.")
    return {**groups.pop(_PARAMS, {}), **groups}


def _meant(name: str) -> str:
    if matches := difflib.get_close_matches(name, _GROUPS, n=1):
        return f"; did you mean {matches[0]!r}?"
    is_of_a_trial = name in ("lora", "training", "spelling", "tokenizer")
    return f"; put it under 'trial': trial: {{{name}: ...}}" if is_of_a_trial else ""


def _plugin(name: str) -> Mapping[str, Any] | None:
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        origin = f"Entry point {name!r} = {point.value!r} of group {ENTRY_POINT_GROUP!r}"
        try:
            loaded = point.load()
            space = loaded() if callable(loaded) else loaded
        except Exception as error:  # a plugin may fail in any way
            raise ConfigurationError(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(space, Mapping):
            raise ConfigurationError(
                f"{origin} is not a search space: it must be, or return, entries by setting name, "
                f"not {type(space).__name__}."
            )
        return space
    return None
