"""The pipelines of this project."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Returns the pipelines by name; ``__default__`` is all five, in order."""
    found = find_pipelines(raise_errors=False)
    found["__default__"] = sum((found[name] for name in found if name != "__default__"), Pipeline([]))
    return found
