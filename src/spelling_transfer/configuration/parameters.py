"""Parameters are checked before anything runs: names nothing uses, groups that are missing, values out of range."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl
from pydantic import BaseModel, ValidationError

from spelling_transfer.configuration.loader import ConfigurationError, ProjectConfigLoader

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.pipeline import Pipeline
    from pydantic_core import ErrorDetails

_PREFIX = "params:"
PlaceFinder = Callable[[tuple[int | str, ...]], str]


class ParameterError(ConfigurationError):
    """A parameter is unknown, missing, or has a value that is not allowed."""


class ParameterCheck:
    """A Kedro hook: no run begins with parameters that no pipeline understands."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Checks all parameters of the project, those of pipelines that are not asked for included.

        Raises:
            ParameterError: One or more parameters are wrong; all of them are named.
        """
        from kedro.framework.project import pipelines

        loader = context.config_loader
        if not isinstance(loader, ProjectConfigLoader):
            return
        try:
            parameters = loader["parameters"]
        except MissingConfigException:
            return
        places = _Places(loader, context.project_path)
        check_parameters(parameters, dict(pipelines), places.find, elsewhere=loader.runtime_names)


def check_parameters(
    parameters: Mapping[str, Any],
    pipelines: Mapping[str, Pipeline],
    place: PlaceFinder = lambda _: "",
    elsewhere: Callable[[], set[str]] = set,
) -> None:
    """Checks that every top-level parameter is used, every one used is there, and every group fits its model.

    Args:
        parameters: The merged parameters.
        pipelines: All pipelines of the project by name.
        place: Says where a dotted parameter was set, such as ``conf/base/parameters/tuning.yml``.
        elsewhere: Gives the parameters that something other than a pipeline uses; asked only when one is unknown.

    Raises:
        ParameterError: Names each parameter that is wrong, with its value, what is allowed and where it was set.
    """
    from kedro.validation.type_extractor import TypeExtractor

    by_name = sorted(pipelines.items(), key=lambda item: item[0] != "__default__")  # the more telling names win
    used = {name: pipeline for pipeline, parts in by_name for name in _names_used(parts)}
    problems = []
    if "parameters" not in used:  # a node that takes all parameters may use any of them
        unused = set(parameters) - set(used)
        for name in sorted(unused - elsewhere() if unused else unused):
            problems.append(_unknown(name, sorted(used), place((name,))))
    for name in sorted(set(used) - set(parameters) - {"parameters"}):
        problems.append(f"{name}: missing. The pipeline {used[name]} needs it; add it to conf/base/parameters/.")
    for name, model in TypeExtractor(dict(pipelines)).extract_types_from_pipelines().items():
        if name in parameters and isinstance(model, type) and issubclass(model, BaseModel):
            problems += _errors_of(model, name, parameters[name], place)
    if problems:
        raise ParameterError("\n".join(problems))


def _names_used(pipeline: Pipeline) -> set[str]:
    inputs = {name for node in pipeline.nodes for name in node.inputs}
    top_level = {name.removeprefix(_PREFIX).split(".")[0] for name in inputs if name.startswith(_PREFIX)}
    return top_level | (inputs & {"parameters"})


def _errors_of(model: type[BaseModel], name: str, value: Any, place: PlaceFinder) -> Iterator[str]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield _explain(model, name, detail, place)


def _explain(model: type[BaseModel], name: str, detail: ErrorDetails, place: PlaceFinder) -> str:
    location = (name, *detail["loc"])
    if detail["type"] == "extra_forbidden":
        return _unknown(".".join(map(str, location)), sorted(_fields_at(model, detail["loc"][:-1])), place(location))
    path, where = ".".join(map(str, location)), place(location)
    if detail["type"] == "missing":
        return f"{path}: missing{_in_brackets(place(location[:-1]))}."
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    if message.startswith("Input should"):
        message = f"{detail['input']!r} {message.removeprefix('Input ')}"
    return f"{path}: {message}{_in_brackets(where)}."


def _unknown(path: str, known: list[str], where: str) -> str:
    *_, name = path.split(".")
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if matches:
        hint = f" Did you mean {' or '.join(repr(match) for match in matches)}?"
    else:
        hint = f" Known here: {', '.join(known)}." if known else " Nothing is known here."
    return f"{path}: unknown parameter{_in_brackets(where)}.{hint}"


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> set[str]:
    """Returns the field names of the model that stands at a location inside ``model``; none where it is not clear."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:  # an index into a list, or the tag of a union
            continue
        models = [inner for inner in _parts_of(field.annotation) if isinstance(inner, type)]
        models = [inner for inner in models if issubclass(inner, BaseModel)]
        if len(models) != 1:
            return set()
        model = models[0]
    return set(model.model_fields)


def _parts_of(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts_of(argument)


def _in_brackets(where: str) -> str:
    return f" ({where})" if where else ""


class _Places:
    """Finds the file, or the command line, that set a parameter."""

    def __init__(self, loader: ProjectConfigLoader, project: Path) -> None:
        self._loader, self._project = loader, project

    def find(self, location: tuple[int | str, ...]) -> str:
        """Returns where a parameter was set: the place that holds the longest part of its path."""
        places: dict[str, Mapping[str, Any]] = {"--params": self._loader.runtime_params or {}}
        for file, content in self._loader.parameter_files().items():
            inside = file.is_relative_to(self._project)
            places[str(file.relative_to(self._project) if inside else file)] = content
        reached = {name: _walk(content, location) for name, content in places.items()}
        # Equal depths: the first wins, as --params come before the environment and the environment before base.
        best = max(reached, key=lambda name: reached[name][0])
        depth, stop = reached[best]
        if isinstance(stop, str) and "${" in stop and depth < len(location):
            return f"{best}, through {stop}"
        return best if depth else ""


def _walk(content: Any, location: tuple[int | str, ...]) -> tuple[int, Any]:
    """Returns how many parts of a location are there, and what stands at the last of them."""
    for depth, part in enumerate(location):
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return depth, content
    return len(location), content
