"""A TCP proxy on loopback that counts, slows down and cuts what goes through it."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

_BLOCK_BYTES = 64 << 10


class FaultyProxy:
    """Stands between a client and a server.

    Attributes:
        upstream_port: The server's port.
        sent_bytes: Bytes that clients sent so far.
        received_bytes: Bytes that clients received so far.
        bytes_per_second: How fast each direction of each connection is; ``None`` is as fast as it goes.
        cut_between: Each connection is cut after a number of bytes between these two; ``None`` cuts none.
    """

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.sent_bytes = self.received_bytes = 0
        self.bytes_per_second: float | None = None
        self.cut_between: tuple[int, int] | None = None
        self._random = random.Random(0)
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Closes the proxy and all connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Cuts every connection that is open."""
        for each in list(self._open):
            _cut(each)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream_port), timeout=5)
            except OSError:
                _cut(client)
                continue
            server.settimeout(None)
            self._open |= {client, server}
            left = [self._random.randrange(*self.cut_between) if self.cut_between else None]
            for source, target, sends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, target, sends, left), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, sends: bool, left: list[int | None]) -> None:
        with suppress(OSError):
            while data := source.recv(_BLOCK_BYTES):
                if left[0] is not None:
                    left[0] -= len(data)
                    if left[0] < 0:
                        break
                if self.bytes_per_second:
                    time.sleep(len(data) / self.bytes_per_second)
                with self._guard:
                    if sends:
                        self.sent_bytes += len(data)
                    else:
                        self.received_bytes += len(data)
                target.sendall(data)
        for each in (source, target):
            _cut(each)
            self._open.discard(each)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
