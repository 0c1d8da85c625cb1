"""An endpoint as a child process: started on a free loopback port, waited for, and ended without a remainder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.settings import Engine, ListenSettings

_POLL_SECONDS = 0.05
_PORT_ATTEMPTS = 3
_SERVER = "import sys; from spelling_transfer.serving.server import main; sys.exit(main())"


class EndpointError(SpellingTransferError):
    """The endpoint did not start, or not in time."""


@dataclass(frozen=True)
class StopReport:
    """How an endpoint ended.

    Attributes:
        n_processes_left: Processes of its group that were still there at the end.
        port_released: Whether its port can be bound again.
        killed: Whether it had to be killed because it did not end when asked.
    """

    n_processes_left: int
    port_released: bool
    killed: bool
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether it ended when asked and left nothing."""
        return self.n_processes_left == 0 and self.port_released and not self.killed


@dataclass
class RunningEndpoint:
    """An endpoint that answers.

    Attributes:
        process: Its first process, the leader of its group.
        stop_report: How it ended; ``None`` as long as it runs.
    """

    url: str
    model: str
    process: subprocess.Popen[bytes]
    listen: ListenSettings
    stop_report: StopReport | None = None

    def worker(self) -> psutil.Process:
        """Returns the process that holds the model: of all of them, the one with the most memory.

        Raises:
            EndpointError: There is none.
        """
        members = []
        for member in processes_of(self.process.pid):
            with contextlib.suppress(psutil.Error):
                members.append((member.memory_info().rss, member.pid))
        if not members:
            raise EndpointError(f"{self.url}: no process of the endpoint is left.")
        return psutil.Process(max(members)[1])

    def memory_mib(self) -> float:
        """Returns the memory of all its processes; pages they share count once where the system can tell (Linux)."""
        total = 0
        for member in processes_of(self.process.pid):
            with contextlib.suppress(psutil.Error):
                memory = member.memory_full_info()
                total += getattr(memory, "pss", memory.rss)
        return total / 2**20


@contextmanager
def running_endpoint(
    folder: ModelFolder,
    *,
    listen: ListenSettings | None = None,
    start_timeout_seconds: float = 90.0,
    stop_timeout_seconds: float = 10.0,
    accelerator: str = "auto",
    engine: Engine | None = None,
    environment: Mapping[str, str] | None = None,
    unset: Collection[str] = (),
    limit_rates: bool = True,
    show_log: bool = False,
) -> Iterator[RunningEndpoint]:
    """Starts an endpoint, yields it once it answers, and ends it and all its processes whatever happens.

    Args:
        folder: A deployable.
        listen: Where it listens; a free port of the loopback interface by default.
        start_timeout_seconds: Longest wait for the first healthy answer.
        stop_timeout_seconds: Longest wait for an orderly end before the processes are killed.
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: What draws the tokens; what stands beside the model by default.
        environment: Variables to set for it beside those of this process.
        unset: Variables of this process it is not to see.
        limit_rates: Whether ``requests_per_minute`` holds; a check sends more, from one key.
        show_log: Whether its log goes to this process's output instead of into the message of an error.

    Raises:
        EndpointError: It did not answer in time, or ended before it did; the message holds the end of its log.
        SpellingTransferError: The folder is missing, altered, or no deployable.
    """
    card = read_card(ModelFolder.open(folder.path))
    variables = {name: value for name, value in os.environ.items() if name not in unset} | dict(environment or {})
    with tempfile.TemporaryFile() as log:
        sent = {"accelerator": accelerator, "engine": engine, "limit_rates": limit_rates}
        launch = _Launch(folder.path, card.model, listen, sent, variables, None if show_log else log)
        running = _start(launch, start_timeout_seconds)
        try:
            yield running
        finally:
            running.stop_report = _stop(running, stop_timeout_seconds)


@dataclass(frozen=True)
class _Launch:
    folder: Path
    model: str
    listen: ListenSettings | None
    sent: Mapping[str, Any]
    environment: Mapping[str, str]
    log: IO[bytes] | None


def _start(launch: _Launch, timeout_seconds: float) -> RunningEndpoint:
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        listen = launch.listen or ListenSettings(port=_free_port())
        process = _spawn(launch, listen)
        local = "[::1]" if listen.host == "::" else "127.0.0.1"
        running = RunningEndpoint(f"http://{local}:{listen.port}", launch.model, process, listen)
        try:
            _wait_until_healthy(running, timeout_seconds)
        except BaseException as error:  # also an interrupt must leave no process behind
            _stop(running, timeout_seconds=1.0)
            log_end = tail(launch.log)
            if not isinstance(error, EndpointError):
                raise
            # Between choosing the port and binding it, another program may have taken it.
            if "address already in use" in log_end.lower() and launch.listen is None and attempt < _PORT_ATTEMPTS:
                continue
            raise EndpointError(f"{launch.folder}: {error}{log_end}") from error
        return running
    raise AssertionError("unreachable: the last attempt returns or raises")


def _spawn(launch: _Launch, listen: ListenSettings) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(launch.folder)],
        stdin=subprocess.PIPE,
        stdout=launch.log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a group of its own: all of it can be ended at once, and Ctrl+C does not reach it
        env=dict(launch.environment),
    )
    sent = {"listen": listen.model_dump(), **launch.sent}
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once; the wait that follows says so
        process.stdin.write(json.dumps(sent).encode() + b"\n")
        process.stdin.flush()
    return process


def _wait_until_healthy(running: RunningEndpoint, timeout_seconds: float) -> None:
    import httpx

    deadline = time.monotonic() + timeout_seconds
    with httpx.Client(base_url=running.url, timeout=2.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            if (status := running.process.poll()) is not None:
                raise EndpointError(f"the endpoint ended with exit status {status} before it answered.")
            with contextlib.suppress(httpx.HTTPError):
                if client.get("/health").status_code == 200:
                    return
            time.sleep(_POLL_SECONDS)
    raise EndpointError(
        f"the endpoint did not answer within {timeout_seconds:g} s. If the machine is only slow, raise "
        "deployment_check.start_timeout_seconds in conf/base/parameters/deployment_check.yml."
    )


def _stop(running: RunningEndpoint, timeout_seconds: float) -> StopReport:
    started = time.monotonic()
    process, group = running.process, running.process.pid
    process.terminate()
    killed = not _wait_for(lambda: process.poll() is not None and not processes_of(group), timeout_seconds)
    if killed:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        _wait_for(lambda: process.poll() is not None and not processes_of(group), 5.0)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    released = _wait_for(lambda: can_bind(running.listen), 2.0)
    return StopReport(len(processes_of(group)), released, killed, time.monotonic() - started)


def _wait_for(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def processes_of(group: int) -> list[psutil.Process]:
    """Returns the living processes of a process group; one that has ended and waits to be collected is not living."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def can_bind(listen: ListenSettings) -> bool:
    """Says whether a server could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET) as probe:
        # As servers do it: connections that linger in TIME_WAIT do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError:
            return False
    return True


def tail(log: IO[bytes] | None, n_lines: int = 20) -> str:
    """Returns the end of a log as part of a message; nothing where there is no log, or nothing in it."""
    if log is None:
        return ""
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").splitlines()
    return " The end of its log:\n" + "\n".join(lines[-n_lines:]) if lines else ""
