"""Trains a configuration to its end once: what a study's folder holds already is not trained again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from kedro_lightning import machine_count
from spelling_transfer.files import write_text
from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.study.config import TrialConfig
from spelling_transfer.study.interfaces import TrialOutcome, evaluation_of

_FOLDER = "retrained"


class AdapterTrainer(Protocol):
    """Trains one configuration and keeps its adapter."""

    def train_adapter(self, config: TrialConfig, target: Path) -> tuple[ModelFolder, TrialOutcome]:
        """Trains to the end and writes the adapter to ``target``."""
        ...


class TrainingMaterial(Protocol):
    """What training depends on beside the configuration, and what trains with it."""

    def identity(self) -> Mapping[str, str]:
        """Returns hashes of all that scores depend on."""
        ...

    def open(self) -> Any:
        """Returns the :class:`AdapterTrainer`; called only where something must be trained."""
        ...


class Retraining:
    """Trains adapters into a study's folder, or finds them there.

    A run is known by the hash of its configuration and of all that it is trained and scored on. It is there once its
    outcome is written, which comes last, so a run that was killed is trained again and one that ended is not.

    Args:
        material: What is trained and scored on.
        folder: The study's folder.
    """

    def __init__(self, material: TrainingMaterial, folder: Path) -> None:
        self._material = material
        # Machines that train together do each step together: what one of them has from before helps none of them.
        self._together = machine_count() > 1
        self._folder = folder / (f"{_FOLDER}-{os.environ.get('NODE_RANK', '0')}" if self._together else _FOLDER)

    @cached_property
    def _trainer(self) -> AdapterTrainer:
        trainer: AdapterTrainer = self._material.open()
        return trainer

    def run(self, config: TrialConfig) -> tuple[ModelFolder, TrialOutcome]:
        """Returns the adapter of a configuration and what its training left."""
        known = json.dumps([config.model_dump(mode="json"), dict(self._material.identity())], sort_keys=True)
        target = self._folder / hashlib.sha256(known.encode()).hexdigest()[:24]
        record = target.with_suffix(".json")
        if not self._together and (found := _found(target, record)) is not None:
            return found
        adapter, outcome = self._trainer.train_adapter(config, target)
        # The curve's end is what scores rest on; the rest of it is not asked for again.
        left = {"end": asdict(outcome.curve[-1]), "loss": outcome.final_loss, "steps": outcome.steps}
        write_text(record, json.dumps(left))
        return adapter, outcome


def _found(target: Path, record: Path) -> tuple[ModelFolder, TrialOutcome] | None:
    if not record.is_file():
        return None
    try:
        adapter = ModelFolder.open(target)
    except ModelFolderError:  # taken away or altered: train it again
        return None
    left = json.loads(record.read_text(encoding="utf-8"))
    return adapter, TrialOutcome([evaluation_of(left["end"])], left["loss"], left["steps"], "complete")
