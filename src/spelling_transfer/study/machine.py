"""The machine that trials run on: how many workers it holds, and what a reader needs to know of it."""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from typing import Any

import psutil

from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Objective, ObjectiveSource

_LOGGER = logging.getLogger(__name__)

_BYTES_PER_WORKER = 1.2e9
"""A worker's libraries and activations beside the model: 0.7 GB was measured for a small one."""
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


def worker_count(
    settings: StudySettings, defaults: TrialConfig, objective: Objective | ObjectiveSource, left: int
) -> int:
    """Returns the number of workers: as set, or what cores and memory bear; never more than there are trials.

    Args:
        settings: The study.
        defaults: Says how many threads a trial takes.
        objective: Only a source can be had in several processes.
        left: Trials left to run.
    """
    threads = defaults.training.threads
    if settings.workers == "auto":
        if not isinstance(objective, ObjectiveSource):
            return 1
        return max(1, min(left, fitting_workers(threads, getattr(objective, "model_bytes", 0))))
    workers = int(settings.workers)
    if workers * threads > n_cores() and workers > 1 and settings.backend == "local" and not visible_gpus():
        _LOGGER.warning(
            "study.workers: %d workers of %d threads share %d cores and will hinder each other; lower "
            "trial.training.threads or the number of workers.",
            workers,
            threads,
            n_cores(),
        )
    return max(1, min(workers, left)) if workers > 1 else 1


def fitting_workers(threads: int, model_bytes: int) -> int:
    """Returns how many workers this machine bears: one a GPU, else as many as its cores and free memory hold."""
    if gpus := visible_gpus():
        return len(gpus)
    by_memory = int(psutil.virtual_memory().available / (_BYTES_PER_WORKER + 2 * model_bytes))
    return max(1, min(n_cores() // threads, by_memory))


def n_cores() -> int:
    """Returns the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Returns the NVIDIA GPUs this process may use, as CUDA_VISIBLE_DEVICES names them, without importing torch."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    there = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(there)) if visible is None else map(str.strip, visible.split(","))
    return list(takewhile(re.compile(r"\d|GPU-|MIG-").match, names)) if there else []  # CUDA stops at what is no GPU


def time_of_birth(pid: int) -> float:
    """Returns when a process began, in seconds: with its id, and on one machine, no other process has it.

    Raises:
        psutil.NoSuchProcess: There is no such process.
    """
    # On Linux counted from the start of the system: what psutil says of it moves when the clock is set.
    started = psutil.boot_time() if psutil.LINUX else 0.0
    return round(float(psutil.Process(pid).create_time()) - started, 2)


def describe_environment() -> dict[str, Any]:
    """Returns system, processor count, accelerator, Python and the versions of the packages that decide results.

    No names of machines, users or folders are among them.
    """
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
