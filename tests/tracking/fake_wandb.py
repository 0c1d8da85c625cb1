"""A W&B server on loopback: as much of its GraphQL, file stream and storage as a study needs, kept in memory."""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "someone"


@dataclass
class FakeRun:
    """One run as the server has it."""

    name: str = ""
    group: str = ""
    job_type: str = ""
    sweep: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows that were logged."""
        return [json.loads(line) for line in self.lines]


class FakeWandb:
    """The server's state, and how it answers."""

    def __init__(self) -> None:
        self.runs: dict[str, FakeRun] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.jobs: list[dict[str, Any]] = []
        self.url = ""
        self.keys: set[str] = set()
        self.silent = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.RLock()

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answers one operation by its name; what is not known gets nothing, as of a server without the feature."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found[1] if found else ""
        self.requests.append(name)
        answer: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, f"_{name}", None)
        with self._lock:
            return answer(variables) if answer is not None else {}

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Takes a part of a run's file stream: lines by their offset."""
        with self._lock:
            kept = self.runs[run]
            for name, part in (body.get("files") or {}).items():
                if name == "wandb-history.jsonl":
                    kept.lines[part["offset"] :] = part["content"]
                elif name == "wandb-summary.json":
                    kept.summary = json.loads(part["content"][-1])
            if body.get("complete"):
                kept.exit_code = body.get("exitcode")

    def wait(self) -> None:
        """Keeps a request waiting while the server is silent."""
        while self.silent.is_set() and not self._ended.wait(0.02):
            pass

    # -- operations ----------------------------------------------------------------------------------------------------

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        teams: dict[str, Any] = {"edges": []}
        return {"viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}}

    def _RunResumeStatus(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        bucket = run and {
            "id": v["name"],
            "name": v["name"],
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.name,
            "logLineCount": 0,
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps(run.lines[-1:]),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": [],
            "notes": None,
            "wandbConfig": json.dumps({"t": run.config.get("_wandb", {}).get("value", {}).get("t")}),
        }
        return {"model": {"id": "p", "name": v["project"], "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}}

    def _UpsertBucket(self, v: dict[str, Any]) -> dict[str, Any]:
        inserted = v["name"] not in self.runs
        run = self.runs.setdefault(v["name"], FakeRun())
        for attribute, key in {
            "name": "displayName",
            "group": "groupName",
            "job_type": "jobType",
            "sweep": "sweep",
        }.items():
            if v.get(key):
                setattr(run, attribute, v[key])
        if v.get("config"):
            run.config = json.loads(v["config"])
        if v.get("summaryMetrics"):
            run.summary = json.loads(v["summaryMetrics"])
        project = {"id": "p", "name": v["project"], "entity": {"id": "e", "name": ENTITY}}
        bucket = {
            "id": v["name"],
            "name": v["name"],
            "displayName": run.name,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": run.sweep or None,
            "project": project,
            "historyLineCount": len(run.lines),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _CreateRunFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{v['run']}/{name}"} for name in v["files"]]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    def _ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def _CreateArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        given = v["input"]
        name, digest = given["artifactCollectionName"], given["digest"]
        known = self.artifacts.get(f"{name}:{digest}")
        if known is None:
            known = {"name": name, "type": given["artifactTypeName"], "files": {}, "committed": False}
            self.artifacts[f"{name}:{digest}"] = known | {"metadata": given.get("metadata")}
        state = "COMMITTED" if known["committed"] else "PENDING"
        sequence = {"latestArtifact": None}
        return {
            "createArtifact": {"artifact": {"id": f"{name}:{digest}", "state": state, "artifactSequence": sequence}}
        }

    def _CreateArtifactManifest(self, v: dict[str, Any]) -> dict[str, Any]:
        file = {"id": "f", "uploadUrl": f"{self.url}/storage/manifest/{v['artifactID']}", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": v["artifactID"], "file": file}}}

    def _UpdateArtifactManifest(self, v: dict[str, Any]) -> dict[str, Any]:
        answer = self._CreateArtifactManifest({"artifactID": v["artifactManifestID"]})["createArtifactManifest"]
        return {"updateArtifactManifest": answer}

    def _CreateArtifactFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for file in v["input"]["artifactFiles"]:
            place = f"artifact/{file['artifactID']}/{file['name']}"
            self.artifacts[file["artifactID"]]["files"][file["name"]] = place
            node = {
                "storagePath": place,
                "uploadUrl": f"{self.url}/storage/{place}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[v["artifactID"]]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": v["artifactID"].partition(":")[2]}}}

    def _UpsertSweep(self, v: dict[str, Any]) -> dict[str, Any]:
        name = f"sweep{len(self.sweeps)}"
        self.sweeps[name] = v
        project = {"id": "p", "name": v.get("projectName"), "entity": {"id": "e", "name": ENTITY}}
        return {
            "upsertSweep": {"sweep": {"id": name, "name": name, "project": project}, "configValidationWarnings": []}
        }

    def _CreateAgent(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": f"agent of {v['sweep']}"}}}

    def _Heartbeat(self, v: dict[str, Any]) -> dict[str, Any]:
        commands = [self.jobs.pop(0)] if self.jobs and not json.loads(v["runState"]) else []
        if not self.jobs and not commands:
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": v["id"]}, "commands": json.dumps(commands)}}


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        fake, body = self.server.fake, self._body()
        fake.wait()
        key = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode().partition(":")[2]
        if key:
            fake.keys.add(key)
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            self._send({"data": fake.graphql(asked["query"], asked.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            fake.stream(self.path.split("/")[-2], json.loads(body))
            self._send({})
        else:
            self._send({})

    def do_PUT(self) -> None:
        body = self._body()
        self.server.fake.wait()
        self.server.fake.stored[self.path.removeprefix("/storage/")] = body
        self._send({})

    def do_GET(self) -> None:
        self.server.fake.wait()
        self._send({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeWandb

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that gave up waiting


@contextmanager
def fake_wandb() -> Iterator[FakeWandb]:
    """Starts a server, and stops it."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.fake = fake = FakeWandb()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake._ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
