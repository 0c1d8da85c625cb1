"""How much slower pipelines, answers and serving are beside another process: one table.

Each is run alone and beside one process of two threads that never rest, as a neighbour on the same machine would.
Pipelines are run by ``kedro run`` on the embedded default, each in a new project; answers and serving also with threads
that spin while they wait. The model is the embedded one, the questions are of the spelling task. What is made must be
the same to the bit in all runs. What else the machine did stands beside the numbers as its load: above the neighbour's
two the figures say little.

    python benchmarks/busy.py --json busy.json
    python benchmarks/busy.py --part pipelines
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmark_table import finish, in_own_process, parser_of

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "data" / "01_raw" / "models" / "tiny-qwen3"
GOAL = 2.5
PIPELINES = ("local_prep", "token_analysis", "tuning", "evaluation", "deployment_check")
WAITING = {"asleep": "PASSIVE", "spinning": "ACTIVE"}
_SPIN = "import hashlib, sys, threading\n" + (
    "def spin():\n    while True: hashlib.sha256(b'0' * 50_000_000)\n"  # hashing releases the interpreter's lock
    "for _ in range(int(sys.argv[1])): threading.Thread(target=spin).start()"
)


def main() -> None:
    """Measures and prints the table; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "a few questions")
    parser.add_argument("--part", choices=("pipelines", "evaluation", "serving"), help="one alone")
    parser.add_argument("--waiting", choices=tuple(WAITING), action="append", help="one alone; both by default")
    parser.add_argument("--run", nargs=2, metavar=("PART", "QUESTIONS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        part, n_questions = arguments.run
        print(json.dumps(PARTS[part](int(n_questions))))
        return
    rows = [
        compare(part, waiting, arguments.quick)
        for waiting in arguments.waiting or WAITING
        for part in PARTS
        if arguments.part in (None, part)
    ]
    if arguments.part in (None, "pipelines"):
        rows += compare_pipelines(arguments.quick)
    finish(rows, arguments.json)


def compare(part: str, waiting: str, quick: bool) -> dict[str, Any]:
    """Runs a part alone and beside the neighbour, each in a process of its own."""
    n_questions = {"evaluation": 2_000, "serving": 200}[part] if not quick else 16
    environment = {**os.environ, "OMP_WAIT_POLICY": WAITING[waiting], "PYTHONPATH": str(ROOT / "src")}
    if waiting == "spinning":
        environment["KMP_BLOCKTIME"] = "200"
    run = partial(in_own_process, __file__, "--run", part, n_questions, environment=environment)
    load_before = os.getloadavg()[0]
    idle = run()
    with neighbour(quick):
        busy = run()
    return {
        "part": part,
        "threads wait": waiting,
        "idle seconds": round(idle["seconds"], 2),
        "busy seconds": round(busy["seconds"], 2),
        "ratio": round(busy["seconds"] / idle["seconds"], 2),
        "goal": GOAL if waiting == "asleep" else None,
        "answers/s idle": round(n_questions / idle["seconds"], 1),
        "answers/s busy": round(n_questions / busy["seconds"], 1),
        "same answers": idle["sha256"] == busy["sha256"],
        "load before": round(load_before, 2),
        "load after": round(os.getloadavg()[0], 2),
    }


def compare_pipelines(quick: bool) -> list[dict[str, Any]]:
    """Runs the pipelines one after another, in a project of their own alone and in another beside the neighbour."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for beside in (contextlib.nullcontext(), neighbour(quick)):
        with tempfile.TemporaryDirectory() as scratch, beside:
            project = Path(scratch) / "project"
            subprocess.run(
                [sys.executable, "-m", "spelling_transfer", "new", str(project)], check=True, stdout=sys.stderr
            )
            for pipeline in PIPELINES[:1] if quick else PIPELINES:
                started, load = time.perf_counter(), os.getloadavg()[0]
                subprocess.run(
                    [str(Path(sys.executable).with_name("kedro")), "run", f"--pipelines={pipeline}"],
                    cwd=project,
                    check=True,
                    stdout=sys.stderr,
                )
                runs.setdefault(pipeline, []).append(
                    {"seconds": time.perf_counter() - started, "made": made(project / "data"), "load": load}
                )
    return [
        {
            "part": pipeline,
            "threads wait": "asleep",
            "idle seconds": round(idle["seconds"], 1),
            "busy seconds": round(busy["seconds"], 1),
            "ratio": round(busy["seconds"] / idle["seconds"], 2),
            "goal": GOAL,
            "same answers": idle["made"] == busy["made"],
            "load before": round(idle["load"], 2),
            "load after": round(busy["load"], 2),
        }
        for pipeline, (idle, busy) in runs.items()
    ]


def made(data: Path) -> dict[str, str]:
    """Returns a hash of each file of weights and of each table without times."""
    tables = [file for file in data.rglob("*.csv") if b"second" not in file.read_bytes().partition(b"\n")[0]]
    files = [*tables, *data.rglob("*.safetensors")]
    return {str(file.relative_to(data)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


@contextlib.contextmanager
def neighbour(quick: bool) -> Iterator[None]:
    """Another process of two threads that never rest; of one where no time is measured."""
    process = subprocess.Popen([sys.executable, "-c", _SPIN, "1" if quick else "2"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def evaluate(n_questions: int) -> dict[str, Any]:
    """Lets the embedded model answer, as the evaluation does: greedily, in its batches, with its threads."""
    from spelling_transfer.evaluation.settings import EvaluationSettings
    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.models.generate import cpu_threads, generate_answers
    from spelling_transfer.models.load import load_model
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer

    settings = EvaluationSettings()
    tokenizer, loaded = load_chat_tokenizer(), load_model(ModelFolder(MODEL), device="cpu")
    prompts = tokenizer.encode_prompts(questions(n_questions))
    with cpu_threads(settings.threads):
        started = time.perf_counter()
        answers = generate_answers(
            loaded, tokenizer, prompts, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
        )
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "sha256": digest(answers)}


def serve(n_questions: int) -> dict[str, Any]:
    """Asks an endpoint of the embedded model, four clients at once."""
    from concurrent.futures import ThreadPoolExecutor

    from kedro_non_thinking import load_policy
    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.serving.client import EndpointClient
    from spelling_transfer.serving.process import running_endpoint

    with tempfile.TemporaryDirectory() as scratch:
        folder = deployable(Path(scratch) / "deployable", load_policy().sampling.model_dump())
        with (
            running_endpoint(ModelFolder(folder), start_timeout_seconds=600, accelerator="cpu") as endpoint,
            EndpointClient(endpoint.url, endpoint.model, timeout_seconds=600) as client,
            ThreadPoolExecutor(4) as pool,
        ):
            asked = list(enumerate(questions(n_questions)))

            def ask(numbered: tuple[int, str]) -> list[int]:
                reply = client.ask(numbered[1], seed=numbered[0], return_token_ids=True)
                assert reply.ok, reply.error
                return reply.token_ids

            list(pool.map(ask, asked[:8]))  # warm
            started = time.perf_counter()
            list(pool.map(ask, asked))
            seconds = time.perf_counter() - started
            # One at a time: who shares a batch is chance, and changes the last bits of what is computed.
            answers = [ask(numbered) for numbered in asked[:32]]
    return {"seconds": seconds, "sha256": digest(answers)}


PARTS = {"evaluation": evaluate, "serving": serve}


def deployable(target: Path, sampling: dict[str, float]) -> Path:
    """Makes the embedded model, as it is, into a folder that can be served."""
    from spelling_transfer.models.folder import ModelFolder, new_folder
    from spelling_transfer.serving.deployable import SETTINGS_FILE
    from spelling_transfer.serving.settings import EndpointSettings
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer

    tokenizer, base = load_chat_tokenizer(), ModelFolder(MODEL)
    notes = {
        "kind": "deployable",
        "model": "tiny-qwen3",
        "enable_thinking": False,
        "sampling": sampling,
        "tokenizer_sha256": tokenizer.sha256,
        "template_sha256": tokenizer.template_sha256,
    }
    with new_folder(target, notes) as work:
        for name in base.manifest()["files"]:
            (work / name).write_bytes((MODEL / name).read_bytes())
        (work / SETTINGS_FILE).write_text(EndpointSettings().model_dump_json())
    return target


def questions(count: int) -> list[str]:
    """Returns so many questions of the spelling task, the same each time."""
    from wordfreq import top_n_list

    from spelling_transfer.tasks.registry import load_tasks

    chance = random.Random(0)
    words = [word for word in top_n_list("en", 3 * count + 100) if word.isascii() and word.isalpha() and len(word) > 2]
    task = load_tasks()["spelling"]
    return [task.make(word, chance).question for word in words[:count]]


def digest(answers: list[list[int]]) -> str:
    """Returns a hash of all answers."""
    return hashlib.sha256(json.dumps(answers).encode()).hexdigest()


if __name__ == "__main__":
    main()
