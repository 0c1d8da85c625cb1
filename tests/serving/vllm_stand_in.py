"""Stands in for vLLM's Python in tests of what surrounds it: speaks its wire format on the socket it is told.

Paths and fields are those of vLLM 0.32 (``vllm/entrypoints/openai/completion/protocol.py``). It draws nothing: it says
what ``said.json`` in the folder ``SPELLING_TRANSFER_STAND_IN`` holds, and writes there how it was started and asked.
"""

import contextlib
import json
import os
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

PLACE = Path(os.environ["SPELLING_TRANSFER_STAND_IN"])
sys.path.insert(0, str(Path(sys.argv[1]).parent))
from allowed_tokens import _end_with_parent  # noqa: E402


class Handler(BaseHTTPRequestHandler):
    def address_string(self) -> str:
        return "socket"

    def do_GET(self) -> None:
        self.send(200, {"version": "0.stand-in"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with (PLACE / "asked.jsonl").open("a") as file:
            file.write(json.dumps(body) + "\n")
        said = json.loads((PLACE / "said.json").read_text())
        rows, reason = said.get("rows", []), said.get("reason", "stop")
        if said.get("status"):
            self.send(said["status"], {"error": {"message": "no such field"}})
            return
        if said.get("waits"):
            threading.Event().wait()
        if not body.get("stream"):
            choices = [{"index": i, "token_ids": rows, "finish_reason": reason} for i in range(body.get("n", 1))]
            self.send(200, {"choices": choices})
            return
        self.send_response(200)
        self.end_headers()
        for place, row in enumerate(rows):
            last = place == len(rows) - 1
            for index in range(body["n"]):
                choice = {"index": index, "text": "", "finish_reason": reason if last else None, "token_ids": [row]}
                self.event({"choices": [choice if said.get("ids", True) else {**choice, "token_ids": None}]})
            if said.get("dies") and not (PLACE / "died").exists():
                (PLACE / "died").touch()
                os._exit(9)
        if said.get("fails"):
            self.event({"error": {"message": "EngineCore encountered an issue"}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, body: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())
        self.wfile.flush()

    def send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None: ...


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    started = {"arguments": sys.argv[1:], "environment": dict(os.environ)}
    place = Path(os.environ["SPELLING_TRANSFER_VLLM_PLACE"])
    started |= {"forbidden": json.loads((place / "forbidden.json").read_text()), "mode": oct(place.stat().st_mode)}
    (PLACE / "started.json").write_text(json.dumps(started))
    if (PLACE / "broken").exists():
        sys.exit("ValueError: no room for the model")
    path = next(each for each in sys.argv if each.startswith("--uds=")).removeprefix("--uds=")
    with contextlib.suppress(KeyboardInterrupt), Server(path, Handler) as server:
        server.serve_forever(poll_interval=0.01)
