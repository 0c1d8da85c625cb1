"""What a worker in another process needs to know: one file in the study's folder. No secret is in it."""

from __future__ import annotations

import json
import os
import pkgutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.executor import ObjectiveSource, StudyError
from spelling_transfer.study.space import read_space

if TYPE_CHECKING:
    from spelling_transfer.study.worker import Worker

_FILE = "launch.json"
_VERSION = 1


@dataclass(frozen=True)
class Launch:
    """A study as its workers see it.

    Attributes:
        folder: Its folder on this machine.
        settings: Its settings.
        defaults: The configuration its space varies.
        n_trials: Trials planned.
        factory: ``module:function`` that makes the objective.
        arguments: Its keyword arguments.
    """

    folder: Path
    settings: StudySettings
    defaults: TrialConfig
    n_trials: int
    factory: str
    arguments: Mapping[str, Any]

    def worker(self, token: str, stop: threading.Event) -> Worker:
        """Returns a worker of this process, its objective made."""
        from spelling_transfer.study.records import Records
        from spelling_transfer.study.storage import open_engine, storage_url
        from spelling_transfer.study.worker import Worker

        engine = open_engine(storage_url(self.settings.storage, self.folder), patience_seconds=120.0)
        return Worker(
            pkgutil.resolve_name(self.factory)(self.folder, **self.arguments),
            self.settings,
            read_space(self.settings.space, self.defaults),
            Records(engine, self.settings.name),
            self.folder,
            n_trials=self.n_trials,
            token=token,
            stop=stop,
        )


def write_launch(
    folder: Path, settings: StudySettings, defaults: TrialConfig, n_trials: int, source: ObjectiveSource
) -> None:
    """Writes the material and the file that names it."""
    factory, arguments = source.write(folder)
    data = {
        "version": _VERSION,
        "study": settings.model_dump(mode="json"),
        "trial": defaults.model_dump(mode="json"),
        "n_trials": n_trials,
        "factory": factory,
        "arguments": arguments,
    }
    partial = folder / f".{_FILE}.{os.getpid()}.partial"
    partial.write_text(json.dumps(data, indent=2) + "\n")
    partial.replace(folder / _FILE)


def open_launch(folder: Path) -> Launch:
    """Reads what a study's parent wrote.

    Raises:
        StudyError: There is nothing readable, or another version of this project wrote it.
    """
    file = folder / _FILE
    try:
        data = json.loads(file.read_text())
        if data["version"] != _VERSION:
            raise StudyError(
                f"{file}: written by another version of this project (format {data['version']}, this one reads "
                f"{_VERSION}). Start the study with the version that the workers run."
            )
        settings = StudySettings.model_validate(data["study"])
        defaults = TrialConfig.model_validate(data["trial"])
    except (OSError, KeyError, ValueError, ValidationError) as error:
        raise StudyError(f"{file}: cannot be read ({error}). Start the study with 'kedro tune'.") from error
    return Launch(folder, settings, defaults, int(data["n_trials"]), data["factory"], data["arguments"])
