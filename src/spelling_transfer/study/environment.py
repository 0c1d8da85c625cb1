"""Where trials ran: what a reader needs to run them again. No names of machines, users or folders."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = (
    "spelling-transfer",
    "torch",
    "transformers",
    "peft",
    "pytorch-lightning",
    "optuna",
    "numpy",
    "pandas",
    "scikit-learn",
    "kedro",
)


def describe_environment() -> dict[str, Any]:
    """Returns system, processor count, accelerator, Python and the versions of the packages that decide results."""
    import torch

    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "packages": packages,
    }
