"""How fast bundles are, beside ``aws s3 sync``: one table from one run, on a real S3 server on this machine.

Both tools copy the same files to the same server and back, each by the command that a user types, in turns; its start
counts, that of Kedro included. ``aws s3 sync`` checks CRCs on the way; a bundle also has the server check SHA-256 and
checks it again at the other end. The server, the files and all copies are removed at the end.

    python benchmarks/storage.py --json results.json
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark_table import finish, parser_of, row

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "platform"))

from s3_server import S3Server  # noqa: E402

GOAL_RATIO, GOAL_SECOND_PUSH_SECONDS, GOAL_MB = 0.8, 2.0, 300


def main() -> None:
    """Runs the comparison and prints it; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "40 MB, one round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts")
    parser.add_argument("--folder", type=Path, help="where to work; needs 12 GB (300 MB with --quick)")
    arguments = parser.parse_args()
    n_files, rounds = (40, 1) if arguments.quick else (2000, arguments.rounds)
    place = Path(tempfile.mkdtemp(prefix="storage-benchmark-", dir=arguments.folder))
    try:
        rows = compare(place, n_files, rounds)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    finish(rows, arguments.json)


def compare(place: Path, n_files: int, rounds: int) -> list[dict[str, Any]]:
    """Pushes and pulls with both tools in turns."""
    source, project = place / "source", make_project(place / "project")
    size = make_files(source, n_files)
    seconds: dict[str, list[float]] = {}
    peaks, second_bytes = [0.0], 0
    with S3Server(folder=make(place / "server")) as server:
        environment = {**os.environ, **server.environment(), "SPELLING_TRANSFER_CACHE": str(place / "cache")}
        for number in range(rounds):
            # Fresh places, and who begins changes.
            ours, theirs = f"s3://{server.bucket}/ours{number}", f"s3://{server.bucket}/theirs{number}"
            shutil.rmtree(place / "cache", ignore_errors=True)
            (source / ".bundle.json").unlink(missing_ok=True)
            up = [
                ("push", kedro("bundle", "push", str(source), ours, "--json")),
                ("sync up", aws("sync", str(source), theirs, "--exclude", ".bundle.json")),
            ]
            down = [
                ("pull", kedro("bundle", "pull", ours, str(place / "pulled"), "--json")),
                ("sync down", aws("sync", theirs, str(place / "synced"))),
            ]
            again = [
                ("second push", kedro("bundle", "push", str(source), ours, "--json")),
                ("second sync", aws("sync", str(source), theirs, "--exclude", ".bundle.json")),
            ]
            for pair in (up, again, down):
                for name, command in pair[:: -1 if number % 2 else 1]:
                    took, peak, output = run_measured(command, environment, project)
                    seconds.setdefault(name, []).append(took)
                    if command[0].endswith("kedro"):
                        peaks.append(peak)
                        if name == "second push":
                            second_bytes += json.loads(output)["sent_bytes"]
            check_same(source, place / "pulled")
            for copy in ("pulled", "synced"):
                shutil.rmtree(place / copy)
            for url in (ours, theirs):
                subprocess.run(aws("rm", "--recursive", url), check=True, capture_output=True, env=environment)
    usual = {name: statistics.median(times) for name, times in seconds.items()}
    shape = f"{size / 1e9:.2f} GB in {n_files:,} files"
    peer = "aws s3 sync"
    return [
        speed_row(f"push {shape}", size, usual["push"], usual["sync up"], peer, goal=GOAL_RATIO),
        speed_row(f"pull {shape}", size, usual["pull"], usual["sync down"], peer, goal=GOAL_RATIO),
        row(
            f"second push of {shape}, unchanged",
            usual["second push"], usual["second sync"], peer, "s", goal=GOAL_SECOND_PUSH_SECONDS,
        ),
        row("second push: content sent", second_bytes, unit="bytes", goal=0),
        row("peak memory of push and pull", max(peaks), unit="MB", goal=GOAL_MB),
    ]  # fmt: skip


def run_measured(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float, str]:
    """Runs a command; returns its seconds, its peak memory in MB, and what it printed."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{command}: {errors.read()[-2000:]}")
        output.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        return took, usage.ru_maxrss * unit / 1e6, output.read()


def make_project(folder: Path) -> Path:
    """Copies the project's configuration, without the credentials of this machine."""
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    for name in ("pyproject.toml", ".kedro.yml", ".telemetry"):
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, folder / name)
    (folder / "conf" / "local").mkdir()
    (folder / "src").mkdir()
    return folder


def make_files(folder: Path, n_files: int) -> int:
    """Writes files of one megabyte that cannot be compressed; returns their bytes."""
    for number in range(n_files):
        file = folder / f"part-{number % 20:02d}" / f"{number:05d}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(1_000_000))
    time.sleep(3)  # younger files may still change, so they would be read again
    return n_files * 1_000_000


def check_same(left: Path, right: Path) -> None:
    """Compares two folders byte by byte."""
    subprocess.run(["diff", "-r", "-q", "--exclude=.bundle.json", str(left), str(right)], check=True)


def aws(*arguments: str) -> list[str]:
    """Returns a command of the AWS command line."""
    return [str(Path(sys.executable).with_name("aws")), "s3", *arguments, "--only-show-errors"]


def kedro(*arguments: str) -> list[str]:
    """Returns a command of this project."""
    return [str(Path(sys.executable).with_name("kedro")), *arguments]


def make(folder: Path) -> Path:
    """Makes a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def speed_row(
    metric: str, n_bytes: int, ours_seconds: float, peer_seconds: float, peer_name: str, *, goal: float
) -> dict[str, Any]:
    """Returns a row of throughput in MB/s."""
    ours, peer = n_bytes / 1e6 / ours_seconds, n_bytes / 1e6 / peer_seconds
    return row(metric, ours, peer, peer_name, "MB/s", goal=goal, more=True)


if __name__ == "__main__":
    main()
