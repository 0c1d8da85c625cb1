"""What the nodes that write pages have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIGURE = "_figure"


def figure_inputs(figures: Mapping[str, str]) -> dict[str, str]:
    """Returns the inputs of a node that shows figures, from the dataset of each figure by its name on the page."""
    return {f"{name}{_FIGURE}": dataset for name, dataset in figures.items()}


def take_figures(inputs: dict[str, Any]) -> dict[str, Any]:
    """Takes the figures out of what such a node was given, and returns them by their names on the page."""
    return {name.removesuffix(_FIGURE): inputs.pop(name) for name in list(inputs) if name.endswith(_FIGURE)}
