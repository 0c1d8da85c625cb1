"""Makes the kit of ``gpu.py``: all that a machine with a GPU and without a network needs, in one folder.

``KIT/src`` and ``KIT/benchmarks`` are the sources, ``KIT/data`` the examples, questions and tokenizer, ``KIT/wheels``
what the machine is expected to lack, ``KIT/run.sh`` the one command. A checkout on that machine can take the place of
the sources: ``data`` and ``wheels`` are used from wherever they lie.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from training import ROOT, write_material

MAX_MB = 60
WORDS, EXAMPLES, QUESTIONS = 17_000, 8_000, 5_000
PYTHON = "3.12"
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (28, 27, 24, 17)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
SAME_AS_HERE = (
    "transformers",
    "peft",
    "pydantic",
    "pydantic_core",
    "annotated-types",
    "typing-inspection",
    "typing_extensions",
    "rapidfuzz",
)
"""Packages that are carried in the version that is installed here."""
FIXED = (
    "trl==1.16.0",
    "datasets==5.2.0",
    "dill==0.4.1",
    "multiprocess==0.70.19",
    "liger-kernel==0.8.5",
    "bitsandbytes==0.50.2",
)
"""The peers and their needs, and what a GPU run uses; they need not be installed here."""
CUDA = "cuda130"
"""The release of CUDA that is expected there, as bitsandbytes names its libraries."""
SOURCES = (
    "benchmark_table.py",
    "gpu.py",
    "gpu_contestants.py",
    "gpu_generators.py",
    "gpu_models.py",
    "gpu_plan.py",
    "gpu_results.py",
    "gpu_tables.py",
    "peer_trainers.py",
)
RUN = """#!/bin/bash
# ./run.sh [--out FOLDER] [--parts ...]: measures on this machine; python is the one that has torch with CUDA.
cd "$(dirname "$0")" || exit
exec "${PYTHON:-python3}" benchmarks/gpu.py --data data --wheels wheels --out results "$@"
"""


class KitError(Exception):
    """The kit cannot be made."""


def make_kit(folder: Path) -> float:
    """Makes the kit and returns its size in MB.

    Raises:
        KitError: A wheel cannot be had, or the kit is larger than it may be.
    """
    for part in ("src", "benchmarks", "data", "wheels"):
        shutil.rmtree(folder / part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (folder / "benchmarks").mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / "benchmarks" / name, folder / "benchmarks")
    write_data(folder / "data", words=WORDS, examples=EXAMPLES, questions=QUESTIONS)
    download_wheels(folder / "wheels")
    (folder / "run.sh").write_text(RUN)
    (folder / "run.sh").chmod(0o755)
    size = size_mb(folder)
    if size > MAX_MB:
        raise KitError(f"{folder}: the kit has {size:.1f} MB, more than the {MAX_MB} that are allowed. Carry less.")
    return size


def write_data(folder: Path, *, words: int, examples: int, questions: int) -> None:
    """Writes examples, questions, the English subset and the tokenizer.

    Args:
        folder: Where to.
        words: Words that the examples and questions are about.
        examples: Most spelling examples.
        questions: Most questions, of words that are not in the examples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_material(folder, max_words=words, asked_splits=("test", "validation"))
    for name, most in (("examples", examples), ("questions", questions)):
        file = folder / f"{name}.parquet"
        pd.read_parquet(file).head(most).to_parquet(file)
    for name in ("vocab.json", "merges.txt"):  # tokenizer.json holds both
        (folder / "tokenizer" / name).unlink()


def download_wheels(folder: Path) -> None:
    """Downloads the wheels for the other machine's Python.

    Raises:
        KitError: pip found none that fits.
    """
    wanted = [*(f"{name}=={version(name)}" for name in SAME_AS_HERE), *FIXED]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    done = subprocess.run([*command, *wanted], check=False, capture_output=True, text=True)
    if done.returncode:
        raise KitError(f"pip download failed: {done.stderr.strip()[-1500:]}")
    for wheel in folder.glob("bitsandbytes-*.whl"):
        keep_libraries(wheel, (f"{CUDA}.so", "_cpu.so"))


def keep_libraries(wheel: Path, endings: tuple[str, ...]) -> None:
    """Leaves all libraries out of a wheel but those with such endings: 40 of its 43 MB are for other machines."""
    beside = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as kept:
        for entry in whole.infolist():
            if not entry.filename.endswith(".so") or entry.filename.endswith(endings):
                kept.writestr(entry, whole.read(entry), zipfile.ZIP_DEFLATED)
    beside.replace(wheel)


def size_mb(folder: Path) -> float:
    """Returns the size of a folder's files in MB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def sizes(folder: Path) -> str:
    """Returns the sizes of a kit's parts as a line of JSON."""
    return json.dumps({part.name: round(size_mb(part), 1) for part in sorted(folder.iterdir()) if part.is_dir()})
