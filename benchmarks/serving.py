"""How fast the endpoint answers beside ``transformers serve`` with continuous batching and LitServe's plain example.

One run: the same model (rows, weights and sampling of a deployable) behind all three, asked the same questions by 1, 8
and 32 clients over HTTP, in rounds in which the three take turns; who is not asked is stopped, so that it takes no
processor time. Medians of rounds count, and only ratios mean anything on a machine that does other work too.

    kedro run --pipelines=deployment_check && python benchmarks/serving.py --json benchmarks/results/serving.json

``--peer-python`` names another interpreter for ``transformers serve``, where ``transformers[serving]`` is installed.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from benchmark_table import parser_of, row, show

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.process import running_endpoint
from spelling_transfer.tokenizer.chat import load_chat_tokenizer

ROOT = Path(__file__).parents[1]
WORDS = ("garden", "table", "letter", "history", "cat", "mountain", "remember", "different", "ask", "sea")
LONGEST = 48
LOADS = ((1, 60), (8, 96), (32, 256))
"""Clients at once, and requests in each measurement."""
OURS, TRANSFORMERS, LITSERVE = "ours", "transformers serve", "LitServe, plain"
GOALS = {(32, TRANSFORMERS): 1.5, (32, LITSERVE): 3.0, (1, TRANSFORMERS): 1.0, (1, LITSERVE): 1.0}

_MEASURED = ("answers", "1/s", True), ("tokens", "1/s", True), ("p95", "ms", False), ("processor time", "ms", False)

_LITSERVE = """
import sys
import litserve, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

class Plain(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
        self.model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).to(device).eval()

    def decode_request(self, request):
        return self.tokenizer(request["prompt"], return_tensors="pt")

    def predict(self, inputs):
        ids = self.model.generate(**inputs, max_new_tokens=int(sys.argv[3]), do_sample=True)
        return ids[0, inputs["input_ids"].shape[1]:]

    def encode_response(self, ids):
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return {"text": text, "usage": {"completion_tokens": len(ids)}}

