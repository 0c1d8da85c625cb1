"""A PostgreSQL of one's own on loopback, in a temporary folder: started, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from free_ports import free_ports


def find_binaries() -> Path | None:
    """Returns the folder of PostgreSQL's programs, or ``None`` where it is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = [folder for folder in folders if (folder / "initdb").is_file()]
    if found:
        return found[0]
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


class LocalPostgres:
    """A server with one database, ``studies``, and one user, ``postgres``, who needs no password."""

    def __init__(self) -> None:
        binaries = find_binaries()
        if binaries is None:
            raise FileNotFoundError("PostgreSQL is not installed (Debian: apt install postgresql)")
        self._binaries = binaries
        # Its own folder below /tmp: the server's user must be able to enter it.
        self._folder = Path(tempfile.mkdtemp(prefix="spelling-transfer-postgres-", dir="/tmp"))
        self._data = self._folder / "data"
        # The server refuses to run as root.
        self._as_user = []
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        (self.port,) = free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        options = ["-D", str(self._data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        self._call("initdb", *options)
        self.start()
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "studies")

    @property
    def url(self) -> str:
        """The database as settings name it."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/studies"

    def _call(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                # Again, as long as children of a killed one hold its memory.
                self._process = self._launch()
            with suppress(subprocess.CalledProcessError):
                self._call("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
                return
            time.sleep(0.1)
        raise TimeoutError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-500:]}")

    def _launch(self) -> subprocess.Popen[bytes]:
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}"]
        options += ["-c", "max_connections=50", "-c", "shared_buffers=16MB"]
        command = [*self._as_user, str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen([*command, *options], stdout=log, stderr=log, cwd=self._folder)

    def kill(self) -> None:
        """Ends the server as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Stops the server and removes its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)
