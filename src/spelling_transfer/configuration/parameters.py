"""Parameters are checked before anything runs: names nothing uses, groups that are missing, values out of range."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from spelling_transfer.configuration.documents import OF_THIS_VERSION, ConfigurationError
from spelling_transfer.configuration.layers import Layer, place_of

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from pydantic_core import ErrorDetails

_PREFIX = "params:"
PlaceFinder = Callable[[tuple[int | str, ...]], str]


class ParameterError(ConfigurationError):
    """A parameter is unknown, missing, or has a value that is not allowed."""


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
        problems.append(
            f"{name}: missing. The pipeline {used[name]} needs it; add it to conf/base/parameters/. {OF_THIS_VERSION}"
        )
    for name, model in TypeExtractor(dict(pipelines)).extract_types_from_pipelines().items():
        if name in parameters and isinstance(model, type) and issubclass(model, BaseModel):
            problems += _errors_of(model, name, parameters[name], place)
    if problems:
        raise ParameterError("\n".join(problems))


def check_groups(values: Mapping[str, Any], models: Mapping[str, type[BaseModel]], layer: Layer) -> None:
    """Checks some groups against their models.

    Args:
        values: All parameters.
        models: The groups and their models.
        layer: The same parameters with their places.

    Raises:
        ParameterError: As `check_parameters`.
    """
    place = partial(place_of, layer)
    problems = [
        problem for name, model in models.items() for problem in _errors_of(model, name, values.get(name), place)
    ]
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
    path, where = ".".join(map(str, location)), place(location)
    if detail["type"] == "extra_forbidden":
        return _unknown(path, sorted(_fields_at(model, detail["loc"][:-1])), where)
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
