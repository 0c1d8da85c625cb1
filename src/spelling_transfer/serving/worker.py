"""The process that holds the model: reads requests from a pipe, draws tokens for all of them, writes what they say."""

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
from spelling_transfer.serving.messages import line, overdue, refusal
from spelling_transfer.serving.protocol import RefusedRequestError, failed

_LOG = logging.getLogger(__name__)


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
        said = list(self._take_in())
        said += [overdue(one.name, self._timeout) for one in self._batch.overdue(self._timeout)]
        name, failed_at_step = "", False
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
            said += [refusal(each, failed()) for each in sorted(self._batch.names() | ({name} - {""}))]
            failed_at_step = True
        if failed_at_step:  # outside the handler, whose traceback holds the slots: memory may not do for both
            del self._batch
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
        try:
            if kind == "gone":
                self._batch.take_back(name)
            else:
                self._batch.add(name, self._engine.read(kind, payload))
        except RefusedRequestError as refused:
            yield refusal(name, refused)
        except Exception:  # noqa: BLE001  one request's fault is not the others'
            _LOG.exception("The worker failed on a request")
            yield refusal(name, failed())


def _read(source: BinaryIO, incoming: queue.SimpleQueue[list[bytes]]) -> None:
    for sent in source:
        incoming.put(sent.split(b" ", 2))
    os._exit(0)  # the front is gone, and with it all who wait


def main() -> int:
    """Runs as a child of the front, which says in JSON: ``folder``, ``fingerprint``, ``engine``, ``accelerator``."""
    # Signals are the front's: it lets answers end, then closes the pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    options = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    incoming: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
    source = os.fdopen(os.dup(0), "rb")  # Python's end waits for the lock of sys.stdin, which a reader would hold
    threading.Thread(target=_read, args=(source, incoming), daemon=True, name="requests").start()

    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.serving.deployable import DeployableError, read_card

    try:
        folder = ModelFolder.open(options["folder"])
        accelerator = options["accelerator"]
        engine: Any
        loop: Any
        if options["engine"] == "vllm":
            from spelling_transfer.serving.vllm_engine import VllmEngine, VllmLoop

            engine, loop = VllmEngine.load(folder, accelerator), VllmLoop
        else:
            import torch

            from spelling_transfer.serving.engine import AnswerEngine

            torch.set_num_threads(read_card(folder).settings.threads or torch.get_num_threads())
            engine, loop = AnswerEngine.load(folder, None if accelerator == "auto" else accelerator), WorkerLoop
        if engine.card.fingerprint != options["fingerprint"]:
            raise DeployableError(
                f"{folder.path}: was {options['fingerprint']} when the endpoint started and is now "
                f"{engine.card.fingerprint}. What was checked is what runs: check the new one, then start again."
            )
        running = loop(engine, incoming, out)
    except SpellingTransferError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    out.write(line("-", "ready"))
    out.flush()
    running.run()
    return 0
