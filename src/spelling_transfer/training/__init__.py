"""Training with PyTorch Lightning: one run from encoded examples to an adapter, on one device or several.

`train` takes a loaded model and `EncodedExamples`, checks them before the first step, and resumes from `Checkpoints`
bit for bit. ``python -m spelling_transfer.training`` is the same without Kedro. `make_model` makes the embedded base
model. Lightning and torch are imported when a name is asked for; the settings need neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.training.callbacks import EverySteps
    from spelling_transfer.training.checkpoints import Checkpoints
    from spelling_transfer.training.config import TrainingSettings
    from spelling_transfer.training.data import EncodedExamples, StepSampler
    from spelling_transfer.training.errors import TrainingDivergedError, TrainingMemoryError
    from spelling_transfer.training.parallel import Devices
    from spelling_transfer.training.pretrain import PretrainSettings, new_model
    from spelling_transfer.training.pretrain_data import PretrainMixture
    from spelling_transfer.training.pretrain_making import make_model
    from spelling_transfer.training.pretrain_measure import measure
    from spelling_transfer.training.run import TrainingResult, seeded, train

__all__ = [
    "Checkpoints",
    "Devices",
    "EncodedExamples",
    "EverySteps",
    "PretrainMixture",
    "PretrainSettings",
    "StepSampler",
    "TrainingDivergedError",
    "TrainingMemoryError",
    "TrainingResult",
    "TrainingSettings",
    "make_model",
    "measure",
    "new_model",
    "seeded",
    "train",
]

_HOMES = {
    "callbacks": "EverySteps",
    "checkpoints": "Checkpoints",
    "config": "TrainingSettings",
    "data": "EncodedExamples StepSampler",
    "errors": "TrainingDivergedError TrainingMemoryError",
    "parallel": "Devices",
    "pretrain": "PretrainSettings new_model",
    "pretrain_data": "PretrainMixture",
    "pretrain_making": "make_model",
    "pretrain_measure": "measure",
    "run": "TrainingResult seeded train",
}

__getattr__, __dir__ = lazy_names(__name__, {f"{__name__}.{home}": names.split() for home, names in _HOMES.items()})
