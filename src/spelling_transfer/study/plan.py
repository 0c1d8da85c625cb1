"""A study as it is planned: what is searched, how many trials, what makes it the same study, what its workers read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spelling_transfer.files import write_text
from spelling_transfer.study.choices import planned_trials
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.interfaces import ObjectiveSource, StudyError
from spelling_transfer.study.space import SearchSpace, read_space

_FILE = "launch.json"
_VERSION = 2

_MAY_CHANGE = (
    "backend",
    "checkpoint_every",
    "heartbeat_seconds",
    "lightning",
    "n_trials",
    "place",
    "resume",
    "storage",
    "workers",
)
"""Settings that change how a study is run, or how long it takes, and no trial of it."""


@dataclass(frozen=True)
class StudyPlan:
    """A study before its first trial.

    Attributes:
        settings: Its settings.
        defaults: The configuration its space varies.
        folder: Its folder on this machine.
    """

    settings: StudySettings
    defaults: TrialConfig
    folder: Path

    @cached_property
    def space(self) -> SearchSpace:
        """What is searched.

        Raises:
            StudyConfigError: The space is not valid.
        """
        return read_space(self.settings.space, self.defaults)

    @cached_property
    def n_trials(self) -> int:
        """Trials planned.

        Raises:
            StudyConfigError: There is nothing to try.
        """
        return planned_trials(self.space, self.settings)

    def config(self, number: int, choices: Mapping[str, Any]) -> TrialConfig:
        """Returns the configuration of a trial: the defaults, what the search chose, the seed of its number."""
        return self.defaults.varied({**choices, "training.seed": self.settings.trial_seed(number)})

    def trial_folder(self, number: int) -> Path:
        """Returns the folder of a trial."""
        return self.folder / "trials" / f"{number:04d}"

    def identity(self, data: Mapping[str, str]) -> str:
        """Returns what makes it the same study, as JSON: its settings, its defaults, its data; not how it is run.

        Args:
            data: Hashes of what it is trained and scored on, by name.
        """
        study = self.settings.model_dump(mode="json", exclude=set(_MAY_CHANGE))
        trial = self.defaults.model_dump(mode="json")
        trial["training"].pop("log_every_steps", None)
        data = {**data, "project_version": version("spelling-transfer")}
        return json.dumps({"study": study, "trial": trial, "data": data}, sort_keys=True)


def check_identity(recorded: str, wanted: str, name: str, place: str) -> None:
    """Checks that a recorded study is the one that is wanted.

    Raises:
        StudyConfigError: It is another one; the message names the first differences.
    """
    before, now = _flat(json.loads(recorded)), _flat(json.loads(wanted))
    differing = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
    # Data last: a setting, such as the number of validation words, may be why they differ.
    differing.sort(key=lambda key: (key.startswith("data."), key))
    if not differing:
        return
    shown = "; ".join(
        f"{key} is {_short(before.get(key))} there and {_short(now.get(key))} here" for key in differing[:3]
    )
    more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
    raise StudyConfigError(
        f"study.name: {name!r} is in use in {place} with other settings: {shown}{more}. Trials of different studies "
        "cannot be compared: give this one another name (--name, or study.name), or remove the old one."
    )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {path: value}
    flat: dict[str, Any] = {}
    for name, part in value.items():
        # Names of settings in a space have dots of their own; there the whole entry is what differs.
        flat |= {f"{path}.{name}": part} if path == "study.space" else _flat(part, f"{path}.{name}" if path else name)
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def write_plan(plan: StudyPlan, source: ObjectiveSource) -> None:
    """Writes what a worker in another process reads: the material, and a file that names it. No secret is in it."""
    factory, arguments = source.write(plan.folder)
    data = {
        "version": _VERSION,
        "study": plan.settings.model_dump(mode="json"),
        "trial": plan.defaults.model_dump(mode="json"),
        "factory": factory,
        "arguments": arguments,
    }
    write_text(plan.folder / _FILE, json.dumps(data, indent=2) + "\n")


def read_plan(folder: Path) -> tuple[StudyPlan, str, dict[str, Any]]:
    """Returns the plan that a study's parent wrote, what makes the objective (``module:function``), and its arguments.

    Raises:
        StudyError: There is nothing readable, or another version of this project wrote it.
    """
    file = folder / _FILE
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["version"] != _VERSION:
            raise StudyError(
                f"{file}: written by another version of this project (format {data['version']}, this one reads "
                f"{_VERSION}). Start the study with the version that the workers run."
            )
        plan = StudyPlan(StudySettings.model_validate(data["study"]), TrialConfig.model_validate(data["trial"]), folder)
        return plan, str(data["factory"]), dict(data["arguments"])
    except (OSError, KeyError, ValueError) as error:
        raise StudyError(f"{file}: cannot be read ({error}). Start the study with 'kedro tune'.") from error
