"""The front's end of the pipe to the process with the model: starts it, starts it again, and knows who waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import sys
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from spelling_transfer.serving.messages import line
from spelling_transfer.serving.protocol import RefusedRequestError

_LOG = logging.getLogger(__name__)
_WORKER = "import sys; from spelling_transfer.serving.worker import main; sys.exit(main())"
Events = AsyncGenerator[tuple[bytes, bytes], None]
"""What a worker says to one request: kinds (``event``, ``answer``) and JSON."""
_LONGEST_LINE = 2**26
_END_SECONDS = 5.0


class WorkerLink:
    """One worker, as long as the front lives.

    Args:
        options: What the worker is started with.

    Attributes:
        ready: Whether it has loaded the model.
        answered_at: When it last said anything, of ``time.monotonic``.
        waiting: Since when each request that is not answered waits, by its name.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.ready = False
        self.answered_at = 0.0
        self.waiting: dict[str, float] = {}
        self._options = json.dumps(options)
        self._said: dict[str, asyncio.Queue[tuple[bytes, bytes]]] = {}
        self._closing = False
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the worker; `run` follows it."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _WORKER,
            self._options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
        )

    async def run(self) -> None:
        """Hands on what the worker says, and starts it again when it ends; returns if it cannot load its model.

        Raises:
            OSError: The system has no room for another worker.
        """
        try:
            while self._process is not None and self._process.stdout is not None:
                async for sent in self._process.stdout:
                    if not sent.endswith(b"\n"):
                        break  # it was killed in the middle of a line
                    name, kind, payload = sent.split(b" ", 2)
                    self.answered_at = time.monotonic()
                    if kind == b"ready":
                        self.ready = True
                    elif (queue := self._said.get(name.decode())) is not None:
                        queue.put_nowait((kind, payload))
                        if kind != b"event":  # a client that is slow to read it waits for nothing here
                            self.waiting.pop(name.decode(), None)
                status = await self._process.wait()
                could_load, self.ready = self.ready, False
                self._lose()
                if self._closing or not could_load:
                    return
                _LOG.error("The process with the model ended (status %s); it is started again.", status)
                await self.start()
        finally:
            self._lose()

    def _lose(self) -> None:
        """Tells everybody who waits that the worker is gone."""
        self.ready = False
        for queue in self._said.values():
            queue.put_nowait((b"lost", b""))

    async def ask(self, kind: str, payload: str = "{}", most_waiting: float = math.inf) -> Events:
        """Asks the worker, and yields what it says: events of a stream, then the answer, each as JSON.

        Who stops listening takes the request back.

        Raises:
            RefusedRequestError: As many wait as may, or the worker refused it, or ended before it answered.
        """
        if len(self.waiting) >= most_waiting:
            full = f"{len(self.waiting)} requests wait, which is as many as may. Ask again a little later."
            oldest = time.monotonic() - min(self.waiting.values())
            raise RefusedRequestError(429, "queue_full", full, retry_after=max(1, math.ceil(oldest)))
        name = uuid.uuid4().hex
        queue = self._said[name] = asyncio.Queue()
        self.waiting[name] = time.monotonic()
        ended = False
        try:
            if not self.ready:
                raise _lost("is still starting, or ended and is started again")
            self._send(name, kind, payload)
            while not ended:
                what, said = await queue.get()
                ended = what != b"event"
                if what == b"lost":
                    raise _lost()
                if what == b"refused":
                    raise RefusedRequestError(**json.loads(said))
                yield what, said
        finally:
            del self._said[name]
            self.waiting.pop(name, None)
            if not ended and self.ready:
                self._send(name, "gone")

    def _send(self, name: str, kind: str, payload: str = "{}") -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line(name, kind, payload))

    async def close(self) -> None:
        """Ends the worker."""
        self._closing = True
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _lost(what: str = "ended and is started again") -> RefusedRequestError:
    return RefusedRequestError(503, "worker_restarts", f"the process with the model {what}; retry.", retry_after=10)
