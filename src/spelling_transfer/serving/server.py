"""The process that serves: ``python -m spelling_transfer.serving.server FOLDER``, or `serve` in this one."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.settings import API_KEY_VARIABLE, ListenSettings


class EndpointRefusedError(SpellingTransferError):
    """The endpoint will not start with these settings."""


def serve(folder: ModelFolder, listen: ListenSettings, accelerator: str = "auto") -> None:
    """Serves a deployable until it is interrupted (Ctrl+C or SIGTERM).

    Raises:
        EndpointRefusedError: Other machines could reach the endpoint and no key is set.
    """
    from spelling_transfer.serving.api import build_server

    check_key(listen)
    _end_on_sigterm()
    server = build_server(folder, accelerator)
    server.run(host=listen.host, port=listen.port, log_level="warning", generate_client_file=False, num_api_servers=1)


def check_key(listen: ListenSettings) -> None:
    """Checks that a key is set where one is needed.

    Raises:
        EndpointRefusedError: The key is empty, or missing on an interface that other machines can reach.
    """
    key = os.environ.get(API_KEY_VARIABLE)
    if key is not None and not key.strip():
        raise EndpointRefusedError(
            f"{API_KEY_VARIABLE} is set but empty: give it a value, or unset it to serve without a key."
        )
    if listen.host != "127.0.0.1" and key is None:
        raise EndpointRefusedError(
            f"host: {listen.host} lets other machines in and {API_KEY_VARIABLE} is not set. "
            "Set it to the key clients must send, or listen on 127.0.0.1."
        )


def _end_on_sigterm() -> None:
    """Makes SIGTERM an interrupt, here alone.

    By itself it would end this process and leave its workers; as an interrupt it takes LitServe's orderly way out.
    The processes that LitServe forks inherit the handler, and for them SIGTERM is to be what it always is.
    """
    server = os.getpid()

    def handle(signum: int, frame: Any) -> None:
        if os.getpid() == server:
            raise KeyboardInterrupt
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)

    signal.signal(signal.SIGTERM, handle)


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


def main(arguments: list[str] | None = None) -> int:
    """Serves as a child: settings come as one line of JSON on standard input, which then stays open."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = ModelFolder(parser.parse_args(arguments).folder)
    # A descriptor of its own: the workers close sys.stdin, and would wait for ever on a lock this thread holds.
    pipe = os.dup(0)
    sent = json.loads(_read_line(pipe))
    threading.Thread(target=_end_with, args=(pipe,), daemon=True, name="end-with-parent").start()
    try:
        serve(folder, ListenSettings(**sent["listen"]), sent["accelerator"])
    except SpellingTransferError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
