"""The process that holds the model: reads requests from a pipe, draws tokens for all of them, writes what they say.

A line to it is a name, a kind and JSON: ``chat``, ``text`` or ``ping`` with a request, ``gone`` for a client that went
away. A line from it is one of ``event`` (of a stream), ``answer`` and ``refused``, or ``ready`` once, without a name.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from spelling_transfer.errors import SpellingTransferError

_LOG = logging.getLogger(__name__)


def line(name: str, kind: str, payload: str = "{}") -> bytes:
    """Returns one message between the front and its worker."""
    return f"{name} {kind} {payload}\n".encode()


class WorkerLoop:
    """Answers what comes in until nothing can come any more.

    Args:
        engine: Answers.
        incoming: Lines, split into name, kind and JSON.
        out: Where lines are written.
    """

    def __init__(self, engine: Any, incoming: queue.SimpleQueue[list[bytes]], out: BinaryIO) -> None:
        self._engine = engine
        self._incoming = incoming
        self._out = out
        self._timeout = engine.card.settings.queue_timeout_seconds
        self._batch = engine.new_batch()

    def run(self) -> None:
        """Runs until the process ends."""
        while True:
            self.turn()

    def turn(self) -> None:
        """Takes in what has come, draws one token of each answer, and says what is new; waits where nothing is."""
        said = [*self._take_in(), *self._say_overdue()]
        name = ""
        try:
            for one, answer in self._batch.step():
                name = one.name
                if one.request.stream:
                    said += [line(name, "event", event) for event in self._engine.events(one, answer)]
                if one.finished:
                    said.append(line(name, "answer", self._engine.completion(one).model_dump_json()))
        except Exception:  # noqa: BLE001  whatever it is, those who wait are told, and the worker continues with empty slots
            _LOG.exception("The worker failed at a step")
            # The one it failed on may have left the batch; who has its answer listens no more.
            said += [_broken(each) for each in sorted(self._batch.names() | ({name} - {""}))]
            self._batch = self._engine.new_batch()
        if said:
            self._out.write(b"".join(said))
            self._out.flush()

    def _take_in(self) -> Iterator[bytes]:
        while not (self._incoming.empty() and self._batch.busy):
            name, kind, payload = self._incoming.get()
            yield from self._take(name.decode(), kind.decode(), payload)
            if self._incoming.empty():
                return

    def _take(self, name: str, kind: str, payload: bytes) -> Iterator[bytes]:
        from spelling_transfer.serving.protocol import ChatRequest, CompletionRequest, RefusedRequestError

        try:
            if kind == "gone":
                self._batch.take_back(name)
            elif kind == "ping":
                self._batch.add(name, self._engine.ping())
            else:
                form = ChatRequest if kind == "chat" else CompletionRequest
                self._batch.add(name, self._engine.prepare(form.model_validate_json(payload)))
        except RefusedRequestError as refused:
            yield _refusal(name, refused.status, refused.detail())
        except Exception:  # noqa: BLE001  one request's fault is not the others'
            _LOG.exception("The worker failed on a request")
            yield _broken(name)

    def _say_overdue(self) -> Iterator[bytes]:
        from spelling_transfer.serving.protocol import error_detail

        for one in self._batch.overdue(self._timeout):
            said = f"the endpoint is busy: no answer began within {self._timeout:g} s."
            yield _refusal(one.name, 503, error_detail(503, "busy", said))


def _refusal(name: str, status: int, detail: dict[str, Any]) -> bytes:
    return line(name, "refused", json.dumps({"status": status, "detail": detail}))


def _broken(name: str) -> bytes:
    from spelling_transfer.serving.protocol import error_detail

    said = "the endpoint failed at this request; its log says why."
    return _refusal(name, 500, error_detail(500, "internal_error", said))


def _read(source: BinaryIO, incoming: queue.SimpleQueue[list[bytes]]) -> None:
    for sent in source:
        incoming.put(sent.split(b" ", 2))
    os._exit(0)  # the front is gone, and with it all who wait


def main() -> int:
    """Runs as a child of the front; its one argument is JSON with ``folder``, ``fingerprint`` and ``accelerator``."""
    # Signals are the front's: it lets answers end, then closes the pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    options = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    incoming: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
    source = os.fdopen(os.dup(0), "rb")  # Python's end waits for the lock of sys.stdin, which a reader would hold
    threading.Thread(target=_read, args=(source, incoming), daemon=True, name="requests").start()

    import torch

    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.serving.deployable import DeployableError, read_card
    from spelling_transfer.serving.engine import AnswerEngine

    try:
        folder = ModelFolder.open(options["folder"])
        torch.set_num_threads(read_card(folder).settings.threads or torch.get_num_threads())
        accelerator = options["accelerator"]
        engine = AnswerEngine.load(folder, None if accelerator == "auto" else accelerator)
        if engine.card.fingerprint != options["fingerprint"]:
            raise DeployableError(
                f"{folder.path}: was {options['fingerprint']} when the endpoint started and is now "
                f"{engine.card.fingerprint}. What was checked is what runs: check the new one, then start again."
            )
        loop = WorkerLoop(engine, incoming, out)
    except SpellingTransferError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    out.write(line("-", "ready"))
    out.flush()
    loop.run()
    return 0
