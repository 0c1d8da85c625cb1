"""How fast adapters are trained and answers generated on one GPU, beside the usual trainers and ``generate``.

Qwen3-4B's shape with random bfloat16 weights, LoRA of rank 16, spelling examples. Each contestant's figures are written
as soon as they are there; a run that is ended goes on where it was, and what fails or takes too long is noted and
passed over. What compares with what, and the goals: ``gpu_results.py``.

    python benchmarks/gpu.py --kit KIT                  # here: all that a machine without a network needs
    KIT/run.sh --out results                            # there
    python benchmarks/gpu.py --json benchmarks/results/h100.json      # where all is installed
    python benchmarks/gpu.py --quick --json quick.json  # any machine: a tiny model, proves nothing
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # also where it is imported from elsewhere

from gpu_plan import PARTS, QUICK_PARTS, Contestant, plan
from gpu_results import changes, read_results, write_results

ROOT = Path(__file__).parents[1]
RUNNER = Path(__file__).with_name("gpu_contestants.py")
MARK = "@gpu-benchmark "
LIMIT_S = 480
LEAST_S = 15
"""A contestant that would have less time than this is not started."""
TAIL = 12


def main() -> None:
    """Makes the kit, or measures and prints."""
    arguments = parse()
    if arguments.kit:
        from gpu_kit import KitError, make_kit, sizes

        try:
            print(f"{arguments.kit}: {make_kit(arguments.kit):.1f} MB {sizes(arguments.kit)}")
        except KitError as error:
            sys.exit(str(error))
        return
    # Ended politely, it ends what it started, which is in a session of its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    file = arguments.json or arguments.out / "results.json"
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as scratch:
        data = arguments.data or made_data(Path(scratch) / "data")
        site = installed_wheels(arguments.wheels, arguments.site) if arguments.wheels else None
        bench = Bench(file, arguments.out / "log.txt", data, site, quick=arguments.quick, limit_s=arguments.limit)
        wanted = tuple(arguments.only.split(",")) if arguments.only else ("",)
        everyone = plan(arguments.parts, quick=arguments.quick)
        bench.run([each for each in everyone if each.contestant.startswith(wanted)])
    report(bench.results, arguments.against)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kit", type=Path, metavar="FOLDER", help="make the kit there and measure nothing")
    parser.add_argument("--parts", help=f"what to measure, of {', '.join(PARTS)}")
    parser.add_argument("--only", help="whom to measure, such as 'ours,TRL': those whose names begin so")
    parser.add_argument("--quick", action="store_true", help="a tiny model: shows that it runs, proves nothing")
    parser.add_argument("--json", type=Path, help="results file, by default results.json in --out; it is gone on with")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of results and log")
    parser.add_argument("--against", type=Path, metavar="FILE", help="print what changed by more than 5% since then")
    parser.add_argument("--data", type=Path, help="the kit's data; made anew without")
    parser.add_argument("--wheels", type=Path, help="the kit's wheels, installed first")
    parser.add_argument("--site", type=Path, help="where to install them")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help=f"seconds in all, by default {LIMIT_S}")
    arguments = parser.parse_args()
    known = QUICK_PARTS if arguments.quick else PARTS
    arguments.parts = tuple(arguments.parts.split(",")) if arguments.parts else known
    if unknown := sorted(set(arguments.parts) - set(known)):
        parser.error(f"--parts: {', '.join(unknown)} is none of {', '.join(known)}")
    for name in ("data", "wheels", "against"):
        given = getattr(arguments, name)
        if given is not None and not given.exists():
            parser.error(f"--{name}: {given} is not there")
    return arguments


def made_data(folder: Path) -> Path:
    """Makes the examples where no kit brings them."""
    from gpu_kit import EXAMPLES, QUESTIONS, WORDS, write_data

    write_data(folder, words=WORDS, examples=EXAMPLES, questions=QUESTIONS)
    return folder


def installed_wheels(wheels: Path, site: Path | None) -> Path:
    """Installs wheels into a folder of their own, once, and returns it."""
    files = sorted(wheels.glob("*.whl"))
    if not files:
        sys.exit(
            f"--wheels: {wheels} holds no wheels. Make the kit again with 'python benchmarks/gpu.py --kit FOLDER'."
        )
    names = hashlib.sha256("\n".join(file.name for file in files).encode()).hexdigest()[:12]
    # dill, which datasets pickles with, takes modules of a folder with another name for the user's own code.
    site = site or Path(tempfile.gettempdir()) / f"gpu-benchmark-{names}" / "site-packages"
    if (site / "complete").is_file():
        return site
    shutil.rmtree(site, ignore_errors=True)
    begin = time.perf_counter()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--target", str(site), *map(str, files)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the wheels cannot be installed: {done.stderr[-1500:]}")
    (site / "complete").touch()
    print(f"{len(files)} wheels installed in {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return site


class Bench:
    """Runs contestants, those of one process after another, and keeps what they measured.

    Args:
        file: Results; those that are there are not measured again.
        log: What contestants print.
        data: Examples, questions, tokenizer.
        site: Folder with further packages.
        quick: Whether the results are those of a tiny model.
        limit_s: Seconds in all.
        runner: The program that measures.
    """

    def __init__(
        self,
        file: Path,
        log: Path,
        data: Path,
        site: Path | None = None,
        *,
        quick: bool = False,
        limit_s: float = LIMIT_S,
        runner: Path = RUNNER,
    ) -> None:
        self.file, self.log, self.data, self.runner = file, log, data.resolve(), runner
        self.quick = quick
        self.ends = time.monotonic() + limit_s
        self.results = read_results(file)
        self.source = source_hash()
        paths = [*([site] if site else []), ROOT / "src", Path(__file__).parent]
        joined = os.pathsep.join([*(str(path.resolve()) for path in paths), os.environ.get("PYTHONPATH", "")])
        self.environment = {**os.environ, "PYTHONPATH": joined.rstrip(os.pathsep), "PYTHONUNBUFFERED": "1"}
        self.environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
        log.parent.mkdir(parents=True, exist_ok=True)

    def run(self, contestants: list[Contestant]) -> None:
        """Measures what the results do not hold yet."""
        held = {(each["part"], each["contestant"], each["setting"]) for each in self.results["details"]}
        waiting = [each for each in contestants if each.key not in held]
        for each in contestants:
            if each.key in held:
                print(f"{', '.join(each.key)}: already measured", file=sys.stderr, flush=True)
        groups: dict[str, list[Contestant]] = {}
        for each in waiting:
            groups.setdefault(each.process, []).append(each)
        for group in groups.values():
            while group:
                group = self._run_some(group)
        write_results(self.file, self.results)

    def _run_some(self, group: list[Contestant]) -> list[Contestant]:
        """Runs contestants in a process until one fails; returns those that are left."""
        if self.ends - time.monotonic() < LEAST_S:
            for each in group:
                self._note("failures", each, "not started: the time of the whole run was used up (--limit)")
            return []
        child = Child(self, group)
        try:
            for done, each in enumerate(group):
                began = time.monotonic()
                content, error = child.next_result(min(each.limit_s, self.ends - began))
                if error is not None:
                    self._note("failures", each, error)
                    return group[done + 1 :]
                if "why" in content:
                    self._note("not_measured", each, content["why"])
                else:
                    self._keep(each, content, time.monotonic() - began)
        finally:
            child.end()
        return []

    def _keep(self, contestant: Contestant, content: dict[str, Any], wall_s: float) -> None:
        self._forget(contestant)
        head = dict(zip(("part", "contestant", "setting"), contestant.key, strict=True))
        self.results["details"].append({**head, **content, "wall_s": round(wall_s, 1), "source": self.source})
        write_results(self.file, self.results)
        speeds = ("examples_per_second", "tokens_per_second")
        said = ", ".join(f"{content[name]:,.0f} {name}" for name in speeds if name in content)
        print(f"{', '.join(contestant.key)}: {said or 'done'} [{wall_s:.0f} s]", file=sys.stderr, flush=True)

    def _note(self, where: str, contestant: Contestant, why: str) -> None:
        self._forget(contestant)
        entry = dict(zip(("part", "contestant", "setting"), contestant.key, strict=True))
        self.results[where].append({**entry, "why": why})
        write_results(self.file, self.results)
        print(f"{', '.join(contestant.key)}: {where.replace('_', ' ')}: {why}", file=sys.stderr, flush=True)

    def _forget(self, contestant: Contestant) -> None:
        for where in ("failures", "not_measured"):
            kept = [
                each
                for each in self.results[where]
                if (each["part"], each["contestant"], each["setting"]) != contestant.key
            ]
            self.results[where] = kept

    def check_versions(self, found: dict[str, Any], *, on_cpu: bool) -> None:
        """Keeps the versions of the first process, and ends a run whose results would be mixed with others'."""
        if on_cpu:
            return
        if found["device"] == "CPU" and not self.quick:
            sys.exit("torch finds no GPU here. Give --quick for a tiny model on a CPU, which proves nothing.")
        found = {**found, "quick": self.quick}
        before = self.results["versions"]
        if before and self.results["details"] and any(before.get(name) != value for name, value in found.items()):
            changed = [name for name, value in found.items() if before.get(name) != value]
            sys.exit(
                f"{self.file} holds results of another machine or other versions ({', '.join(changed)}). Give another "
                "file with --json; --against compares the two."
            )
        self.results["versions"] = found