if __name__ == "__main__":
    server = litserve.LitServer(Plain(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
"""


@dataclass
class Contestant:
    """A server that answers.

    Attributes:
        name: Who it is.
        port: Where it listens.
        path: What is posted to.
        body: What is posted, for a question.
        process: Its first process, the leader of its group.
        start_seconds: From its start to its first answer.
        measured: For each number of clients, of each round: answers a second, tokens a second, the 95th percentile of
            latencies in ms, and processor time an answer in ms, which other work on the machine changes least.
    """

    name: str
    port: int
    path: str
    body: Any
    process: Any
    start_seconds: float = 0.0
    measured: dict[int, list[tuple[float, ...]]] = field(default_factory=dict)

    def pause(self) -> None:
        """Stops all its processes."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets them run again."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def processor_seconds(self) -> float:
        """Returns the processor time of all its processes so far."""
        total = 0.0
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if os.getpgid(process.pid) == self.process.pid:
                    total += sum(process.cpu_times()[:2])
        return total

    def ask(self, connection: http.client.HTTPConnection, question: str) -> int:
        """Asks a question and returns the number of tokens of the answer, the end token included."""
        connection.request("POST", self.path, json.dumps(self.body(question)), {"Content-Type": "application/json"})
        response = connection.getresponse()
        said = response.read()
        if response.status != 200:
            raise SystemExit(f"{self.name}: {response.status} {said[:400]!r}")
        return int(json.loads(said)["usage"]["completion_tokens"])

    def measure(self, clients: int, n_requests: int) -> None:
        """Asks from several clients at once and keeps what came out."""
        places, seconds, tokens = iter(range(n_requests)), [], []
        lock = threading.Lock()

        def work() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            while True:
                with lock:
                    place = next(places, None)
                if place is None:
                    return
                started = time.perf_counter()
                tokens.append(self.ask(connection, f"How do you spell {WORDS[place % len(WORDS)]}?"))
                seconds.append(time.perf_counter() - started)

        used = self.processor_seconds()
        threads = [threading.Thread(target=work) for _ in range(clients)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - started
        if len(seconds) != n_requests:
            raise SystemExit(f"{self.name}: {n_requests - len(seconds)} of {n_requests} were not answered")
        used = (self.processor_seconds() - used) / n_requests * 1000
        found = n_requests / took, sum(tokens) / took, float(np.percentile(seconds, 95)) * 1000, used
        self.measured.setdefault(clients, []).append(found)


def plain_model(deployable: ModelFolder, target: Path) -> Path:
    """Writes a copy of a deployable that any tool opens: row numbers are its token ids, and its template cannot think.

    The tokenizer knows whole words alone, which is what the questions here are made of.
    """
    tokenizer = load_chat_tokenizer()
    shutil.copytree(deployable.path, target, ignore=shutil.ignore_patterns("*token_ids.json", "manifest.json"))
    data = json.loads(tokenizer.tokenizer.to_str())
    rows = Vocabulary.of_folder(deployable.path, json.loads((target / "config.json").read_text())["vocab_size"])
    id_of = rows.to_ids(np.arange(rows.n_rows)).tolist()
    row_of = {token: i for i, token in enumerate(id_of)}
    words = {text: row_of[token] for text, token in data["model"]["vocab"].items() if token in row_of}
    data["added_tokens"] = [{**t, "id": row_of[t["id"]]} for t in data["added_tokens"] if t["id"] in row_of]
    data["model"] = {"type": "WordLevel", "vocab": words, "unk_token": next(iter(words))}
    (target / "tokenizer.json").write_text(json.dumps(data))
    end = tokenizer.tokenizer.id_to_token(tokenizer.end_id)
    parts = {"before": tokenizer.prefix, "after": tokenizer.suffix}
    template = "{{ %(before)s }}{{ messages[0].content }}{{ %(after)s }}" % {k: json.dumps(v) for k, v in parts.items()}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "chat_template": template}
    (target / "tokenizer_config.json").write_text(json.dumps(config))
    card = read_card(deployable)
    sampling = {**card.sampling.model_dump(), "do_sample": True, "eos_token_id": row_of[tokenizer.end_id]}
    (target / "generation_config.json").write_text(json.dumps({**sampling, "pad_token_id": row_of[tokenizer.end_id]}))
    return target


@contextmanager
def started(contestant: Contestant, show_log: Path) -> Iterator[Contestant]:
    """Waits for the first answer, and ends all processes at the end."""
    began = time.monotonic()
    try:
        while True:
            if contestant.process.poll() is not None or time.monotonic() > began + 300:
                raise SystemExit(f"{contestant.name} did not start:\n{show_log.read_text()[-3000:]}")
            try:
                contestant.ask(http.client.HTTPConnection("127.0.0.1", contestant.port, timeout=60), WORDS[0])
                break
            except OSError:
                time.sleep(0.1)
        contestant.start_seconds = time.monotonic() - began
        yield contestant
    finally:
        contestant.go_on()
        os.killpg(contestant.process.pid, signal.SIGKILL)
        contestant.process.wait()


def spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a command on one processor's worth of threads, in a group of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compare(deployable: ModelFolder, peer_python: str, rounds: int, place: Path) -> list[Contestant]:
    """Starts the three and measures them in turns."""
    model, card = plain_model(deployable, place / "plain"), read_card(deployable)
    tokenizer = load_chat_tokenizer()

    def chat(name: str) -> Any:
        return lambda text: {
            "model": name, "max_tokens": LONGEST, "messages": [{"role": "user", "content": text}]
        }  # fmt: skip

    with ExitStack() as stack:
        began = time.monotonic()
        ours = stack.enter_context(running_endpoint(deployable, accelerator="cpu", start_timeout_seconds=300))
        ready = time.monotonic() - began
        contestants = [
            Contestant(
                OURS,
                ours.listen.port,
                "/v1/chat/completions",
                chat(card.model),
                ours.process,
                start_seconds=ready,
            )
        ]
        port, log = free_port(), place / "transformers.log"
        serve = [peer_python, "-m", "transformers.cli.transformers", "serve", str(model), "--continuous-batching"]
        serve += ["--cb-max-memory-percent", "0.05"]  # else its cache takes most of the memory
        process = spawn([*serve, "--device", "cpu", "--port", str(port), "--host", "127.0.0.1"], log)
        peer = Contestant(TRANSFORMERS, port, "/v1/chat/completions", chat(str(model)), process)
        contestants.append(stack.enter_context(started(peer, log)))
        peer.pause()
        (place / "plain_litserve.py").write_text(_LITSERVE)
        port, log = free_port(), place / "litserve.log"
        process = spawn([peer_python, str(place / "plain_litserve.py"), str(model), str(port), str(LONGEST)], log)
        peer = Contestant(LITSERVE, port, "/predict", lambda text: {"prompt": tokenizer.render(text)}, process)
        contestants.append(stack.enter_context(started(peer, log)))
        for contestant in contestants:
            contestant.go_on()
            contestant.measure(8, 16)  # not counted
            contestant.measured.clear()
            contestant.pause()
        for _ in range(rounds):
            for clients, n_requests in LOADS:
                for contestant in contestants:
                    contestant.go_on()
                    contestant.measure(clients, n_requests)
                    contestant.pause()
        contestants[0].go_on()
    return contestants


def table(contestants: list[Contestant]) -> list[dict[str, Any]]:
    """Returns the rows: medians of the rounds, and of the ratios within each round."""
    ours, *peers = contestants
    rows = []
    for clients, _ in LOADS:
        for peer in peers:
            for place, (what, unit, more) in enumerate(_MEASURED):
                mine, its = ([found[place] for found in c.measured[clients]] for c in (ours, peer))
                goal = GOALS.get((clients, peer.name)) if what == "answers" else 1.0 if what == "p95" else None
                one = row(
                    f"{what}, {clients} client{'s' * (clients > 1)}",
                    statistics.median(mine),
                    statistics.median(its),
                    peer.name,
                    unit,
                    goal=goal,
                    more=more,
                )
                each = [a / b if more else b / a for a, b in zip(mine, its, strict=True)]
                rows.append({**one, "ratio": round(statistics.median(each), 3), "ratios": [round(x, 2) for x in each]})
    rows += [row("ready after", ours.start_seconds, peer.start_seconds, peer.name, "s", goal=None) for peer in peers]
    return rows


def main() -> None:
    """Runs the comparison and prints it; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__)
    parser.add_argument("--deployable", type=Path, default=ROOT / "data/06_models/deployable")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter with transformers[serving], litserve"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        contestants = compare(
            ModelFolder.open(arguments.deployable), arguments.peer_python, arguments.rounds, Path(place)
        )
    rows = table(contestants)
    show(rows)
    if arguments.json:
        load = os.getloadavg()[0]
        note = f"{os.cpu_count()} processors, load {load:.1f} at the end: not idle" if load > 3 else f"load {load:.1f}"
        arguments.json.write_text(json.dumps({"machine": note, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
