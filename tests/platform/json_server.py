"""Small servers on loopback that answer each request as a test says, however wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any] | str]]
"""From the body of a request to the status and the body of the response."""
_GOT = {"data": [{"id": "tiny"}], "model": {"settings": {"max_choices": 64}}}


@contextmanager
def json_server(
    answer: Answer,
    kind: type[HTTPServer] = ThreadingHTTPServer,
    *,
    headers: dict[str, str] | None = None,
    asked: list[Any] | None = None,
) -> Iterator[str]:
    """Yields the address of a server; to each GET it says what an endpoint says that is well.

    Args:
        answer: Says what is answered to a POST.
        kind: ``HTTPServer`` reads one request after the other, so that a slow client holds up all others.
        headers: Further headers of each response.
        asked: Where each request is noted, of whatever kind.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, _GOT)

        def do_POST(self) -> None:
            self._send(*answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _send(self, status: int, body: dict[str, Any] | str) -> None:
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *said: object) -> None:
            if asked is not None:
                asked.append(said)

    with kind(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