class Child:
    """A process that measures some contestants.

    Args:
        bench: Whose it is.
        group: What it measures.
    """

    def __init__(self, bench: Bench, group: list[Contestant]) -> None:
        self.bench, self.on_cpu = bench, group[0].on_cpu
        environment = {**bench.environment, "GPU_BENCHMARK_STARTED": str(time.time())}
        if self.on_cpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        given = json.dumps([asdict(each) for each in group])
        with bench.log.open("a") as log:
            self.log_start = bench.log.stat().st_size
            self.process = subprocess.Popen(
                [sys.executable, str(bench.runner), given, str(bench.data)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def next_result(self, limit_s: float) -> tuple[dict[str, Any], str | None]:
        """Waits for what the next contestant measured; returns it, or why there is nothing."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.end(patience_s=0)
                return {}, f"took longer than {limit_s:.0f} s\n{self._tail()}"
            if line is None:
                self.end()
                return {}, f"ended with exit code {self.process.returncode}\n{self._tail()}"
            if not line.startswith(MARK):
                continue
            message = json.loads(line.removeprefix(MARK))
            if message["kind"] == "environment":
                self.bench.check_versions(message["content"], on_cpu=self.on_cpu)
            elif message["kind"] in ("result", "not measured"):
                return message["content"], None

    def _tail(self) -> str:
        with self.bench.log.open("rb") as log:
            log.seek(self.log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(line for line in lines[-TAIL:] if line.strip())

    def end(self, patience_s: float = 5) -> None:
        """Ends the process and those it started, unless it has ended by itself by then."""
        try:
            self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def source_hash() -> str:
    """Returns a hash of the project's sources: which code a figure is of."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "src").rglob("*.py")):
        digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def report(results: dict[str, Any], against: Path | None) -> None:
    """Prints rows, what is missing, and what changed."""
    if results["versions"].get("quick"):
        print("--quick: a tiny model and tiny steps, whatever the settings are called; the figures prove nothing")
    if results["rows"]:
        from benchmark_table import show

        show(results["rows"])
    for where in ("failures", "not_measured"):
        for each in results[where]:
            why = each["why"].strip().splitlines() or [""]
            who = f"{each['part']}, {each['contestant']}, {each['setting']}"
            print(f"{where.replace('_', ' ')}: {who}: {' … '.join(dict.fromkeys((why[0], why[-1])))}")
    if against is not None:
        lines = changes(results["details"], read_results(against)["details"])
        print("\n".join([f"changed by more than 5% since {against}:", *lines]) if lines else "nothing changed by 5%")


if __name__ == "__main__":
    main()
