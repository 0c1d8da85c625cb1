"""vLLM in place of our own engine: its server is a child, in an environment of its own, that is asked in tokens alone.

It never sees a text: prompts are rendered and answers read here; it loads no tokenizer and has no template that could
think. Sampling goes with every request. What an answer may hold does not, as vLLM's newer model runner takes 1,024
``allowed_token_ids`` at most: `in_vllm` gives the list to the server, where it holds for every request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

import httpx

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.serving.batch import DrawnAnswer, PreparedRequest, RunningRequest
from spelling_transfer.serving.engine import BaseEngine, read_parts
from spelling_transfer.serving.messages import line, overdue, refusal
from spelling_transfer.serving.process import tail
from spelling_transfer.serving.protocol import AnswerRequest, ChatRequest, RefusedRequestError, failed
from spelling_transfer.serving.settings import API_KEY_VARIABLE, API_KEYS_FILE_VARIABLE

_LOG = logging.getLogger(__name__)
VLLM_PYTHON_VARIABLE = "SPELLING_TRANSFER_VLLM_PYTHON"
"""Environment variable with the Python of the environment that vLLM is installed in."""
_PLACE_VARIABLE = "SPELLING_TRANSFER_VLLM_PLACE"
_SIDE = Path(__file__).parent / "in_vllm" / "allowed_tokens.py"
_NOT_ITS_OWN = (API_KEY_VARIABLE, API_KEYS_FILE_VARIABLE, "PYTHONPATH", "PYTHONHOME")
_TOKENS_A_SLOT = 1024
_ALIVE_SECONDS = 5.0
_ANSWER_SECONDS = 600.0
_POLL_SECONDS = 0.1


class VllmError(SpellingTransferError):
    """vLLM is not there, does not start, or does not say what is needed."""


class VllmEngine(BaseEngine):
    """Answers requests with vLLM."""

    process: subprocess.Popen[bytes]
    version: str

    @classmethod
    def load(
        cls,
        folder: ModelFolder,
        accelerator: str = "auto",
        *,
        start_timeout_seconds: float = float("inf"),
        log: IO[bytes] | None = None,
    ) -> VllmEngine:
        """Starts vLLM on a deployable folder and waits until it answers.

        Args:
            folder: The deployable.
            accelerator: ``auto``, ``cpu`` or ``cuda``; vLLM is made for one of them.
            start_timeout_seconds: Longest wait for it.
            log: Where its log goes; this process's own errors by default.

        Raises:
            VllmError: It is not there, or does not start.
            SpellingTransferError: The folder is no deployable.
        """
        card, tokenizer, allowed_ids = read_parts(folder)
        config = json.loads((folder.path / "config.json").read_text())
        vocabulary = Vocabulary.of_folder(folder.path, config["vocab_size"])
        engine = cls(card, tokenizer, vocabulary, allowed_ids, int(config["max_position_embeddings"]))
        engine.check_choice(folder)
        engine._start([*engine._arguments(folder, config)], accelerator, log)
        try:
            engine.version = engine._wait(time.monotonic() + start_timeout_seconds)
        except BaseException:
            engine.close()
            raise
        return engine

    def forbidden_rows(self) -> list[int]:
        """Returns the rows that no answer may hold."""
        known, tokenizer = self.vocabulary.known_rows, self.tokenizer
        think = set(known(tokenizer.think_ids).tolist())
        if self.allowed_ids is None:
            return sorted(think)
        allowed = set(known([*self.allowed_ids, tokenizer.end_id]).tolist()) - think
        return [row for row in range(self.vocabulary.n_rows) if row not in allowed]

    def _arguments(self, folder: ModelFolder, config: dict[str, Any]) -> Iterator[str]:
        slots, dtype = self._settings.max_batch_size, self.card.profile.dtype
        width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        kept = config.get("num_key_value_heads") or config["num_attention_heads"]
        token_bytes = 2 * config["num_hidden_layers"] * kept * width * (4 if dtype == "float32" else 2)
        # The longest request alone, or all slots at an ordinary length; and blocks that are not full.
        tokens = max(self._context_tokens, slots * _TOKENS_A_SLOT) + 256 * (slots + 1)
        yield str(folder.path)
        for name, value in {
            "served-model-name": self.card.model,
            "dtype": dtype,
            "load-format": "safetensors",
            "generation-config": "vllm",  # no file of the model says how tokens are drawn
            "max-num-seqs": slots,
            "max-model-len": self._context_tokens,
            "kv-cache-memory-bytes": tokens * token_bytes,
            "gpu-memory-utilization": 0.05,  # of no effect beside the line above, but so much has to be free
        }.items():
            yield f"--{name}={value}"
        yield from ("--skip-tokenizer-init", "--disable-uvicorn-access-log")

    def _start(self, arguments: list[str], accelerator: str, log: IO[bytes] | None) -> None:
        python = os.environ.get(VLLM_PYTHON_VARIABLE, "")
        if not python or shutil.which(python) is None:
            what = f"is {python!r}, which is no program" if python else "is not set"
            raise VllmError(
                f"{VLLM_PYTHON_VARIABLE} {what}. vLLM runs in an environment of its own: make one with 'python -m venv "
                "~/vllm && ~/vllm/bin/pip install vllm' and set the variable to ~/vllm/bin/python."
            )
        # Only this user may open the folder, and so the socket in it.
        self._place = Path(tempfile.mkdtemp(prefix="spelling-"))
        (self._place / "forbidden.json").write_text(json.dumps(self.forbidden_rows()))
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_ITS_OWN}
        environment |= {_PLACE_VARIABLE: str(self._place), "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        environment.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        if self._settings.threads is not None:
            environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(self._settings.threads)}
        self.process = subprocess.Popen(
            [python, str(_SIDE), accelerator, *arguments, f"--uds={self._place / 'socket'}"],
            stdin=subprocess.PIPE,  # which closes when this process ends, however it ends, and vLLM with it
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
            env=environment,
        )

    def _wait(self, deadline: float) -> str:
        with self._client() as client:
            while (status := self.process.poll()) is None:
                if time.monotonic() > deadline:
                    raise VllmError("vLLM did not answer in time; raise deployment_check.start_timeout_seconds.")
                with suppress(httpx.TransportError):
                    if client.get("/health", timeout=_ALIVE_SECONDS).status_code == 200:
                        return str(client.get("/version").json()["version"])
                time.sleep(_POLL_SECONDS)
        raise VllmError(f"vLLM ended with exit status {status} before it answered; its log says why.")

    def _client(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self._place / "socket"))
        return httpx.Client(transport=transport, base_url="http://vllm", timeout=_ANSWER_SECONDS, trust_env=False)

    def client(self) -> httpx.AsyncClient:
        """Returns a client of the server, with room for any number of requests at once."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self._settings.max_batch_size)
        transport = httpx.AsyncHTTPTransport(uds=str(self._place / "socket"), limits=limits)
        # The front knows how long an answer may take.
        return httpx.AsyncClient(transport=transport, base_url="http://vllm", timeout=None, trust_env=False)  # noqa: S113

    def close(self) -> None:
        """Ends vLLM and waits for its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self._place, ignore_errors=True)

    def prepare(self, request: AnswerRequest) -> PreparedRequest:
        """Refuses what vLLM does not say, and checks the rest as every engine does."""
        if isinstance(request, ChatRequest) and request.logprobs:
            said = "logprobs: vLLM's are not among the tokens that an answer may hold; with this engine leave them out."
            raise RefusedRequestError(400, "invalid_value", said, "logprobs")
        return super().prepare(request)

    def body(self, prompt_ids: Sequence[int], max_tokens: int, **fields: Any) -> dict[str, Any]:
        """Returns what is sent: rows for vLLM's token ids, the policy's sampling unless a check says otherwise."""
        return {
            "model": self.card.model,
            "prompt": self.vocabulary.to_rows(prompt_ids).tolist(),
            "max_tokens": max_tokens,
            "stop_token_ids": [self._end_row],
            "return_token_ids": True,
            **self.card.sampling.model_dump(),
            **fields,
        }

    @property
    def _end_row(self) -> int:
        return int(self.vocabulary.to_rows([self.tokenizer.end_id])[0])

    def ask(self, prompts: Sequence[Sequence[int]], max_tokens: int, **fields: Any) -> list[list[int]]:
        """Returns the token ids of the answer to each prompt, past the front: for a check of vLLM itself."""
        answers = []
        with self._client() as client:
            for prompt_ids in prompts:
                response = client.post("/v1/completions", json=self.body(prompt_ids, max_tokens, **fields))
                if response.status_code != 200:
                    raise VllmError(f"vLLM {self.version} refused a request: {response.text}")
                answer = DrawnAnswer(0)
                self._grow(answer, response.json()["choices"][0])
                answers.append(answer.ids)
        return answers

    async def stream(self, client: httpx.AsyncClient, one: RunningRequest) -> AsyncGenerator[DrawnAnswer]:
        """Yields an answer of the request each time it has grown or ended.

        Raises:
            VllmError: vLLM refuses the request, fails at it, or says less than it has to.
            httpx.TransportError: It is gone.
        """
        request = one.request
        # Choice i is drawn with seed + i, which has to be an int64, too.
        seed = request.seed % (2**63 - self._settings.max_choices)
        body = self.body(request.prompt_ids, request.max_tokens, seed=seed, n=request.n, stream=True)
        async with client.stream("POST", "/v1/completions", json=body) as response:
            if response.status_code != 200:
                raise VllmError(f"vLLM {self.version} refused a request: {(await response.aread()).decode()}")
            async for sent in response.aiter_lines():
                if not sent.startswith("data: {"):
                    continue
                said = json.loads(sent.removeprefix("data: "))
                if "choices" not in said:
                    raise VllmError(f"vLLM {self.version} failed at a request: {sent}")
                for choice in said["choices"]:
                    answer = one.answers[choice["index"]]
                    self._grow(answer, choice)
                    yield answer
        if not one.finished:
            raise VllmError(f"vLLM {self.version} ended an answer without a reason.")

    def _grow(self, answer: DrawnAnswer, choice: dict[str, Any]) -> None:
        rows, reason = choice.get("token_ids"), choice.get("finish_reason")
        if rows is None or reason not in (None, "stop", "length"):
            raise VllmError(f"vLLM {self.version} says no token ids, or ends for {reason!r}; see docs/deployment.md.")
        if reason == "stop" and rows[-1:] == [self._end_row]:
            rows = rows[:-1]
        answer.ids += self.vocabulary.to_ids(rows).tolist()
        answer.finish_reason = reason or ""


@contextmanager
def running_vllm(folder: ModelFolder, accelerator: str, start_timeout_seconds: float) -> Iterator[VllmEngine]:
    """Starts vLLM without an endpoint, yields it once it answers, and ends it.

    Raises:
        VllmError: It is not there, or does not start; the message holds the end of its log.
    """
    with tempfile.TemporaryFile() as log:
        try:
            engine = VllmEngine.load(folder, accelerator, start_timeout_seconds=start_timeout_seconds, log=log)
        except VllmError as error:
            raise VllmError(f"{folder.path}: {error}{tail(log)}") from error
        try:
            yield engine
        finally:
            engine.close()


class VllmLoop:
    """Hands requests on to vLLM, and what it says back, until nothing can come any more.

    Args:
        engine: A running vLLM.
        incoming: Lines, split into name, kind and JSON.
        out: Where lines are written.
    """

    def __init__(self, engine: VllmEngine, incoming: queue.SimpleQueue[list[bytes]], out: BinaryIO) -> None:
        self._engine = engine
        self._incoming = incoming
        self._out = out
        self._timeout = engine.card.settings.queue_timeout_seconds

    def run(self) -> None:
        """Runs until the process ends."""
        threading.Thread(target=self._end_with_vllm, daemon=True, name="vllm").start()
        asyncio.run(self._run())

    async def _run(self) -> None:
        running: dict[bytes, asyncio.Task[None]] = {}
        async with self._engine.client() as client:
            while True:
                name, kind, payload = await asyncio.to_thread(self._incoming.get)
                if kind != b"gone":
                    task = running[name] = asyncio.create_task(self._answer(client, name.decode(), kind, payload))
                    task.add_done_callback(lambda _, name=name: running.pop(name))  # type: ignore[misc]
                elif name in running:
                    running[name].cancel()

    async def _answer(self, client: httpx.AsyncClient, name: str, kind: bytes, payload: bytes) -> None:
        engine = self._engine
        try:
            request = engine.read(kind.decode(), payload)
            one = RunningRequest(name, request, None, answers=[DrawnAnswer(index) for index in range(request.n)])
            async with asyncio.timeout(self._timeout) as patience, aclosing(engine.stream(client, one)) as grown:
                async for answer in grown:
                    patience.reschedule(None)  # it has begun
                    if request.stream:
                        self._say(*(line(name, "event", event) for event in engine.events(one, answer)))
            self._say(line(name, "answer", engine.completion(one).model_dump_json()))
        except RefusedRequestError as refused:
            self._say(refusal(name, refused))
        except TimeoutError:
            self._say(overdue(name, self._timeout))
        except Exception as error:  # noqa: BLE001  one request's fault is not the others'
            if not isinstance(error, httpx.TransportError):
                _LOG.exception("vLLM failed at a request")
            await self._end_if_dead(client)
            self._say(refusal(name, failed()))

    async def _end_if_dead(self, client: httpx.AsyncClient) -> None:
        with suppress(httpx.HTTPError):
            if (await client.get("/health", timeout=_ALIVE_SECONDS)).status_code == 200:
                return
        self._end()

    def _end_with_vllm(self) -> None:
        self._engine.process.wait()
        self._end()

    def _end(self) -> None:
        """Ends this process, whereupon the front tells those who wait and starts another."""
        _LOG.error("vLLM has ended or answers no more.")
        self._engine.close()
        os._exit(1)

    def _say(self, *lines: bytes) -> None:
        self._out.write(b"".join(lines))
        self._out.flush()
