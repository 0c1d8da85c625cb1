"""Ends a training run by SIGTERM and SIGKILL at random moments, takes it up again, and compares it with a whole one.

Each round is a run of its own: started, ended after a random time, started again, until it comes to its end. What is
checked: losses and weights equal those of an undisturbed run bit for bit; each SIGTERM ended in exit code 143 with a
checkpoint of its last step; at no time a checkpoint that cannot be read, or more than three (two are kept, and one is
being exchanged).

    python benchmarks/training_faults.py --rounds 50 --json results.json
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmark_table import finish, parser_of, row

_STEPS = 24
_EVERY_STEPS = 4
_WORDS = ["cab", "bad", "dab", "fad", "bead", "deaf", "face", "cafe", "fade", "babe"]


def main() -> None:
    """Runs the rounds and prints what was found; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="how many runs to disturb")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and signals")
    given = parser.parse_args()
    rows = disturb(2 if given.quick else given.rounds, given.seed)
    finish(rows, given.json)
    if any(each["goal"] not in (None, each["ours"]) for each in rows):
        sys.exit(1)


def disturb(rounds: int, seed: int) -> list[dict[str, Any]]:
    """Returns the rows of the comparison."""
    rng = random.Random(seed)
    # A server that has imported everything forks each run, so that a round costs seconds and no imports. It looks for
    # modules where a new Python does, and says nothing of one that it does not find.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.getenv("PYTHONPATH")]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_faults_run"])
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        longest_part = _part(context, whole, None, rng, counts)
        expected = (whole / "result.json").read_text()
        for number in range(rounds):
            run = Path(folder) / str(number)
            while not (run / "result.json").exists():
                ended_by = rng.choice([signal.SIGTERM, signal.SIGKILL])
                _part(context, run, ended_by, rng, counts, longest_part)
            counts["equal"] += (run / "result.json").read_text() == expected
    return [
        row("runs equal to an undisturbed one, bit for bit", counts["equal"], unit="runs", goal=rounds),
        row("ended by SIGKILL", counts["SIGKILL"], unit="times"),
        row("ended by SIGTERM", counts["SIGTERM"], unit="times"),
        row(
            "SIGTERM while training: step saved, exit code 143",
            counts["saved"],
            unit="times",
            goal=counts["SIGTERM, training"],
        ),
        row("checkpoints that could not be read", counts["unreadable"], unit="files", goal=0),
        row("moments with more than three checkpoints", counts["too many"], unit="times", goal=0),
        row("files half-written and never taken for a checkpoint", counts["parts"], unit="files"),
    ]


def _part(
    context: Any,
    folder: Path,
    ended_by: int | None,
    rng: random.Random,
    counts: Counter[str],
    longest_seconds: float = 0.0,
) -> float:
    """Starts or goes on with a run, ends it after a random time, and returns how long it trained."""
    from training_faults_run import train_once

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training").unlink(missing_ok=True)
    process = context.Process(target=train_once, args=(folder, _WORDS, _STEPS, _EVERY_STEPS))
    process.start()
    # Mostly from the moment that training begins, now and then before it.
    early = ended_by is not None and rng.random() < 0.1
    while not early and not (folder / "training").exists() and process.is_alive():
        time.sleep(0.005)
    began = time.monotonic()
    if ended_by is not None:
        time.sleep(rng.uniform(0.0, longest_seconds))
        was_training = (folder / "training").exists() and process.is_alive()
        if process.is_alive():
            process.kill() if ended_by == signal.SIGKILL else process.terminate()
    process.join()
    if ended_by is not None and process.exitcode != 0:
        _count_ended(folder, process.exitcode, ended_by, was_training, counts)
    _look_at_files(folder / "checkpoints", counts)
    return time.monotonic() - began


def _count_ended(folder: Path, code: int, ended_by: int, was_training: bool, counts: Counter[str]) -> None:
    counts[signal.Signals(ended_by).name] += 1
    if ended_by == signal.SIGTERM and was_training and code != -signal.SIGTERM:
        # Lightning's handler had it; before that, and after the last step, the signal ends the process by itself.
        counts["SIGTERM, training"] += 1
        steps = int((folder / "step").read_text())
        counts["saved"] += code == 143 and (folder / "checkpoints" / f"step={steps}.ckpt").exists()


def _look_at_files(checkpoints: Path, counts: Counter[str]) -> None:
    import torch

    files = list(checkpoints.glob("*.ckpt"))
    counts["too many"] += len(files) > 3  # the third is there between writing a new one and removing the oldest
    counts["parts"] += len(list(checkpoints.glob(".*.partial")))
    for file in files:
        try:
            torch.load(file, weights_only=True)
        except Exception:  # noqa: BLE001  (a file cut short fails in many ways)
            counts["unreadable"] += 1


if __name__ == "__main__":
    main()
