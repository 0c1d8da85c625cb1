"""Kills workers, the study's process and PostgreSQL at random while a study runs, and compares what comes out of it.

The study's trials are light (light_study.py): their scores change in every digit where a step is lost or done twice.
What is checked: exactly the trials planned, each ended once; the scores and curves of an undisturbed run; no trial left
running in the records or in Optuna's tables; no attempt that began before the last checkpoint of the one before.

    python benchmarks/study_faults.py --kills 30 --storage postgresql --json results.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from light_study import LightStudy, light_defaults, light_settings
from local_postgres import LocalPostgres

from spelling_transfer.study.executor import StudyResult, run_study

HERE = Path(__file__).parent
_DEADLINE_SECONDS = 900


def main() -> None:
    """Runs the study with faults and prints what was found; ``--json FILE`` also writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="how many processes to kill")
    parser.add_argument("--storage", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--steps", type=int, default=60, help="steps of a trial")
    parser.add_argument("--step-seconds", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given, given.run, given.url)
        return
    rows = disturb(given)
    for row in rows:
        print(
            f"{row['metric']}: {row['ours']} {row['unit']}" + (f" (undisturbed: {row['peer']})" if row["peer"] else "")
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    if not all(row["ours"] == row["goal"] for row in rows if row["goal"] is not None):
        sys.exit("The disturbed study is not the undisturbed one.")


def run(given: argparse.Namespace, folder: Path, url: str | None, workers: int | None = None) -> StudyResult:
    """Runs the study to its end, or until it is killed."""
    settings = light_settings(
        n_trials=given.trials, workers=workers or given.workers, storage=url, patience=4, seed=7, heartbeat_seconds=1
    )
    study = LightStudy(step_seconds=given.step_seconds if workers is None else 0.0)
    return run_study(settings, light_defaults(given.steps), study, folder=folder)


def disturb(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs the study while it is disturbed, and once undisturbed; returns the rows of the comparison."""
    with tempfile.TemporaryDirectory(prefix="study-faults-") as place:
        calm = run(given, Path(place) / "calm", None, workers=1)
        folder = Path(place) / "disturbed"
        server = LocalPostgres() if given.storage == "postgresql" else None
        try:
            kills, seconds = kill_at_random(given, folder, server)
            disturbed = run(given, folder, server.url if server else None)
            rows = compare(calm, disturbed, given)
            rows += [row("trials in Optuna's tables that have not ended", unfinished(folder, server), 0, goal=0)]
            rows += [row("steps lost beyond the last checkpoint", steps_lost(folder), 0, "steps", goal=0)]
            rows += [row("attempts beyond the first", attempts_beyond_first(folder), None, "attempts")]
        finally:
            if server:
                server.close()
    rows += [row(f"kills: {victim}", count, None, "kills") for victim, count in sorted(kills.items())]
    return [*rows, row("time of the disturbed study", round(seconds, 1), None, "s")]


def kill_at_random(given: argparse.Namespace, folder: Path, server: LocalPostgres | None) -> tuple[Counter[str], float]:
    """Runs the study in a process of its own and kills what takes part in it, until it is finished."""
    chance = random.Random(given.seed)
    kills: Counter[str] = Counter()
    began = time.monotonic()
    command = [sys.executable, __file__, "--run", str(folder)]
    for name in ("workers", "trials", "steps", "step_seconds"):
        command += [f"--{name.replace('_', '-')}", str(getattr(given, name))]
    if server:
        command += ["--url", server.url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    # The same share each, in random order.
    victims = ["worker", "parent", *(["postgresql"] if server else [])]
    order = (victims * given.kills)[: given.kills]
    chance.shuffle(order)
    parent = subprocess.Popen(command, env=environment)
    logged = 0
    try:
        while time.monotonic() - began < _DEADLINE_SECONDS:
            if parent.poll() is not None:
                if parent.returncode == 0:
                    return kills, time.monotonic() - began
                if parent.returncode != -signal.SIGKILL:
                    raise RuntimeError(f"the study ended with exit code {parent.returncode}")
                parent = subprocess.Popen(command, env=environment)
            time.sleep(0.05)
            size = sum(log.stat().st_size for log in (folder / "trials").glob("*/steps.log"))
            # Between two kills some trial must have got on, else the second would hit nothing.
            if not order or size == logged:
                continue
            time.sleep(chance.uniform(0.0, 1.5))
            victim = order[0]
            if victim == "parent":
                parent.kill()
                parent.wait()
            elif victim == "postgresql" and server:
                server.kill()
                time.sleep(chance.uniform(0.0, 2.0))
                server.start()
            elif not kill_worker(parent.pid, chance):
                continue
            kills[order.pop(0)] += 1
            logged = sum(log.stat().st_size for log in (folder / "trials").glob("*/steps.log"))
    finally:
        if parent.poll() is None:
            parent.kill()
            parent.wait()
    raise TimeoutError("the study did not come to its end")


def kill_worker(parent: int, chance: random.Random) -> bool:
    """Kills one worker of a study; returns whether there was one."""
    try:
        workers = psutil.Process(parent).children()
    except psutil.NoSuchProcess:
        return False
    if not workers:
        return False
    try:
        chance.choice(sorted(workers, key=lambda process: process.pid)).kill()
    except psutil.NoSuchProcess:
        return False
    return True


def compare(calm: StudyResult, disturbed: StudyResult, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns rows on trials, states and scores."""
    ended = disturbed.trials["state"].isin(["complete", "stopped", "pruned"])
    same = [
        calm.trials.iloc[i].equals(disturbed.trials.iloc[i])
        for i in range(min(len(calm.trials), len(disturbed.trials)))
    ]
    curves = [
        of_trial.reset_index(drop=True).equals(
            disturbed.curves[disturbed.curves["number"] == number].reset_index(drop=True)
        )
        for number, of_trial in calm.curves.groupby("number")
    ]
    planned = given.trials
    return [
        row("trials", len(disturbed.trials), len(calm.trials), goal=planned),
        row("numbers of trials", disturbed.trials["number"].nunique(), planned, goal=planned),
        row("trials that ended once", int(ended.sum()), planned, goal=planned),
        row("trials with the undisturbed scores", sum(same), planned, goal=planned),
        row("learning curves as undisturbed", sum(curves), planned, goal=planned),
        row("base model's scores as undisturbed", int(calm.base == disturbed.base), 1, "", goal=1),
    ]


def unfinished(folder: Path, server: LocalPostgres | None) -> int:
    """Returns how many trials Optuna's own tables lack or hold as not ended."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name="light", storage=server.url if server else f"sqlite:///{folder}/study.db")
    log = pd.Series([trial.state.is_finished() for trial in study.trials])
    return int((~log).sum()) + abs(len(log) - len(list((folder / "trials").iterdir())))


def steps_lost(folder: Path) -> int:
    """Returns the steps that attempts began too early, by the trials' own logs."""
    lost = 0
    for log in (folder / "trials").glob("*/steps.log"):
        kept = 0
        for line in log.read_text().splitlines():
            word, _, step = line.partition(" ")
            if word == "from":
                lost += max(0, kept - int(step))
            elif word == "kept":
                kept = int(step)
    return lost


def attempts_beyond_first(folder: Path) -> int:
    """Returns how often a trial was taken up again."""
    return sum(log.read_text().count("from ") - 1 for log in (folder / "trials").glob("*/steps.log"))


def row(metric: str, ours: Any, peer: Any, unit: str = "trials", *, goal: float | None = None) -> dict[str, Any]:
    """Returns a row of the result; ``peer`` is the undisturbed run."""
    name = None if peer is None else "undisturbed"
    return {"metric": metric, "ours": ours, "peer": peer, "peer_name": name, "unit": unit, "ratio": None, "goal": goal}


if __name__ == "__main__":
    main()
