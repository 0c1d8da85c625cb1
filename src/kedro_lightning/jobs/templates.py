"""Templates: the usual kinds of jobs, with what they expect, how urgent they are, and what they wait for.

The platform has neither templates nor priorities, so both are here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import SettingsError
from ..platform.machines import Machine
from .work import EXIT_MARK, Attempt, Work


@dataclass(frozen=True)
class Template:
    """A kind of job.

    ``priority`` is the expected impact of one job; a job that others wait for comes before one that only informs.
    """

    name: str
    priority: float
    expected_minutes: float
    longest_minutes: int
    interruptible: bool
    description: str


TEMPLATES: Mapping[str, Template] = {
    template.name: template
    for template in (
        Template("single", 5.0, 60, 480, False, "one command, such as a training that is run once"),
        Template("grid", 3.0, 30, 240, True, "one of many commands that differ in a setting"),
        Template("sweep_worker", 4.0, 180, 720, True, "takes trials from a study until there are none"),
        Template("evaluation", 8.0, 20, 120, True, "answers with a trained model; reports wait for it"),
        Template("deployment", 10.0, 15, 60, False, "checks an endpoint; nothing is served before it"),
    )
}


def make_works(
    template: str,
    commands: Mapping[str, Sequence[str]],
    *,
    studio_id: str,
    machines: Sequence[Machine],
    after: Sequence[str] = (),
    impact: Mapping[str, float] | None = None,
    num_machines: int = 1,
    script: Callable[[Sequence[str], Attempt], str] | None = None,
) -> list[Work]:
    """Makes pieces of work of a kind, one for each command.

    Args:
        template: Name of the kind.
        commands: Key of each job -> its command and arguments.
        studio_id: The Studio they start from.
        machines: Machines of the tier, cheapest first.
        after: Keys of work that must be done first.
        impact: Expected worth of single jobs, times the priority of the kind; 1 where it is left out.
        num_machines: Machines of one job.
        script: Makes the shell script of a command; by default the command under ``timeout``.

    Raises:
        SettingsError: There is no such kind.
    """
    if template not in TEMPLATES:
        raise SettingsError(f"There is no job template {template!r}. Known: {', '.join(TEMPLATES)}.")
    kind, worth = TEMPLATES[template], impact or {}
    write = script or _under_timeout
    return [
        Work(
            key=key,
            title=key,
            command=lambda attempt, command=tuple(command): write(command, attempt),  # type: ignore[misc]
            studio_id=studio_id,
            machines=tuple(machines),
            interruptible=kind.interruptible,
            num_machines=num_machines,
            longest_seconds=kind.longest_minutes * 60,
            expected_seconds=kind.expected_minutes * 60,
            priority=kind.priority * worth.get(key, 1.0),
            after=tuple(after),
        )
        for key, command in commands.items()
    ]


def _under_timeout(command: Sequence[str], attempt: Attempt) -> str:
    line = " ".join(shlex.quote(part) for part in command)
    return (
        f"code=0; timeout --kill-after=60 {attempt.limit_seconds} {line} || code=$?\n"
        f'echo "{EXIT_MARK}$code"; exit $code'
    )
