"""Training with PyTorch Lightning: one run from encoded examples to an adapter, on one device or several.

`train` takes a loaded model and `EncodedExamples`, checks them before the first step, and resumes from `Checkpoints`
bit for bit. ``python -m spelling_transfer.training`` is the same without Kedro. `make_model` makes the embedded base
model. Imports are lazy; the settings need neither Lightning nor torch.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
