"""The training benchmark knows its parts; measuring takes minutes and is not done here."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"


def test_an_unknown_part_is_named() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--parts", "train-64"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train-64 is none of train-128" in done.stderr
