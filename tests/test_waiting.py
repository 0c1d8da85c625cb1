"""Threads with nothing to do sleep: whichever way torch comes to be loaded, OpenMP is told so before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VARIABLES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")

# In each Python process: at the first import of torch it writes down what OpenMP would read, and ends.
RECORDER = f"""
import os, sys
class Recorder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            seen = " ".join(os.environ.get(each, "unset") for each in {VARIABLES})
            with open(os.environ["SEEN"], "a") as file:
                file.write(seen + chr(10))
            os._exit(0)
sys.meta_path.insert(0, Recorder())
"""

ENTRIES = {
    "a command": ["-m", "kedro", "doctor", "--offline"],
    "making a model": ["-m", "kedro", "pretrain", "--out={tmp}/model"],
    "training without Kedro": ["-m", "spelling_transfer.training", "--help"],
    "the process that serves": ["-c", "import spelling_transfer.serving.server, torch"],
    "a worker of a study": ["-c", "import spelling_transfer.study.worker, spelling_transfer.study.trial, torch"],
    "a session of Kedro": [
        "-c",
        "from kedro.framework.session import KedroSession\n"
        "from kedro.framework.startup import bootstrap_project\n"
        "bootstrap_project('.')\n"
        "KedroSession.create('.').load_context()\n"
        "import torch",
    ],
    "a pipeline with a node that computes": [
        "-c",
        "import spelling_transfer.pipeline_registry as r; r.register_pipelines(); import torch",
    ],
    "a child process of its own": [
        "-c",
        "import subprocess, sys, spelling_transfer; subprocess.run([sys.executable, '-c', 'import torch'])",
    ],
}


def seen_by_openmp(tmp_path: Path, arguments: list[str], source: Path, **variables: str) -> set[str]:
    (tmp_path / "sitecustomize.py").write_text(RECORDER)
    seen = tmp_path / "seen"
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(source)]), "SEEN": str(seen), **variables}
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    done = subprocess.run([sys.executable, *filled], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert seen.exists(), f"torch was not loaded: {done.stdout}{done.stderr}"
    return set(seen.read_text().splitlines())


@pytest.mark.parametrize("entry", ENTRIES)
def test_torch_finds_waiting_set_by_every_way_in(tmp_path: Path, entry: str) -> None:
    assert seen_by_openmp(tmp_path, ENTRIES[entry], ROOT / "src") == {"PASSIVE 0"}


def test_a_value_of_the_users_own_stays(tmp_path: Path) -> None:
    command = ENTRIES["training without Kedro"]
    seen = seen_by_openmp(tmp_path, command, ROOT / "src", OMP_WAIT_POLICY="ACTIVE", KMP_BLOCKTIME="200")
    assert seen == {"ACTIVE 200"}


@pytest.mark.parametrize("entry", ["training without Kedro", "the process that serves", "a child process of its own"])
def test_a_package_that_does_not_set_it_is_noticed(tmp_path: Path, entry: str) -> None:
    mutant = tmp_path / "mutant"
    (mutant / "spelling_transfer").mkdir(parents=True)
    for part in (ROOT / "src").iterdir():
        if part.name != "spelling_transfer":
            (mutant / part.name).symlink_to(part)
    for part in (ROOT / "src" / "spelling_transfer").iterdir():
        if part.name != "__init__.py":
            (mutant / "spelling_transfer" / part.name).symlink_to(part)
    text = (ROOT / "src" / "spelling_transfer" / "__init__.py").read_text()
    lines = [line for line in text.splitlines() if "setdefault" not in line]
    assert len(lines) == len(text.splitlines()) - 2
    (mutant / "spelling_transfer" / "__init__.py").write_text("\n".join(lines))
    assert seen_by_openmp(tmp_path, ENTRIES[entry], mutant) == {"unset unset"}
