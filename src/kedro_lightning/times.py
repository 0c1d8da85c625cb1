"""How long a job will probably take: past runs, the settings, the project's own estimate, or a guess."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .config import ComputeConfig
from .costs import Ledger
from .errors import ComputeError, SettingsError
from .node_jobs import NodeJob
from .platform.machines import Machine

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader

GUESS_MINUTES = 30.0


@dataclass(frozen=True)
class NodeTime:
    """How long a node takes on a machine, as far as a project can say.

    Attributes:
        seconds: ``None`` where it cannot say.
        basis: A word for the plan: ``measured``, ``scaled``.
        note: A sentence below the plan: what the figure rests on, or why there is none.
    """

    seconds: float | None
    basis: str = ""
    note: str = ""


Estimator = Callable[[str, Machine, Mapping[str, Any]], NodeTime | None]
"""What ``estimates`` in ``compute.yml`` names: takes a node's name, a machine and the run's parameters."""


@dataclass(frozen=True)
class JobTime:
    """How long a job will probably take, what that was taken from, and what is to be said about it."""

    minutes: float
    basis: str
    notes: tuple[str, ...] = ()


class JobTimes:
    """Says how long jobs will probably take."""

    def __init__(self, config: ComputeConfig, ledger: Ledger, loader: AbstractConfigLoader | None = None) -> None:
        """Reads nothing yet.

        Args:
            config: The settings.
            ledger: Past runs.
            loader: Gives the parameters of the run; needed where ``estimates`` is set.
        """
        self._config, self._ledger, self._loader = config, ledger, loader

    def of(self, job: NodeJob, machine: Machine) -> JobTime:
        """Returns the time of a job on a machine.

        Raises:
            SettingsError: ``estimates`` names nothing that can be called, or it failed.
        """
        past = self._ledger.minutes(job.name, machine.name)
        if past is not None:
            return JobTime(past, "past runs")
        times = [self._of_node(node, machine) for node in job.nodes]
        minutes = sum(time.minutes for time in times)
        notes = dict.fromkeys(note for time in times for note in time.notes)
        return JobTime(minutes, "+".join(dict.fromkeys(time.basis for time in times)), tuple(notes))

    def _of_node(self, node: str, machine: Machine) -> JobTime:
        given = self._config.hint_of(node).minutes
        if given is not None:
            return JobTime(given, "compute.yml")
        found = self._estimated(node, machine) or NodeTime(None, note="nothing is known of its time.")
        if found.seconds is not None:
            return JobTime(found.seconds / 60, found.basis, (found.note,) if found.note else ())
        advice = f"A guess: {node}: {found.note} To give a figure, set nodes.{node}.minutes in compute.yml."
        return JobTime(GUESS_MINUTES, "guess", (advice,))

    def _estimated(self, node: str, machine: Machine) -> NodeTime | None:
        if self._estimator is None:
            return None
        try:
            return self._estimator(node, machine, self._parameters)
        except ComputeError:
            raise
        except Exception as error:
            raise SettingsError(
                f"compute: estimates: {self._config.estimates} failed for {node}: {type(error).__name__}: {error}"
            ) from error

    @cached_property
    def _estimator(self) -> Estimator | None:
        name = self._config.estimates
        if name is None:
            return None
        try:
            found: Estimator = pkgutil.resolve_name(name)
        except (ImportError, AttributeError) as error:
            raise SettingsError(f"compute: estimates: {name!r} cannot be imported: {error}.") from None
        return found

    @cached_property
    def _parameters(self) -> Mapping[str, Any]:
        from kedro.config import MissingConfigException

        try:
            return dict(self._loader["parameters"]) if self._loader is not None else {}
        except MissingConfigException:
            return {}
