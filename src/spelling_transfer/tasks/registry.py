"""Finds the tasks: those of this package and any that an installed package registers."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from spelling_transfer.tasks.base import Task, TaskError

ENTRY_POINT_GROUP = "spelling_transfer.tasks"
CORE_TASKS = ("spelling", "position", "count")
"""The tasks of the research question, in the order in which tables show them."""
TRAINED_TASK = "spelling"
UNTRAINED_TASKS = ("position", "count")
"""The tasks to which spelling may carry over."""


@cache
def load_tasks() -> dict[str, Task]:
    """Returns every registered task by name: the core tasks first, the others in alphabetical order.

    Raises:
        TaskError: An entry point cannot be loaded, is no task, or takes a name that is taken.
    """
    tasks: dict[str, Task] = {}
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: (each.name, each.value)):
        origin = f"Entry point {entry_point.name!r} = {entry_point.value!r} of group {ENTRY_POINT_GROUP!r}"
        try:
            loaded = entry_point.load()
            task = loaded() if isinstance(loaded, type) else loaded
        except Exception as error:  # a plugin's import may fail in any way
            raise TaskError(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(task, Task):
            raise TaskError(f"{origin} is not a task: it needs every member of spelling_transfer.tasks.base.Task.")
        if task.name != entry_point.name:
            raise TaskError(f"{origin} is a task named {task.name!r}; the two names must be equal.")
        if task.name in tasks:
            raise TaskError(f"{origin} takes the name of a task that is already there; two packages register it.")
        _check_templates(task, origin)
        tasks[task.name] = task
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
