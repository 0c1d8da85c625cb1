"""What the dispatch of jobs costs and withstands, beside the SDK's own ``Job.run``: one table from one run.

A stand-in of the platform runs as a process of its own and executes each job's command. Three parts:

- overhead: jobs one after another and 50 at a time; from asking for a job to its first command, and from its last
  command to its result;
- faults: 200 jobs while a tenth of all answers are errors or cut connections, half of them after the request took
  effect; each job writes one line, so work done twice or not at all is seen;
- the SDK's ``Job.run`` under the same faults, which repeats requests that create things.

    python benchmarks/compute.py --json results.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from benchmark_table import finish, memory_mb, parser_of, row

ROOT = Path(__file__).parents[1]
GOAL_SECONDS, GOAL_MB, GOAL_CALLS = 2.0, 300.0, 10.0
SDK_ONLY = "--sdk-only"
FAULTS = {"match": ".", "rate": 0.1, "times": 10**9, "status": [429, 500, 502, 503, "cut"], "after": "sometimes"}


def main() -> None:
    """Runs all parts and prints them; ``--json FILE`` also writes them."""
    parser = parser_of(__doc__, "few short jobs")
    parser.add_argument("--jobs", type=int, default=None, help="jobs of the part with faults (200)")
    parser.add_argument(SDK_ONLY, nargs=2, metavar=("JOBS", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sdk_only:
        run_with_sdk(int(arguments.sdk_only[0]), Path(arguments.sdk_only[1]))
        return
    with tempfile.TemporaryDirectory() as folder, Platform() as platform:
        few = (2, 4, 0.5) if arguments.quick else (10, 50, 15.0)
        rows = measure_overhead(platform, Path(folder), *few)
        jobs = arguments.jobs or (10 if arguments.quick else 200)
        rows += measure_faults(platform, Path(folder), jobs, seconds=2 if arguments.quick else 40)
        rows += [row("memory of the driver, peak", memory_mb(), unit="MB", goal=GOAL_MB)]
        if not arguments.quick:
            rows += compare_sdk(platform, Path(folder), jobs=20)
    finish(rows, arguments.json)


class Platform:
    """The stand-in, as a process of its own, so that its memory and its time are not counted as ours."""

    def __enter__(self) -> Platform:
        environment = {**os.environ, "FAKE_EXEC": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fake_lightning"],
            cwd=ROOT / "tests" / "platform",
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        os.environ.update(
            LIGHTNING_CLOUD_URL=self.url, LIGHTNING_USER_ID="u-1", LIGHTNING_API_KEY="key-1",
            LIGHTNING_TEAMSPACE="acme/spelling", LIGHTNING_DISABLE_VERSION_CHECK="1",
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.control("reset", {})
        self._process.terminate()
        self._process.wait(10)

    def control(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Asks the stand-in itself."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_fake/{what}", data)) as answer:
            return dict(json.loads(answer.read()))

    def calls(self) -> int:
        """Returns how many requests the platform has had."""
        return len(self.control("log")["log"])

    def jobs(self) -> list[dict[str, Any]]:
        """Returns all jobs."""
        return list(self.control("state")["jobs"])


def dispatcher_of(run_id: str, max_jobs: int, on_line: Any = lambda title, line: None) -> tuple[Any, str]:
    """Returns a dispatcher, and the id of a Studio to start from."""
    from kedro_lightning.jobs.dispatch import Dispatcher
    from kedro_lightning.platform.client import connect
    from kedro_lightning.platform.jobs import JobsApi
    from kedro_lightning.platform.studios import StudiosApi

    connection = connect(None)
    studio = StudiosApi(connection).create("bench")
    return Dispatcher(JobsApi(connection), run_id, max_jobs=max_jobs, on_line=on_line), studio.id


def work_of(key: str, studio: str, folder: Path, seconds: float) -> Any:
    """Returns work that notes when it begins and ends."""
    from kedro_lightning.jobs.work import EXIT_MARK, Work
    from kedro_lightning.platform.machines import Machine

    file = folder / f"{key}.times"
    script = (
        f"echo begin $(date +%s.%N) >> {file}; sleep {seconds}; echo end $(date +%s.%N) >> {file}; echo '{EXIT_MARK}'0"
    )
    machine = Machine("T4", "lit-t4-1", "T4", 1, 16.0, 0.68)
    return Work(key, key, lambda attempt: script, studio, (machine,))


def note_time(times: dict[str, float], key: str, _: Future[Any]) -> None:
    """Notes when a future ended."""
    times[key] = time.time()


def measure_overhead(platform: Platform, folder: Path, single: int, many: int, seconds: float) -> list[dict[str, Any]]:
    """Times jobs one after another and many at once, the seconds they sleep left out."""
    rows = []
    for name, count, at_once in (("one after another", single, 1), (f"{many} at once", many, many)):
        dispatcher, studio = dispatcher_of(f"overhead-{at_once}", at_once)
        asked: dict[str, float] = {}
        done: dict[str, float] = {}
        pending: list[tuple[str, Future[Any]]] = []
        for number in range(count):
            key = f"o{at_once}-{number}"
            asked[key] = time.time()
            future = dispatcher.submit(work_of(key, studio, folder, min(3.0, seconds) if at_once == 1 else seconds))
            future.add_done_callback(partial(note_time, done, key))
            pending.append((key, future))
            if at_once == 1:
                future.result(120)
        for _, future in pending:
            future.result(300)
        dispatcher.close()
        starts, ends = [], []
        for key, _ in pending:
            begin, end = (float(line.split()[1]) for line in (folder / f"{key}.times").read_text().splitlines())
            starts.append(begin - asked[key])
            ends.append(done[key] - end)
        total = sorted(start + end for start, end in zip(starts, ends, strict=True))
        rows.append(row(f"overhead a node, {name}, median", total[len(total) // 2], unit="s", goal=GOAL_SECONDS))
        rows.append(row(f"overhead a node, {name}, largest", total[-1], unit="s", goal=GOAL_SECONDS))
    return rows


def measure_faults(platform: Platform, folder: Path, jobs: int, seconds: float) -> list[dict[str, Any]]:
    """Runs many jobs while a tenth of the answers are faulty, and counts what happened."""
    dispatcher, studio = dispatcher_of("faults", min(jobs, 100))
    before = platform.calls()
    platform.control("faults", FAULTS)
    futures = {f"f-{n}": dispatcher.submit(work_of(f"f-{n}", studio, folder, seconds)) for n in range(jobs)}
    failed = sum(future.exception(600) is not None for future in futures.values())
    dispatcher.close()
    calls = platform.calls() - before
    minutes = jobs * seconds / 60
    done = Counter(
        sum(line.startswith("end") for line in (folder / f"{key}.times").read_text().splitlines())
        if (folder / f"{key}.times").exists()
        else 0
        for key in futures
    )
    begun = sum(
        (folder / f"{key}.times").read_text().count("begin") for key in futures if (folder / f"{key}.times").exists()
    )
    running = [job["name"] for job in platform.jobs() if job["state"] not in ("completed", "failed", "stopped")]
    return [
        row(f"{jobs} jobs, 10% faulty answers: pieces of work done exactly once", done[1], unit="jobs", goal=jobs),
        row("commands begun in all", begun, unit="jobs", goal=jobs),
        row("jobs reported as failed", failed, unit="jobs", goal=0),
        row("machines still on afterwards", len(running), unit="jobs", goal=0),
        row("requests a job-minute", calls / minutes, unit="1/min", goal=GOAL_CALLS),
    ]


def compare_sdk(platform: Platform, folder: Path, jobs: int) -> list[dict[str, Any]]:
    """Starts jobs with the SDK's own class and with ours while answers are lost after they took effect."""
    lost = {**FAULTS, "match": "POST .*/jobs$", "rate": 0.3, "after": True}
    counts = {}
    for name in ("ours", "sdk"):
        platform.control("reset", {})
        platform.control("faults", lost)
        if name == "ours":
            dispatcher, studio = dispatcher_of("compare", jobs)
            for future in [dispatcher.submit(work_of(f"c-{n}", studio, folder, 1.0)) for n in range(jobs)]:
                future.result(300)
            dispatcher.close()
        else:
            command = [sys.executable, __file__, SDK_ONLY, str(jobs), str(folder)]
            subprocess.run(command, check=True, timeout=900)
        counts[name] = len(platform.jobs())
    return [
        row(f"machines rented for {jobs} jobs, 30% of creations unanswered", counts["ours"], unit="jobs", goal=jobs,
            peer=counts["sdk"], peer_name="lightning_sdk.Job.run"),
    ]  # fmt: skip


def run_with_sdk(jobs: int, folder: Path) -> None:
    """Starts jobs as the SDK's documentation shows it."""
    from lightning_sdk import Job, Machine, Studio

    studio = Studio("bench", teamspace="spelling", org="acme", create_ok=True)
    for number in range(jobs):
        try:
            Job.run(name=f"sdk-{number}", machine=Machine.T4, command="sleep 1", studio=studio)
        except Exception as error:  # noqa: BLE001  (bare exceptions are what it raises)
            print(f"sdk-{number}: {type(error).__name__}", file=sys.stderr)


if __name__ == "__main__":
    main()
