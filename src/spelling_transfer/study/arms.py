"""Trains the arms of the experiment with one configuration, each with the same seeds, and keeps all their adapters."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, field_validator

from spelling_transfer.files import copy_folder
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.vocabulary import UnknownTokenError
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.config import TrialConfig
from spelling_transfer.study.confirm import Retraining
from spelling_transfer.study.interfaces import TrialOutcome
from spelling_transfer.tasks.arms import SPELLING_ARM, TRAINED_ARMS, ArmError, TrainedArm

ADAPTERS = "adapters"
"""The ``kind`` that the manifest of a folder of adapters notes."""


class ArmSettings(FrozenModel):
    """Which arms are trained once a study has chosen, and how often."""

    trained: tuple[TrainedArm, ...] = Field(
        ("spelling", "form_control", "direct_position", "direct_count"),
        description="Arms with an adapter of their own; spelling is always one of them.",
    )
    seeds: int = Field(3, ge=1, le=100, description="New seeds that each arm is trained with, the same for all.")
    evaluations: int = Field(3, ge=1, le=100, description="Points of each arm's curve of scores against steps.")

    @field_validator("trained")
    @classmethod
    def _spelling_first(cls, arms: tuple[TrainedArm, ...]) -> tuple[TrainedArm, ...]:
        if SPELLING_ARM not in arms:
            raise ValueError(f"{list(arms)} lacks {SPELLING_ARM!r}, the arm that the others are compared with")
        return tuple(arm for arm in TRAINED_ARMS if arm in arms)


@dataclass
class TrainedArms:
    """What training the arms left.

    Attributes:
        outcomes: How each arm and seed ended.
        adapters: The adapter of each.
        missing: Why an arm that was asked for, or is known, was not trained.
    """

    outcomes: dict[tuple[TrainedArm, int], TrialOutcome] = field(default_factory=dict)
    adapters: dict[tuple[TrainedArm, int], ModelFolder] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def curves(self) -> pd.DataFrame:
        """Returns one row an evaluation: ``arm``, ``seed``, ``step`` and the exact match of each task."""
        return pd.DataFrame(
            [
                {"arm": arm, "seed": seed, "step": each.step, **{task: getattr(each, task) for task in SCORED_TASKS}}
                for (arm, seed), outcome in self.outcomes.items()
                for each in outcome.curve
            ]
        )

    def runs(self) -> pd.DataFrame:
        """Returns one row an arm and seed at its end: steps, loss, the tasks, plain lines before and after."""
        return pd.DataFrame(
            [
                {
                    "arm": arm,
                    "seed": seed,
                    "steps": outcome.steps,
                    "loss": outcome.final_loss,
                    **{task: getattr(outcome.curve[-1], task) for task in SCORED_TASKS},
                    **dict(zip(("base_plain_lines", "plain_lines"), outcome.plain_lines or (None, None), strict=True)),
                }
                for (arm, seed), outcome in self.outcomes.items()
            ]
        )

    def correct(self, arm: TrainedArm) -> dict[int, Sequence[bool]]:
        """Returns, by seed, which validation questions an arm has right at its end."""
        return {seed: outcome.curve[-1].correct for (name, seed), outcome in self.outcomes.items() if name == arm}

    def folder(self, base: ModelFolder) -> ModelFolder:
        """Copies all adapters into one folder, whose manifest says which is which and which arms are missing."""
        place = tempfile.TemporaryDirectory(prefix="spelling-transfer-")
        target = Path(place.name) / ADAPTERS
        runs = [
            {"arm": arm, "seed": seed, "folder": f"{arm}/seed-{seed}", "sha256": adapter.sha256}
            for (arm, seed), adapter in self.adapters.items()
        ]
        notes = {"kind": ADAPTERS, "base_sha256": base.sha256, "runs": runs, "missing": self.missing}
        with new_folder(target, notes) as work:
            for (arm, seed), adapter in self.adapters.items():
                copy_folder(adapter.path, work / arm / f"seed-{seed}")
        # The folder lives as long as its handle: until the catalog has copied it.
        return ModelFolder(target, owner=place)


def train_arms(config: TrialConfig, seeds: Sequence[int], settings: ArmSettings, retraining: Retraining) -> TrainedArms:
    """Trains every arm of the settings with every seed; what is there already is not trained again.

    An arm whose examples are not there, or whose answers need tokens that the model does not have, is left out and
    named. Spelling is not: without it there is nothing to compare.

    Args:
        config: The configuration, the same for all arms.
        seeds: The seeds.
        settings: Which arms.
        retraining: Trains one, or finds it.

    Raises:
        ArmError, TrainingDataError, UnknownTokenError: Spelling cannot be trained.
    """
    from spelling_transfer.training.data import TrainingDataError

    done = TrainedArms(missing={arm: "not in arms.trained" for arm in TRAINED_ARMS if arm not in settings.trained})
    for arm in settings.trained:
        for seed in seeds:
            try:
                run: Any = retraining.run(config.varied({"training.seed": seed}), arm)
            except (ArmError, TrainingDataError, UnknownTokenError) as error:
                if arm == SPELLING_ARM:
                    raise
                done.missing[arm] = str(error)
                break
            done.adapters[arm, seed], done.outcomes[arm, seed] = run
    return done
