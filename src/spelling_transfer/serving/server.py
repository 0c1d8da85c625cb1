"""The process that serves: the front in it, the model in a child; `process` starts it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import math
import os
import resource
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.deployable import DeployableCard, read_card
from spelling_transfer.serving.link import WorkerLink
from spelling_transfer.serving.settings import EndpointRefusedError, Engine, ListenSettings, check_key, endpoint_keys

_BACKLOG = 2048
_OPEN_FILES = 8192
"""A connection is an open file, and many systems give a process leave for 256 or 1,024."""
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SAY_AGAIN_SECONDS = 60.0
_LOG = logging.getLogger(__name__)


def serve(
    folder: ModelFolder,
    listen: ListenSettings,
    accelerator: str = "auto",
    engine: Engine | None = None,
    *,
    limit_rates: bool = True,
) -> int:
    """Serves a deployable until it is told to end (Ctrl+C or SIGTERM), and what it has taken by then is answered.

    Returns:
        The status to exit with: 0 unless the worker could not load the model.

    Raises:
        EndpointRefusedError: Other machines could reach the endpoint and no key is set, or the port is taken.
    """
    check_key(listen)
    allow_open_files()
    card = read_card(folder, engine)
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        place = socket.create_server((listen.host, listen.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        said = f"port {listen.port} of {listen.host} cannot be used ({error.strerror}). Choose another with --port."
        raise EndpointRefusedError(said) from error
    options = {
        "folder": str(folder.path),
        "fingerprint": card.fingerprint,
        "engine": card.settings.engine,
        "accelerator": accelerator,
    }
    # asyncio does this for sockets of its own alone; without, a response waits 40 ms for an acknowledgement.
    place.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with place:
        return asyncio.run(_serve(folder, card, WorkerLink(options), place, limit_rates=limit_rates))


def allow_open_files() -> None:
    """Raises how many files this process may have open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class LoopErrors:
    """Takes what goes wrong in asyncio's loop; of a connection that finds no room it logs a line a minute.

    asyncio itself logs a traceback for each of 2,048 attempts a second, which fills a disk.
    """

    def __init__(self) -> None:
        self._said_at = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handles one error, as ``set_exception_handler`` has it."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _NO_ROOM):
            loop.default_exception_handler(context)
        elif loop.time() - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said_at = loop.time()
            said = (
                "Connections wait that cannot be taken: %s. Raise the limit of open files (ulimit -n) and start again."
            )
            _LOG.error(said, error.strerror)


async def _serve(
    folder: ModelFolder, card: DeployableCard, link: WorkerLink, place: socket.socket, *, limit_rates: bool
) -> int:
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.append(1))  # uvicorn takes over, and calls this one at its end
    asyncio.get_running_loop().set_exception_handler(LoopErrors())
    await link.start()  # first, as the model takes longest
    try:
        # Imported while the worker imports.
        import uvicorn

        from spelling_transfer.serving.front import Front
        from spelling_transfer.serving.guard import Connection, Guard, Keys
        from spelling_transfer.serving.metrics import EndpointMetrics

        Connection.read_timeout_seconds = card.settings.read_timeout_seconds
        keys = Keys(endpoint_keys(), card.settings.requests_per_minute if limit_rates else None)
        metrics = EndpointMetrics(folder, card, lambda: len(link.waiting))
        app = Front(card, link, keys, metrics).app()
        server = uvicorn.Server(
            uvicorn.Config(
                Guard(app, card.settings, metrics.observe),
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=card.settings.drain_seconds,  # type: ignore[arg-type]  # any number will do
            )
        )
        following = asyncio.create_task(_follow(link, server))
        if not told:
            await server.serve([place])
        following.cancel()
        return 1 if following.done() and not following.cancelled() else 0
    finally:
        await link.close()


async def _follow(link: WorkerLink, server: Any) -> None:
    try:
        await link.run()
        _LOG.error("The process with the model could not load it; the endpoint ends.")
    except Exception:  # noqa: BLE001  whatever it is, an endpoint without its model must not stay
        _LOG.exception("The process with the model cannot be started again; the endpoint ends.")
    server.should_exit = True


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(descriptor, 65536)):
        line += piece
    return line


def _end_with(descriptor: int) -> None:
    """Ends the whole process group as soon as the other end of a pipe is closed.

    So an endpoint does not outlive the run that started it, not even when that run is killed.
    """
    while os.read(descriptor, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> int:
    """Serves the folder of its argument: settings come as a line of JSON on standard input, which then stays open."""
    folder = ModelFolder(Path(sys.argv[1]))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    sent = json.loads(_read_line(0))
    threading.Thread(target=_end_with, args=(0,), daemon=True, name="end-with-parent").start()
    try:
        return serve(folder, ListenSettings(**sent.pop("listen")), **sent)
    except SpellingTransferError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
