"""Where each value of a group of parameters was set: the file and key, the option, or the model's default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from spelling_transfer.configuration.loader import REPLACED_WHOLE, ProjectConfigLoader
from spelling_transfer.configuration.parameters import ParameterError, errors_of
from spelling_transfer.study.layers import Layer, Setting, flatten, nest, overlay, under
from spelling_transfer.study.presets import GROUP_OF, Presets

_REFERENCE = re.compile(r"^\$\{study:\s*([\w-]+)\s*,\s*(.+?)\s*\}$")
_GLOBAL = re.compile(r"\$\{globals:\s*([\w.]+)\s*\}")


def settings_with_origins(
    loader: ProjectConfigLoader, project: Path, models: Mapping[str, type[BaseModel]], command_line: Layer
) -> Layer:
    """Returns every value of some groups with the place that set it.

    Args:
        loader: The configuration; what was given on the command line is among its runtime parameters.
        project: The project's folder, which the names of files leave out.
        models: The groups and their models.
        command_line: What was given on the command line, with the options' names.

    Raises:
        ParameterError: Values are unknown, missing or not allowed; each is named with its place.
        ConfigurationError: A file cannot be read, or extends one that is not there.
    """
    presets = loader.presets()
    layer: Layer = {}
    for file, content in reversed(loader.parameter_files().items()):  # base first
        place = str(file.relative_to(project)) if file.is_relative_to(project) else str(file)
        for group in models.keys() & content.keys():
            values = content[group]
            if isinstance(values, Mapping):
                part = presets.expand(values, place, at=(group,), group=GROUP_OF.get(group))
            else:
                part = {(): Setting(values, f"{place}:{group}")}
            layer = _covered(layer, under(part, (group,)), presets, loader)
    layer = _covered(layer, command_line, presets, loader)
    layer = _with_values(layer, loader["parameters"], set(models))

    def place_of(location: tuple[int | str, ...]) -> str:
        path = tuple(map(str, location))
        found = (layer[path[:n]].origin for n in range(len(path), 0, -1) if path[:n] in layer)
        return next(found, "")

    values = nest(layer)
    problems = [
        problem for group, model in models.items() for problem in errors_of(model, group, values.get(group), place_of)
    ]
    if problems:
        raise ParameterError("\n".join(problems))
    return {path: setting for group, model in models.items() for path, setting in _completed(layer, model, (group,))}


def _covered(layer: Layer, above: Layer, presets: Presets, loader: ProjectConfigLoader) -> Layer:
    # Who names a study file means all of it: nothing of what was there before is left in that group.
    named = [path for path, setting in above.items() if _reference(setting) is not None]
    return overlay(layer, _followed(above, presets, loader), whole=(*REPLACED_WHOLE, *named))


def _reference(setting: Setting) -> re.Match[str] | None:
    return _REFERENCE.match(setting.value) if isinstance(setting.value, str) else None


def _followed(layer: Layer, presets: Presets, loader: ProjectConfigLoader) -> Layer:
    """Puts the content of a study file in place of its name."""
    followed: Layer = {}
    for path, setting in layer.items():
        if (found := _reference(setting)) is None:
            followed[path] = setting
            continue
        name = _GLOBAL.sub(lambda match: str(_at(loader["globals"], tuple(match[1].split(".")))), found[2])
        followed |= under(_followed(presets.layer(found[1], name), presets, loader), path)
    return followed


def _with_values(layer: Layer, parameters: Mapping[str, Any], groups: set[str]) -> Layer:
    """Takes the values from the merged parameters, where interpolations are resolved."""
    return {
        path: Setting(_at(parameters, path), setting.origin) for path, setting in layer.items() if path[0] in groups
    }


def _at(content: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        content = content[part]
    return content


def _completed(layer: Layer, model: type[BaseModel], at: tuple[str, ...]) -> list[tuple[tuple[str, ...], Setting]]:
    """Returns the settings of a group in the order of its model, defaults included."""
    settings: list[tuple[tuple[str, ...], Setting]] = []
    for name, field in model.model_fields.items():
        path = (*at, name)
        inner = field.annotation
        inside = [(found, setting) for found, setting in layer.items() if found[: len(path)] == path]
        if isinstance(inner, type) and issubclass(inner, BaseModel) and path not in layer:
            settings += _completed(layer, inner, path)
        elif inside:
            settings += inside
        else:
            default = field.get_default(call_default_factory=True)
            origin = f"default of {model.__name__}"
            if isinstance(default, BaseModel):
                plain = flatten(default.model_dump(mode="json"), "")
                settings += [((*path, *rest), Setting(each.value, origin)) for rest, each in plain.items()]
            else:
                settings.append((path, Setting(default, origin)))
    return settings
