"""Which nodes a run is of: a name that is not there is refused before anything is loaded, with the closest that are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
from kedro.pipeline import Pipeline
from kedro.utils import get_close_matches

_FEW = 12
"""So many known names are listed where none is close; more would bury the message."""


def check_selection(options: Mapping[str, Any], pipelines: Mapping[str, Pipeline]) -> Pipeline:
    """Checks the options of ``kedro run`` that choose pipelines, nodes, tags, datasets and namespaces.

    Args:
        options: The options by name.
        pipelines: The project's pipelines by name.

    Returns:
        What they choose.

    Raises:
        click.BadParameter: A name is not there.
        click.UsageError: Each name is there, and no node is left.
    """
    chosen = Pipeline([])
    for name in options["pipelines"] or ["__default__"]:
        _check("pipelines", "pipeline", [name], pipelines, pipelines)
        chosen += pipelines[name]
    everything = sum(pipelines.values(), Pipeline([]))
    nodes, every_node = ([node.name for node in each.nodes] for each in (chosen, everything))
    for option, name in (("nodes", "node_names"), ("from_nodes", "from_nodes"), ("to_nodes", "to_nodes")):
        _check(option, "node", options[name], nodes, every_node)
    tags, every_tag = ({tag for node in each.nodes for tag in node.tags} for each in (chosen, everything))
    _check("tags", "tag", options["tags"], tags, every_tag)
    _check("from_inputs", "dataset", options["from_inputs"], chosen.datasets(), everything.datasets())
    _check("to_outputs", "output", options["to_outputs"], chosen.all_outputs(), everything.all_outputs())
    try:
        return chosen.filter(node_namespaces=options["namespaces"], **{name: options[name] for name in _FILTERS})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


_FILTERS = ("tags", "node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs")


def _check(option: str, kind: str, given: Iterable[str] | None, known: Iterable[str], elsewhere: Iterable[str]) -> None:
    known = sorted(known)
    for name in given or []:
        if name.partition("@")[0] in {each.partition("@")[0] for each in known}:
            continue
        if name in elsewhere:
            problem = (
                f"the {kind} {name!r} is not in the pipelines that are chosen. Leave out --pipelines, or name its own."
            )
        else:
            problem = f"there is no {kind} {name!r}. {_hint(name, known)}"
        raise click.BadParameter(problem, param_hint=f"--{option.replace('_', '-')}")


def _hint(name: str, known: list[str]) -> str:
    # A node is known by the name after its pipeline's as well: 'answer' is close to 'evaluation.answer'.
    matches = [each for each in known if each.endswith(f".{name}")] or get_close_matches(name, known)
    if not matches:
        last = {each.rpartition(".")[2]: each for each in known}
        matches = [last[each] for each in get_close_matches(name.rpartition(".")[2], list(last))]
    if matches:
        return f"Did you mean {' or '.join(map(repr, matches))}?"
    if len(known) <= _FEW:
        return f"Known: {', '.join(known) or 'none'}."
    return "'kedro registry describe' names all."
