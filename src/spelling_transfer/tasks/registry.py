"""Finds the tasks: those of this package and any that an installed package registers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.base import Task, TaskError

ENTRY_POINT_GROUP = "spelling_transfer.tasks"
CORE_TASKS = ("spelling", "position", "count")
"""The tasks of the research question, in the order in which tables show them."""
TRAINED_TASK = "spelling"
UNTRAINED_TASKS = ("position", "count")
"""The tasks to which spelling may carry over."""


def load_registered(
    group: str, kind: Any, what: str, failure: type[SpellingTransferError]
) -> Iterator[tuple[str, str, Any]]:
    """Yields name, origin (for messages) and object of each entry point of a group, in alphabetical order.

    Args:
        group: The group.
        kind: The protocol of its objects.
        what: What to call one.
        failure: The error to raise where one cannot be loaded, is of another kind, or takes a name that is taken.
    """
    seen = set()
    for entry_point in sorted(entry_points(group=group), key=lambda each: (each.name, each.value)):
        name = entry_point.name
        origin = f"Entry point {name!r} = {entry_point.value!r} of group {group!r}"
        try:
            loaded = entry_point.load()
            found = loaded() if isinstance(loaded, type) else loaded
        except Exception as error:  # a plugin's import may fail in any way
            raise failure(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(found, kind):
            raise failure(f"{origin} is not a {what}: it needs every member of {kind.__module__}.{kind.__name__}.")
        if found.name != name:
            raise failure(f"{origin} is a {what} named {found.name!r}; the two names must be equal.")
        if name in seen:
            raise failure(f"{origin} takes the name of a {what} that is already there; two packages register it.")
        seen.add(name)
        yield name, origin, found


@cache
def load_tasks() -> dict[str, Task]:
    """Returns every registered task by name: the core tasks first, the others in alphabetical order.

    Raises:
        TaskError: An entry point cannot be loaded, is no task, or takes a name that is taken.
    """
    tasks: dict[str, Task] = {}
    for name, origin, task in load_registered(ENTRY_POINT_GROUP, Task, "task", TaskError):
        _check_templates(task, origin)
        tasks[name] = task
    ordered = [name for name in CORE_TASKS if name in tasks] + [name for name in tasks if name not in CORE_TASKS]
    return {name: tasks[name] for name in ordered}


def _check_templates(task: Task, origin: str) -> None:
    names = [template.name for template in task.templates]
    if not any(not template.held_out for template in task.templates):
        raise TaskError(f"{origin}: templates needs at least one wording that is not held out.")
    if len(set(names)) != len(names):
        raise TaskError(f"{origin}: two templates have the same name.")
    for template in task.templates:
        before, found, after = template.text.partition("{word}")
        follows_space = not before or before.endswith(" ")
        if not found or not follows_space or after[:1].isalnum() or after[:1] in {"'", '"', "’"}:
            raise TaskError(
                f"{origin}: template {template.name!r} must hold {{word}} once, at its start or after a space, and "
                f"followed by a space or punctuation, not a letter or a quote: {template.text!r}."
            )
