"""Kills workers, the study's process and PostgreSQL at random while a study runs, and compares what comes out of it.

The study's trials are light (light_study.py): their scores change in every digit where a step is lost or done twice.
With ``--real`` they are trainings of the embedded model (embedded_study.py), which take longer and lose as little.
What is checked: exactly the trials planned, each ended once; the scores and curves of an undisturbed run; no trial left
running in the records or in Optuna's tables; no attempt that began before the last checkpoint of the one before.

    python benchmarks/study_faults.py --kills 30 --storage postgresql --json results.json
    python benchmarks/study_faults.py --real --kills 12 --trials 6
"""

from __future__ import annotations

import argparse
import contextlib
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
import sqlalchemy as sa
from benchmark_table import finish, parser_of, row
from embedded_study import embedded_defaults, embedded_material, embedded_settings

HELPERS = Path(__file__).parents[1] / "tests" / "platform"
sys.path.append(str(HELPERS))

from light_study import LightStudy, light_defaults, light_settings  # noqa: E402
from local_postgres import LocalPostgres  # noqa: E402

from spelling_transfer.study.interfaces import StudyResult  # noqa: E402
from spelling_transfer.study.records import Records  # noqa: E402
from spelling_transfer.study.run import run_study  # noqa: E402

_DEADLINE_SECONDS = 1800
_CHECKPOINT_STEPS = 10


def main() -> None:
    """Runs the study with faults and prints what was found; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=30, help="how many processes to kill")
    parser.add_argument("--storage", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--real", action="store_true", help="train the embedded model in each trial")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--steps", type=int, default=60, help="steps of a trial")
    parser.add_argument("--step-seconds", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given, given.run, given.url)
        return
    rows = disturb(given)
    finish(rows, given.json)
    if not all(each["ours"] == each["goal"] for each in rows if each["goal"] is not None):
        sys.exit("The disturbed study is not the undisturbed one.")


def run(given: argparse.Namespace, folder: Path, url: str | None, workers: int | None = None) -> StudyResult:
    """Runs the study to its end, or until it is killed."""
    changes = {"n_trials": given.trials, "workers": workers or given.workers, "storage": url}
    changes |= {"seed": 7, "heartbeat_seconds": 1}
    if given.real:
        settings = embedded_settings(**changes, checkpoint_every=_CHECKPOINT_STEPS)
        return run_study(settings, embedded_defaults(), embedded_material(), folder=folder)
    settings = light_settings(**changes, patience=4)
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
            rows += [beside("trials in Optuna's tables that have not ended", unfinished(folder, server), 0, goal=0)]
            if not given.real:  # the log of steps is the light trials' own
                rows += [beside("steps lost beyond the last checkpoint", steps_lost(folder), 0, "steps", goal=0)]
            rows += attempts(folder, server, given)
        finally:
            if server:
                server.close()
    rows += [row(f"kills: {victim}", count, unit="kills") for victim, count in sorted(kills.items())]
    return [*rows, row("time of the disturbed study", round(seconds, 1), unit="s")]


def kill_at_random(given: argparse.Namespace, folder: Path, server: LocalPostgres | None) -> tuple[Counter[str], float]:
    """Runs the study in a process of its own and kills what takes part in it, until it is finished."""
    chance = random.Random(given.seed)
    kills: Counter[str] = Counter()
    began = time.monotonic()
    command = [sys.executable, __file__, "--run", str(folder)]
    if given.real:
        command += ["--real"]
    for name in ("workers", "trials", "steps", "step_seconds"):
        command += [f"--{name.replace('_', '-')}", str(getattr(given, name))]
    if server:
        command += ["--url", server.url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])}
    # The same share each, in random order.
    victims = ["worker", "parent", *(["postgresql"] if server else [])]
    order = (victims * given.kills)[: given.kills]
    chance.shuffle(order)
    parent = subprocess.Popen(command, env=environment)
    last = 0
    try:
        while time.monotonic() - began < _DEADLINE_SECONDS:
            if parent.poll() is not None:
                if parent.returncode == 0:
                    return kills, time.monotonic() - began
                if parent.returncode != -signal.SIGKILL:
                    raise RuntimeError(f"the study ended with exit code {parent.returncode}")
                parent = subprocess.Popen(command, env=environment)
            time.sleep(0.05)
            now = newest(folder)
            # Between two kills some trial must have got on, else the second would hit nothing.
            if not order or now == last:
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
            last = newest(folder)
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
        beside("trials", len(disturbed.trials), len(calm.trials), goal=planned),
        beside("numbers of trials", disturbed.trials["number"].nunique(), planned, goal=planned),
        beside("trials that ended once", int(ended.sum()), planned, goal=planned),
        beside("trials with the undisturbed scores", sum(same), planned, goal=planned),
        beside("learning curves as undisturbed", sum(curves), planned, goal=planned),
        beside("base model's scores as undisturbed", int(calm.base == disturbed.base), 1, "", goal=1),
    ]


def unfinished(folder: Path, server: LocalPostgres | None) -> int:
    """Returns how many trials Optuna's own tables lack or hold as not ended."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (name,) = optuna.get_all_study_names(server.url if server else f"sqlite:///{folder}/study.db")
    study = optuna.load_study(study_name=name, storage=server.url if server else f"sqlite:///{folder}/study.db")
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


def attempts(folder: Path, server: LocalPostgres | None, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns how often trials were resumed, and how often of these from a checkpoint."""
    engine = sa.create_engine(server.url if server else f"sqlite:///{folder}/study.db")
    trials = Records(engine, "embedded" if given.real else "light").trials()
    again = [trial for trial in trials if trial.attempt > 1]
    return [
        row("attempts beyond the first", sum(trial.attempt - 1 for trial in again), unit="attempts"),
        row("trials whose last attempt began at a checkpoint", sum(t.begun_at_step > 0 for t in again), unit="trials"),
    ]


def newest(folder: Path) -> int:
    """Returns when a trial last wrote something, in ns."""
    times = [0]
    for file in (folder / "trials").glob("**/*"):
        with contextlib.suppress(FileNotFoundError):  # replaced at this moment
            times.append(file.stat().st_mtime_ns)
    return max(times)


def beside(metric: str, ours: int, undisturbed: int, unit: str = "trials", *, goal: int) -> dict[str, Any]:
    """Returns a row of the disturbed study beside the undisturbed one."""
    return row(metric, ours, undisturbed, "undisturbed", unit, goal=goal, more=True)


if __name__ == "__main__":
    main()
