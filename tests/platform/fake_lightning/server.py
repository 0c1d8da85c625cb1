"""The server: routes, faults that were asked for, and the log of every request."""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

from .world import ENDED, NotFoundError, W

ROUTES = []


def route(method, pattern):
    """Registers what answers a request: ``{name}`` is one part of the path, ``{*name*}`` any number of them."""
    expression = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern).replace("{*", "(?P<").replace("*}", ">.*)")

    def register(function):
        ROUTES.append((method, re.compile(f"^{expression}$"), function))
        # The longest comes first: .../blobs/complete before .../blobs/{path}.
        ROUTES.sort(key=lambda entry: (entry[1].pattern.count("(?P<"), -len(entry[1].pattern)))
        return function

    return register


def job_lines(job):
    """The log of a job so far."""
    if job["_log"]:
        return job["_log"].read_text(errors="replace").splitlines()
    return ["hello from fake job", f"cmd: {job['spec'].get('command', '')}"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def q(self, name):
        return (self.query.get(name) or [""])[0]

    def need(self, thing):
        if thing is None:
            raise NotFoundError
        return thing

    def raw(self, code, data, kind, headers=None):
        self.entry["status"] = code
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        return self

    def error(self, code, message):
        body = {"code": code, "message": message, "details": []}
        return self.raw(code, json.dumps(body).encode(), "application/json")

    def handle_any(self):
        url = urlparse(self.path)
        path, self.query = url.path, parse_qs(url.query, keep_blank_values=True)
        self.base = f"http://{self.headers.get('Host')}"
        length = int(self.headers.get("Content-Length") or 0)
        self.bytes = self.rfile.read(length) if length else b""
        try:
            self.body = json.loads(self.bytes) if self.bytes and path.startswith(("/v1", "/_fake")) else {}
        except ValueError:
            self.body = {}
        self.entry = {"m": self.command, "path": path, "q": dict(self.query), "body": self.body, "status": None}
        if not path.startswith("/_fake"):  # logged before the answer goes out, so a test never races its own request
            W.log.append(self.entry)
        try:
            signed_in = self.headers.get("Authorization", "").startswith(("Basic ", "Bearer "))
            if path.startswith("/v1") and not signed_in:
                self.error(401, "unauthenticated")
            elif path.startswith("/_ws/"):
                self.follow(path.rsplit("/", 1)[1])
            elif not (path.startswith("/v1") and self.fail(path)):
                self.dispatch(path)
        except NotFoundError:
            self.error(404, "not found")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # whoever asked has stopped waiting
        except Exception as error:  # a bug in the fake must be visible
            self.error(500, f"fake bug: {type(error).__name__}: {error}")

    def fail(self, path):
        """Answers with the first fault that fits, if one does."""
        for fault in W.faults:
            if fault["times"] <= 0 or not re.search(fault["match"], f"{self.command} {path}"):
                continue
            if fault.get("rate") is not None and W.chance.random() >= fault["rate"]:
                continue
            fault["times"] -= 1
            if fault.get("slow"):
                faults = W.faults
                time.sleep(fault["slow"])
                if W.faults is faults:
                    return False
                self.error(500, "reset")  # the test is over
                return True
            if W.chance.random() < 0.5 if fault["after"] == "sometimes" else fault["after"]:
                self.dispatch(path, discard=True)
            status = W.chance.choice(fault["status"]) if isinstance(fault["status"], list) else fault["status"]
            if status == "cut":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.error(status, fault["body"])
            return True
        return False

    def dispatch(self, path, discard=False):
        for method, expression, function in ROUTES:
            found = expression.match(path)
            if method == self.command and found:
                with W.lock:
                    answer = function(self, **found.groupdict())
                if answer is not self and not discard:
                    self.raw(200, json.dumps(answer).encode(), "application/json")
                return
        self.error(501, f"fake has no route for {self.command} {path}")

    def follow(self, job_id):
        """Sends the lines of a job as they come, over a web socket."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        for name, value in {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}.items():
            self.send_header(name, value)
        self.end_headers()
        self.entry["status"], self.close_connection = 101, True
        job, sent = W.jobs[job_id], W.jobs[job_id].get("_seen", 0)
        for _ in range(600):
            lines = job_lines(job)
            if len(lines) > sent:
                stamp = {"timestamp": {"seconds": int(time.time())}, "resource_id": job_id}
                new = [{"message": text, "line": sent + i, **stamp} for i, text in enumerate(lines[sent:])]
                data = json.dumps(new).encode()
                sent = len(lines)
                size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
                self.wfile.write(b"\x81" + size + data)
                self.wfile.flush()
            if W.job_tick(job)["state"] in ENDED:
                break
            time.sleep(0.1)
        self.wfile.write(b"\x88\x00")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any


def serve(port=0):
    """Starts in a thread; returns the server and its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"
