# ruff: noqa: PTH103, PTH118, PTH120, PTH123, RUF012, SIM102
"""Loopback fake of the Lightning AI platform API, stdlib only (for tests of lightning-sdk 2026.10.13).

Start:   python fake_lightning.py [port]         (prints the base URL; 127.0.0.1 only)
Client:  LIGHTNING_CLOUD_URL=http://127.0.0.1:PORT LIGHTNING_USER_ID=u-1 LIGHTNING_API_KEY=key-1
         LIGHTNING_DISABLE_VERSION_CHECK=1       (set BEFORE lightning_sdk is imported)
Control: GET /_fake/log | POST /_fake/reset | POST /_fake/faults {"match","status","times","after","body"}
         POST /_fake/job/<id> {"state": "failed", ...}  GET /_fake/state
Env:     FAKE_EXEC=1 run job/studio commands for real with bash -e; FAKE_STEPS=n polls per state (default 1)

A job that is executed gets a folder of its own with the files of its Studio, and an environment of its own: a path to
Python, the Studio's variables, the secrets of the store and the variables of the job, and nothing else of this machine
but what ``World.passed_on`` names. Its clash suffixes, quota texts and state timing are guesses.
"""

import base64
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

USER = {"id": "u-1", "username": "tester", "email": "t@example.test", "features": {}, "apiKey": "key-1"}
ORG = {"id": "o-1", "name": "acme", "displayName": "acme", "preferredCluster": "lightning-public-prod"}
PROJECT = {
    "id": "p-1",
    "name": "spelling",
    "displayName": "spelling",
    "ownerId": "o-1",
    "ownerType": "organization",
    "projectSettings": {"preferredCluster": "lightning-public-prod", "startStudioOnSpotInstance": False},
    "layoutConfig": [],
}
CLUSTER = {
    "id": "lightning-public-prod",
    "name": "lightning-public-prod",
    "spec": {"clusterType": "CLUSTER_TYPE_GLOBAL", "driver": "AWS", "awsV1": {"region": "us-east-1"}},
}
# (slug_multi_cloud, instance id, type, family, count, cost, spot) - prices are made up for the fake
ACC = [
    ("cpu-4", "m6a.xlarge", "CPU", "CPU", 4, 0.29, 0.10),
    ("cpu-2", "m6a.large", "CPU", "CPU", 2, 0.15, 0.05),
    ("lit-t4-1", "g4dn.2xlarge", "GPU", "T4", 1, 0.68, 0.30),
    ("lit-l4-1", "g6.4xlarge", "GPU", "L4", 1, 0.99, 0.5),
    ("lit-a100-1", "p4de.24xlarge", "GPU", "A100", 1, 1.55, 1.0),
    ("lit-h100-1", "p5.4xlarge", "GPU", "H100", 1, 2.7, 2.0),
]


def accelerators(out=()):
    return [
        {
            "slug": s.replace("lit-", ""),
            "slugMultiCloud": s,
            "instanceId": i,
            "acceleratorType": t,
            "family": f,
            "resources": {"gpu": n if t == "GPU" else 0, "cpu": n if t == "CPU" else 16},
            "cost": c,
            "spotPrice": sp,
            "enabled": True,
            "outOfCapacity": s in out,
            "provider": "AWS",
            "dwsSupported": False,
            "dwsOnly": False,
            "clusterId": CLUSTER["id"],
            "displayName": s,
            "availableInSeconds": "60",
            "availableInSecondsSpot": "60",
        }
        for s, i, t, f, n, c, sp in ACC
    ]


def now():
    skew = timedelta(seconds=W.clock_skew if "W" in globals() else 0.0)
    return (datetime.now(UTC) + skew).isoformat().replace("+00:00", "Z")


def kill(j):
    """Ends the processes of a job: its session, since GNU timeout makes a process group of its own."""
    process = j.get("_proc")
    if process is None:
        return
    for how, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        end = time.monotonic() + seconds
        while found := session_of(process.pid):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            process.poll()
            if time.monotonic() > end:
                break
            time.sleep(0.02)
    process.wait(5)


def session_of(leader):
    """Returns the processes of a session, the leader first, so that its script does not go on meanwhile."""
    found = []
    for line in subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True).stdout.splitlines():
        pid, state = line.split()[:2]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(pid)) == leader and not state.startswith("Z"):
                found.append(int(pid))
    return sorted(found, key=lambda pid: pid != leader)


def nid(p):
    return f"{p}-{uuid.uuid4().hex[:8]}"


class World:
    def __init__(self):
        self.lock = threading.RLock()
        self.exec = os.environ.get("FAKE_EXEC") == "1"
        self.steps = int(os.environ.get("FAKE_STEPS", "1"))
        self.passed_on = ("PATH", "LANG", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
        self.extra_env = {}  # what the image of the machine sets
        self.job_quota = None  # jobs at one time, None for any number
        self.cost_lags = False  # total_cost reads 0.0 for the first looks after the end
        self.clock_skew = 0.0  # seconds by which the platform's clock is ahead
        self.root = None
        self.jobs = {}
        self.reset()

    def reset(self):
        for j in self.jobs.values():
            kill(j)
        if self.root:
            shutil.rmtree(self.root, ignore_errors=True)
        self.root = tempfile.mkdtemp(prefix="fake-lightning-")
        self.job_quota, self.cost_lags, self.clock_skew, self.extra_env = None, False, 0.0, {}
        self.log, self.faults, self.jobs, self.studios, self.mmts = [], [], {}, {}, {}
        self.secrets, self.user_secrets, self.blobs, self.sessions, self.deploys, self.models = {}, {}, {}, {}, {}, {}
        self.out_of_capacity, self.balance, self.telemetry = set(), 15.0, []
        self.chance = random.Random(0)

    # ---- jobs: a job moves one state per FAKE_STEPS polls unless it is really executed
    ORDER = ["pending", "running", "complete", "completed"]

    def job_tick(self, j):
        if j.get("_looks"):
            j["_looks"] -= 1
            if not j["_looks"]:
                j["totalCost"] = j["_final_cost"]
        if j["_proc"] is not None:
            rc = j["_proc"].poll()
            if rc is None:
                j["state"] = "running"
                j.setdefault("startedAt", now())
            elif j["state"] not in ("completed", "failed", "stopped"):
                self.job_end(j, "completed" if rc == 0 else "failed", f"exit code {rc}")
        elif j["state"] in self.ORDER[:-1] and not j["_pinned"]:
            j["_polls"] += 1
            if j["_polls"] >= self.steps:
                j["_polls"], nxt = 0, self.ORDER[self.ORDER.index(j["state"]) + 1]
                j["state"] = nxt
                if nxt == "running":
                    j["startedAt"] = now()
                if nxt == "completed":
                    self.job_end(j, "completed")
        elif j["state"] == "stop":
            self.job_end(j, "stopped")
        return j

    def job_end(self, j, state, message=""):
        j.setdefault("startedAt", now())
        seconds = time.monotonic() - j["_began"]
        price = next((c for s, i, *_, c, sp in ACC if j["spec"].get("instanceName") in (s, i)), 0.5)
        j["_final_cost"] = round(max(0.0001, price * seconds / 3600), 6)
        j.update(state=state, stoppedAt=now(), totalCost=j["_final_cost"], message=message)
        if self.cost_lags:
            j.update(totalCost=0.0, _looks=3)

    def job_lines(self, j):
        if j["_out"]:
            return open(j["_out"], errors="replace").read().splitlines()
        return ["hello from fake job", f"cmd: {j['spec'].get('command', '')}"]

    # ---- studios
    def studio_status(self, s):
        """phases: requested -> (initialRestoreFinished) -> in_use with topUpRestoreFinished."""
        return {"inUse": s["_in_use"], "requested": s["_requested"]}

    @staticmethod
    def instance(compute, phase="CLOUD_SPACE_INSTANCE_STATE_RUNNING"):
        return {
            "cloudSpaceInstanceId": nid("inst"),
            "phase": phase,
            "computeConfig": compute,
            "clusterId": CLUSTER["id"],
            "startupStatus": {"initialRestoreFinished": True, "topUpRestoreFinished": True},
            "publicIpAddress": "127.0.0.1",
            "startupPercentage": "100",
            "price": 0.0,
        }


W = World()
ROUTES = []


def route(method, pattern):
    rx = re.compile(
        "^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern).replace("{*", "(?P<").replace("*}", ">.*)") + "$"
    )

    def deco(fn):
        ROUTES.append((method, rx, fn))
        return fn

    return deco


class NotFound(Exception):
    pass


def pub(d):
    return {k: v for k, v in d.items() if not k.startswith("_")}


# ------------------------------------------------------------------ identity, teamspace, clusters
@route("GET", "/v1/auth/user")
def _(r):
    return USER


@route("GET", "/v1/auth/whoami")
def _(r):
    return {"userId": "u-1", "username": "tester", "authType": "AUTH_TYPE_API_KEY"}


@route("POST", "/v1/auth/token-login")
def _(r):
    return {"token": "jwt-1"}


@route("POST", "/v1/auth/refresh")
def _(r):
    return {"token": "jwt-2"}


@route("GET", "/v1/users/search")
def _(r):
    return {"users": [USER] if r.q("query") in ("tester", "u-1") else []}


@route("GET", "/v1/orgs")
def _(r):
    return {"organizations": [ORG]}


@route("GET", "/v1/orgs/{id}")
def _(r, id):
    return r.need(ORG if id == "o-1" else None)


@route("GET", "/v1/orgs/")  # SDK asks /v1/orgs/?name=acme (empty id)
def _(r):
    return r.need(ORG if r.q("name") == "acme" else None)


@route("GET", "/v1/memberships")
def _(r):
    return {
        "memberships": [
            {
                "projectId": "p-1",
                "name": "spelling",
                "displayName": "spelling",
                "ownerId": "o-1",
                "ownerType": "organization",
                "balance": W.balance,
            }
        ]
    }


@route("GET", "/v1/projects/{p}")
def _(r, p):
    return r.need(PROJECT if p == "p-1" else None)


@route("GET", "/v1/projects/{p}/clusters")
def _(r, p):
    return {"clusters": [CLUSTER]}


@route("GET", "/v1/projects/{p}/projectclustersbindings")
def _(r, p):
    return {
        "clusters": [{"clusterId": CLUSTER["id"], "clusterName": CLUSTER["name"], "projectId": p, "createdAt": now()}]
    }


@route("GET", "/v1/core/clusters")
def _(r):
    return {"clusters": [CLUSTER]}


@route("GET", "/v1/core/accelerators")
def _(r):
    return {"accelerator": accelerators(W.out_of_capacity)}


@route("GET", "/v1/projects/{p}/clusters/{c}/accelerators")
def _(r, p, c):
    return {"accelerator": accelerators(W.out_of_capacity)}


@route("GET", "/v1/projects/{p}/billing/balance")
def _(r, p):
    return {"projectId": p, "balance": W.balance}


@route("GET", "/v1/users/billing/balance")
def _(r):
    return {"balance": W.balance}


@route("GET", "/v1/billing/account-balance")
def _(r):
    return {"balance": W.balance}


@route("POST", "/v1/sdk-command-history")
def _(r):
    W.telemetry.append(r.body)
    return {}


# ------------------------------------------------------------------ studios ("cloudspaces")
@route("GET", "/v1/cloudspaces/environment-templates/managed")
def _(r):
    return {
        "templates": [
            {
                "id": "tpl-1",
                "name": "PyTorch",
                "disabled": False,
                "userId": "u-1",
                "config": {"allowedMachines": [], "defaultMachine": "cpu-4"},
            }
        ]
    }


@route("GET", "/v1/cloudspaces/environment-templates")
def _(r):
    return {"templates": []}


@route("GET", "/v1/projects/{p}/cloudspaces")
def _(r, p):
    n = r.q("name")
    return {"cloudspaces": [studio(s) for s in W.studios.values() if not n or s["name"] == n], "nextPageToken": ""}


def studio(s):
    return {**pub(s), "codeStatus": W.studio_status(s)}


def the_studio(id):
    if id not in W.studios:
        raise NotFound
    return W.studios[id]


@route("POST", "/v1/projects/{p}/cloudspaces")
def _(r, p):
    b = r.body
    s = {
        "id": nid("s"),
        "name": b["name"],
        "displayName": b.get("displayName"),
        "projectId": p,
        "userId": "u-1",
        "clusterId": b.get("clusterId") or CLUSTER["id"],
        "env": [],
        "state": "CLOUD_SPACE_STATE_READY",
        "createdAt": now(),
        "codeConfig": {
            "disableAutoShutdown": False,
            "idleShutdownSeconds": 600,
            "computeConfig": {"name": "cpu-4", "spot": False},
        },
        "environmentTemplateId": b.get("cloudSpaceEnvironmentTemplateId", ""),
        "_in_use": None,
        "_requested": None,
    }
    W.studios[s["id"]] = s
    return studio(s)


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/runs")
def _(r, p, id):
    return {"id": nid("run"), "cloudspaceId": id}


@route("GET", "/v1/projects/{p}/cloudspaces/{id}")
def _(r, p, id):
    return studio(the_studio(id))


@route("PUT", "/v1/projects/{p}/cloudspaces/{id}")
def _(r, p, id):
    s = the_studio(id)
    s.update({k: v for k, v in r.body.items() if k in ("env", "displayName")})
    return studio(s)


@route("DELETE", "/v1/projects/{p}/cloudspaces/{id}")
def _(r, p, id):
    the_studio(id)
    del W.studios[id]
    return {}


@route("GET", "/v1/projects/{p}/cloudspaces/{id}/codestatus")
def _(r, p, id):
    return W.studio_status(the_studio(id))


@route("GET", "/v1/projects/{p}/cloudspaces/{id}/codeconfig")
def _(r, p, id):
    return the_studio(id)["codeConfig"]


@route("PUT", "/v1/projects/{p}/cloudspaces/{id}/sleepconfig")
def _(r, p, id):
    c = the_studio(id)["codeConfig"]
    c.update({k: v for k, v in r.body.items() if v is not None})
    return c


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/start")
def _(r, p, id):
    s, cc = the_studio(id), r.body["computeConfig"]
    if W.balance <= 0:
        return r.error(400, "insufficient balance")  # message text is invented: the real one is not in the SDK
    s["codeConfig"]["computeConfig"], s["_in_use"] = cc, W.instance(cc)
    return {}


@route("PUT", "/v1/projects/{p}/cloudspaces/{id}/codeconfig")  # = request a machine switch
def _(r, p, id):
    s, cc = the_studio(id), r.body["computeConfig"]
    s["codeConfig"]["computeConfig"], s["_requested"] = cc, W.instance(cc, "CLOUD_SPACE_INSTANCE_STATE_PENDING")
    return s["codeConfig"]


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/switch-confirm")
def _(r, p, id):
    s = the_studio(id)
    s["_in_use"], s["_requested"] = {**s["_requested"], "phase": "CLOUD_SPACE_INSTANCE_STATE_RUNNING"}, None
    return {}


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/stop")
def _(r, p, id):
    s = the_studio(id)
    s["_in_use"] = None
    return {}


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/keep-alive")
def _(r, p, id):
    return {}


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/execute")
def _(r, p, id):
    sid, cmd = nid("sess"), r.body.get("command", "")
    if W.exec:
        folder = os.path.join(W.root, "studios", id)
        os.makedirs(folder, exist_ok=True)
        for place, content in studio_files(id):
            os.makedirs(os.path.dirname(os.path.join(folder, place)), exist_ok=True)
            with open(os.path.join(folder, place), "wb") as f:
                f.write(content)
        x = subprocess.run(
            ["bash", "-c", cmd], capture_output=True, text=True, timeout=120, cwd=folder, env=machine_env(id, folder)
        )
        W.sessions[sid] = (x.stdout + x.stderr, x.returncode)
    else:
        W.sessions[sid] = (f"ran: {cmd}\n", 0)
    return {"sessionName": sid, "exitCode": 0, "output": ""}


@route("GET", "/v1/projects/{p}/cloudspaces/{id}/execute/{sess}/stream")  # ndjson
def _(r, p, id, sess):
    out, rc = W.sessions[sess]
    return r.raw(200, (json.dumps({"result": {"output": out, "exitCode": rc}}) + "\n").encode(), "application/x-ndjson")


@route("POST", "/v1/projects/{p}/endpoints")
def _(r, p):
    return {"id": nid("ep"), **r.body, "urls": [f"{r.base}/_port/{r.body['ports'][0]}"]}


# ------------------------------------------------------------------ artifacts: studio files and teamspace drive
def scope_key(scope, path):
    return f"{scope}|{path.strip('/')}"


@route("POST", "/v1/projects/{p}/artifacts{*scope*}/blobs")
def _(r, p, scope):
    res = []
    for b in r.body["blobs"]:
        key = base64.urlsafe_b64encode(scope_key(scope, b["path"]).encode()).decode()
        n, up = b.get("parts", 0), b.get("upload_id") or (nid("up") if b.get("parts") else "")
        nums = b.get("part_numbers") or (range(1, n + 1) if n else [0])
        res.append(
            {
                "path": b["path"],
                "upload_id": up,
                "complete_required": not n,
                "urls": [
                    {"url": f"{r.base}/_blob/{key}?part={i}&up={up}", "part_number": i, "headers": {}} for i in nums
                ],
            }
        )
    return {"results": res}


@route("POST", "/v1/projects/{p}/artifacts{*scope*}/blobs/complete")
def _(r, p, scope):
    for b in r.body["blobs"]:
        if b.get("upload_id"):
            parts = sorted(int(x["part_number"]) for x in b["parts"])
            k = scope_key(scope, b["path"])
            W.blobs[k] = b"".join(W.blobs.pop(f"{k}#{b['upload_id']}#{i}") for i in parts)
    return {}


@route("GET", "/v1/projects/{p}/artifacts{*scope*}/blobs/{*path*}")
def _(r, p, scope, path):
    k = scope_key(scope, path)
    if k not in W.blobs:
        raise NotFound
    return r.raw(200, W.blobs[k], "application/octet-stream")


@route("DELETE", "/v1/projects/{p}/artifacts{*scope*}/blobs/{*path*}")
def _(r, p, scope, path):
    W.blobs.pop(scope_key(scope, path), None)
    return r.raw(204, b"", "text/plain")


@route("GET", "/v1/projects/{p}/artifacts{*scope*}/trees/{*path*}")
def _(r, p, scope, path):
    pre = scope_key(scope, path).rstrip("/")
    pre += "" if pre.endswith("|") else "/"
    rel = {k[len(pre) :]: len(v) for k, v in W.blobs.items() if k.startswith(pre) and "#" not in k}
    if r.q("recursive") == "true":
        return {"tree": [{"path": k, "type": "blob", "size": n} for k, n in rel.items()]}
    tops = {}
    for k, n in rel.items():
        tops[k.split("/")[0]] = None if "/" in k else n
    return {
        "tree": [
            {"path": k, "type": "tree"} if n is None else {"path": k, "type": "blob", "size": n}
            for k, n in tops.items()
        ]
    }


@route("PUT", "/_blob/{key}")
def _(r, key):
    k, part = base64.urlsafe_b64decode(key).decode(), r.q("part")
    W.blobs[k if part == "0" else f"{k}#{r.q('up')}#{part}"] = r.bytes
    return r.raw(200, b"", "text/plain", {"ETag": hashlib.md5(r.bytes).hexdigest()})


# ------------------------------------------------------------------ jobs
def new_job(p, name, spec, tags=(), **kw):
    names, base, i = {j["name"] for j in W.jobs.values()}, name, 1
    while name in names:  # the platform renames on a clash; the exact suffix is a guess
        name, i = f"{base}-{i}", i + 1
    j = {
        "id": nid("job"),
        "name": name,
        "projectId": p,
        "state": "pending",
        "spec": spec,
        "createdAt": now(),
        "userId": "u-1",
        "totalCost": 0.0,
        "tags": [{"id": f"tag-{t.lower()}", "name": t.lower()} for t in tags or ()],
        "restartCount": 0,
        "message": "",
        "_polls": 0,
        "_pinned": False,
        "_proc": None,
        "_out": None,
        "_began": time.monotonic(),
        **kw,
    }
    if W.exec and spec.get("command"):
        folder = os.path.join(W.root, "jobs", j["id"])
        os.makedirs(folder)
        j["_out"], j["_folder"] = folder + ".log", folder
        for place, content in studio_files(spec.get("cloudspaceId")):
            os.makedirs(os.path.dirname(os.path.join(folder, place)), exist_ok=True)
            with open(os.path.join(folder, place), "wb") as f:
                f.write(content)
        env = {
            **machine_env(spec.get("cloudspaceId"), folder),
            **{e["name"]: e.get("value", "") for e in spec.get("env") or []},
        }
        with open(j["_out"], "wb") as out:
            j["_proc"] = subprocess.Popen(
                ["bash", "-ec", spec["command"]],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=env,
                cwd=folder,
                start_new_session=True,
            )
    W.jobs[j["id"]] = j
    return j


def studio_files(studio_id):
    pre = f"/cloudspaces/{studio_id}|"
    return [(k[len(pre) :], v) for k, v in W.blobs.items() if k.startswith(pre) and "#" not in k]


def machine_env(studio_id, folder):
    env = {n: os.environ[n] for n in W.passed_on if n in os.environ}
    env["PATH"] = os.path.dirname(sys.executable) + os.pathsep + env.get("PATH", "")
    env.update(HOME=folder, LIGHTNING_ARTIFACTS_DIR=os.path.join(folder, "artifacts"), **W.extra_env)
    env.update({n: v for n, v, _ in [*W.user_secrets.values(), *W.secrets.values()]})
    s = W.studios.get(studio_id)
    env.update({e["name"]: e.get("value", "") for e in (s or {}).get("env") or []})
    return env


PAGE = 100  # jobs of one answer


@route("POST", "/v1/projects/{p}/jobs")
def _(r, p):
    active = [j for j in W.jobs.values() if W.job_tick(j)["state"] not in ("completed", "failed", "stopped")]
    if W.job_quota is not None and len(active) >= W.job_quota:
        return r.error(403, "quota exceeded: too many jobs at one time")
    if W.balance <= 0:
        return r.error(402, "insufficient balance")
    return pub(new_job(p, r.body["name"], r.body["spec"], r.body.get("tags")))


@route("GET", "/v1/projects/{p}/jobs")
def _(r, p):
    solo, wanted = r.q("standalone").lower() == "true", set(r.qall("tagIds"))
    found = [
        j
        for j in W.jobs.values()
        if not (solo and j.get("multiMachineJobId")) and (not wanted or wanted & {t["id"] for t in j["tags"]})
    ]
    start = int(r.q("pageToken") or 0)
    more = str(start + PAGE) if len(found) > start + PAGE else ""
    return {"jobs": [pub(W.job_tick(j)) for j in found[start : start + PAGE]], "nextPageToken": more}


@route("GET", "/v1/projects/{p}/jobs/find")
def _(r, p):
    return pub(W.job_tick(r.need(next((j for j in W.jobs.values() if j["name"] == r.q("name")), None))))


@route("GET", "/v1/projects/{p}/jobs/{id}")
def _(r, p, id):
    return pub(W.job_tick(r.need(W.jobs.get(id))))


@route("PUT", "/v1/projects/{p}/jobs/{id}")
def _(r, p, id):
    j = r.need(W.jobs.get(id))
    if r.body.get("state") == "stop":
        if W.job_tick(j)["state"] not in ("completed", "failed", "stopped"):
            kill(j)
            j["state"], j["_proc"], j["_pinned"] = "stop", None, False
    if r.body.get("name"):
        j["name"] = r.body["name"]
    return pub(j)


@route("DELETE", "/v1/projects/{p}/jobs/{id}")
def _(r, p, id):
    r.need(W.jobs.pop(id, None))
    return {}


@route("GET", "/v1/projects/{p}/page-logs")
def _(r, p):
    ids, ent = r.qall("jobIds"), []
    if r.q("mmtId"):
        ids = [j["id"] for j in W.jobs.values() if j.get("multiMachineJobId") == r.q("mmtId")]
    for i in ids:
        j = r.need(W.jobs.get(i))
        sub = r.q("query")
        ent += [
            {"line": str(n), "message": m, "resourceId": i, "severity": "info", "timestamp": now()}
            for n, m in enumerate(W.job_lines(j))
            if not sub or sub in m
        ]
    for i in ids:
        W.jobs[i]["_seen"] = len(W.job_lines(W.jobs[i]))
    live = any(W.jobs[i]["state"] == "running" for i in ids)
    return {"entries": ent, "nextPageToken": "", "followUrl": f"/_ws/{ids[0]}" if live and ids else ""}


@route("GET", "/v1/projects/{p}/jobs/{id}/download-logs")
def _(r, p, id):
    return {"url": f"{r.base}/_logfile/{id}"}


@route("GET", "/_logfile/{id}")
def _(r, id):
    return r.raw(200, "".join(f"[{now()}] {m}\n" for m in W.job_lines(r.need(W.jobs.get(id)))).encode(), "text/plain")


@route("PUT", "/v1/projects/{p}/workloads/{t}/{id}/tags")
def _(r, p, t, id):
    r.need(W.jobs.get(id))["tags"] = [{"id": x, "name": x.lower()} for x in r.body["tags"]]
    return {}


@route("GET", "/v1/projects/{p}/workload-tags")
def _(r, p):
    return {"tags": list({t["id"]: t for j in [*W.jobs.values(), *W.mmts.values()] for t in j["tags"]}.values())}


def mmt(m):
    members = [W.job_tick(j) for j in W.jobs.values() if j.get("multiMachineJobId") == m["id"]]
    states = {j["state"] for j in members}
    word = next((w for w in ("failed", "stopped", "running", "pending") if w in states), None)
    word = word or ("completed" if states == {"completed"} else "running")
    m.update(
        state=f"MultiMachineJob_STATE_{word.upper()}",
        totalCost=sum(j["totalCost"] for j in members),
        message=next((j["message"] for j in members if j["state"] == "failed"), ""),
    )
    return pub(m)


@route("GET", "/v1/projects/{p}/multi-machine-jobs")
def _(r, p):
    return {"multiMachineJobs": [mmt(m) for m in W.mmts.values()], "nextPageToken": ""}


@route("POST", "/v1/projects/{p}/multi-machine-jobs")
def _(r, p):
    tags = [{"id": f"tag-{t.lower()}", "name": t.lower()} for t in r.body.get("tags") or ()]
    m = {**r.body, "id": nid("mmt"), "projectId": p, "tags": tags, "createdAt": now()}
    W.mmts[m["id"]] = m
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        first = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    for k in range(int(r.body.get("machines") or 2)):
        own = [{"name": n, "value": v} for n, v in {**first, "NODE_RANK": str(k)}.items()]
        spec = {**r.body["spec"], "env": [*(r.body["spec"].get("env") or []), *own]}
        new_job(p, f"{m['name']}-{k}", spec, multiMachineJobId=m["id"])
    return mmt(m)


@route("GET", "/v1/projects/{p}/multi-machine-jobs/{id}")
def _(r, p, id):
    return mmt(r.need(W.mmts.get(id)))


@route("PUT", "/v1/projects/{p}/multi-machine-jobs/{id}")
def _(r, p, id):
    m = r.need(W.mmts.get(id))
    if str(r.body.get("desiredState", "")).endswith("STOP"):
        for j in W.jobs.values():
            if j.get("multiMachineJobId") == id and j["state"] not in ("completed", "failed", "stopped"):
                kill(j)
                j["state"], j["_proc"] = "stop", None
    return mmt(m)


@route("GET", "/v1/projects/{p}/multi-machine-jobs/{name}/getbyname")
def _(r, p, name):
    return mmt(r.need(next((m for m in W.mmts.values() if m["name"] == name), None)))


# ------------------------------------------------------------------ secrets
def secrets_routes(base, store):
    @route("GET", base)
    def _(r, p=None):
        return {"secrets": [{"id": i, "name": n, "type": t} for i, (n, v, t) in getattr(W, store).items()]}

    @route("POST", base)
    def _(r, p=None):
        i = nid("sec")
        getattr(W, store)[i] = (r.body["name"], r.body["value"], r.body.get("type") or "SECRET_TYPE_UNSPECIFIED")
        return {"id": i, "name": r.body["name"]}

    @route("PUT", base + "/{id}")
    def _(r, id, p=None):
        n, _v, t = getattr(W, store)[id]
        getattr(W, store)[id] = (n, r.body["value"], t)
        return {"id": id, "name": n}

    @route("DELETE", base + "/{id}")
    def _(r, id, p=None):
        getattr(W, store).pop(id)
        return {}


secrets_routes("/v1/projects/{p}/secrets", "secrets")
secrets_routes("/v1/secrets", "user_secrets")


# ------------------------------------------------------------------ models (registry) and deployments
@route("GET", "/v1/projects/{p}/models")
def _(r, p):
    return {"models": [pub(m) for m in W.models.values() if not r.q("name") or m["name"] == r.q("name")]}


@route("POST", "/v1/projects/{p}/models")
def _(r, p):
    m = {"id": nid("mdl"), "name": r.body["name"], "projectId": p, "_files": {}}
    m["defaultVersion"] = {"modelId": m["id"], "version": "v1", "uploadComplete": False, "projectId": p}
    W.models[m["id"]] = m
    return m["defaultVersion"]


@route("POST", "/v1/projects/{p}/models/{m}/versions")
def _(r, p, m):
    return {"modelId": m, "version": r.body.get("version") or "v2", "projectId": p}


@route("POST", "/v1/projects/{p}/models/{m}/versions/{v}/uploads")
def _(r, p, m, v):
    return {"uploadId": nid("up")}


@route("POST", "/v1/projects/{p}/models/{m}/versions/{v}/uploads/{u}/parts")
def _(r, p, m, v, u):
    key = base64.urlsafe_b64encode(scope_key(f"model/{m}/{v}", r.body["filepath"]).encode()).decode()
    return {"urls": [{"url": f"{r.base}/_blob/{key}?part={i}&up={u}", "partNumber": str(i)} for i in r.body["parts"]]}


@route("POST", "/v1/projects/{p}/models/{m}/versions/{v}/uploads/{u}/complete")
def _(r, p, m, v, u):
    k = scope_key(f"model/{m}/{v}", r.body["filepath"])
    W.blobs[k] = b"".join(W.blobs.pop(f"{k}#{u}#{x['partNumber']}") for x in r.body["parts"])
    return {}


@route("POST", "/v1/projects/{p}/models/{m}/versions/{v}/complete")
def _(r, p, m, v):
    W.models[m]["defaultVersion"]["uploadComplete"] = True
    return {}


@route("GET", "/v1/models")  # ?projectOwnerName&projectName&name&version
def _(r):
    m = r.need(next((m for m in W.models.values() if m["name"] == r.q("name")), None))
    v = r.q("version") or "v1"
    v = "v1" if v == "default" else v
    fs = [k.split("|", 1)[1] for k in W.blobs if k.startswith(f"model/{m['id']}/{v}|")]
    return {
        "modelId": m["id"],
        "projectId": m["projectId"],
        "version": v,
        "filepaths": fs,
        "sizeBytes": str(sum(len(W.blobs[f"model/{m['id']}/{v}|{f}"]) for f in fs)),
    }


@route("GET", "/v1/projects/{p}/models/{m}/versions/{v}/file")
def _(r, p, m, v):
    k = f"model/{m}/{v}|{r.q('filepath')}"
    return {"url": f"{r.base}/_get/{base64.urlsafe_b64encode(k.encode()).decode()}", "size": str(len(W.blobs[k]))}


@route("GET", "/_get/{key}")
def _(r, key):
    return r.raw(200, W.blobs[base64.urlsafe_b64decode(key).decode()], "application/octet-stream", ranged=True)


@route("GET", "/v1/projects/{p}/deployments/{name}/getbyname")
def _(r, p, name):
    return r.need(next((d for d in W.deploys.values() if d["name"] == unquote(name)), None))


@route("GET", "/v1/projects/{p}/deployments/{id}")
def _(r, p, id):
    return r.need(W.deploys.get(id))


@route("GET", "/v1/projects/{p}/deployments")
def _(r, p):
    return {"deployments": list(W.deploys.values())}


@route("POST", "/v1/projects/{p}/deployments")
def _(r, p):
    i = nid("dep_")
    n = int(r.body.get("replicas") or 1)
    d = {
        **r.body,
        "id": i,
        "projectId": p,
        "desiredState": "DEPLOYMENT_STATE_RUNNING",
        "currentState": "DEPLOYMENT_STATE_RUNNING",
        "releaseId": "rel-1",
        "status": {
            "readyReplicas": n,
            "pendingReplicas": 0,
            "failingReplicas": 0,
            "deletingReplicas": 0,
            "urls": [os.environ.get("FAKE_ENDPOINT_URL", f"{r.base}/_deployed/{i}")],
        },
    }
    W.deploys[i] = d
    return d


@route("PUT", "/v1/projects/{p}/deployments/{id}")
def _(r, p, id):
    d = r.need(W.deploys.get(id))
    d.update({k: v for k, v in r.body.items() if k not in ("id", "status")})
    if str((d.get("autoscaling") or {}).get("maxReplicas")) == "0":  # Deployment.stop() = autoscale to 0..0
        d["replicas"] = 0
        d["status"] = {
            "readyReplicas": 0,
            "pendingReplicas": 0,
            "failingReplicas": 0,
            "deletingReplicas": 0,
            "urls": [],
        }
        d["currentState"] = "DEPLOYMENT_STATE_STOPPED"
    return d


# ------------------------------------------------------------------ control plane of the fake itself
@route("GET", "/_fake/log")
def _(r):
    return {"log": W.log, "telemetry": W.telemetry}


@route("GET", "/_fake/state")
def _(r):
    return {
        "jobs": [pub(j) for j in W.jobs.values()],
        "studios": [studio(s) for s in W.studios.values()],
        "blobs": {k: len(v) for k, v in W.blobs.items()},
        "secrets": [n for n, _, _ in W.secrets.values()],
    }


@route("POST", "/_fake/reset")
def _(r):
    W.reset()
    return {}


@route("POST", "/_fake/faults")
def _(r):
    W.faults.append({"times": 1, "status": 503, "after": False, "body": "injected", **r.body})
    return {}


@route("POST", "/_fake/set")
def _(r):
    if "balance" in r.body:
        W.balance = r.body["balance"]
    if "out_of_capacity" in r.body:
        W.out_of_capacity = set(r.body["out_of_capacity"])
    if "steps" in r.body:
        W.steps = r.body["steps"]
    return {}


@route("POST", "/_fake/job/{id}")
def _(r, id):
    j = r.need(W.jobs.get(id))
    return pub(set_job(j, **r.body))


def set_job(j, **values):
    """Puts a job into a state; its processes end with it unless they may go on running."""
    if values.get("state") != "running":
        kill(j)
        j["_proc"] = None
    if values.get("state") == "stopped":
        W.job_end(j, "stopped", values.get("message", ""))
    j.update(values, _pinned=True)
    return j


def lose_job(j):
    """The platform forgets a job, and its machine is gone."""
    kill(j)
    del W.jobs[j["id"]]


@route("POST", "/_fake/studio/{id}")
def _(r, id):
    s = the_studio(id)
    for k in ("in_use", "requested"):
        if k in r.body:
            s["_" + k] = r.body[k]
    if "phase" in r.body and s["_in_use"]:
        s["_in_use"]["phase"] = r.body["phase"]
    return studio(s)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def q(self, k):
        return (self.query.get(k) or [""])[0]

    def qall(self, k):
        return self.query.get(k) or []

    def need(self, x):
        if x is None:
            raise NotFound
        return x

    def raw(self, code, data, ctype, headers=None, ranged=False):
        m = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if ranged else None
        if m:
            code, data = 206, data[int(m[1]) : int(m[2]) + 1]
        self.entry["status"] = code
        self.send_response(code)
        for k, v in {"Content-Type": ctype, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(data)
        return self

    def error(self, code, msg):
        return self.raw(code, json.dumps({"code": code, "message": msg, "details": []}).encode(), "application/json")

    def websocket(self, job_id):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        for k, v in {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(hashlib.sha1(key.encode()).digest()).decode(),
        }.items():
            self.send_header(k, v)
        self.end_headers()
        self.entry["status"], self.close_connection, sent = 101, True, W.jobs[job_id].get("_seen", 0)
        for _ in range(600):
            j = W.jobs[job_id]
            lines = W.job_lines(j)
            if len(lines) > sent:
                pay = json.dumps(
                    [
                        {
                            "message": m,
                            "line": sent + i,
                            "timestamp": {"seconds": int(time.time())},
                            "resource_id": job_id,
                        }
                        for i, m in enumerate(lines[sent:])
                    ]
                ).encode()
                sent = len(lines)
                self.wfile.write(
                    b"\x81" + (bytes([len(pay)]) if len(pay) < 126 else b"\x7e" + struct.pack(">H", len(pay))) + pay
                )
                self.wfile.flush()
            with W.lock:
                W.job_tick(j)
            if j["state"] in ("completed", "failed", "stopped"):
                break
            time.sleep(0.1)
        self.wfile.write(b"\x88\x00")

    def handle_any(self):
        u = urlparse(self.path)
        self.query = parse_qs(u.query, keep_blank_values=True)
        host = self.headers.get("Host")
        self.base, path = f"http://{host}", u.path
        n = int(self.headers.get("Content-Length") or 0)
        self.bytes = self.rfile.read(n) if n else b""
        try:
            self.body = json.loads(self.bytes) if self.bytes and path.startswith(("/v1", "/_fake")) else {}
        except ValueError:
            self.body = {}
        self.entry = {"m": self.command, "path": path, "q": dict(self.query), "body": self.body, "status": None}
        if not path.startswith("/_fake"):  # logged before the answer goes out, so a test never races its own request
            W.log.append(self.entry)
        try:
            if path.startswith("/v1"):
                if (
                    self.headers.get("Authorization", "").split(" ")[0] not in ("Basic", "Bearer")
                    and "token-login" not in path
                ):
                    return self.error(401, "unauthenticated")
                for f in W.faults:
                    if f["times"] > 0 and re.search(f["match"], f"{self.command} {path}"):
                        if f.get("rate") is not None and W.chance.random() >= f["rate"]:
                            continue
                        f["times"] -= 1
                        if f.get("slow"):
                            faults = W.faults
                            time.sleep(f["slow"])
                            if W.faults is not faults:  # the test is over
                                return self.error(500, "reset")
                            break
                        after = W.chance.random() < 0.5 if f["after"] == "sometimes" else f["after"]
                        if after:
                            self.dispatch(path, discard=True)
                        status = W.chance.choice(f["status"]) if isinstance(f["status"], list) else f["status"]
                        if status == "cut":
                            self.close_connection = True
                            self.connection.shutdown(socket.SHUT_RDWR)
                            return None
                        return self.error(status, f["body"])
            if path.startswith("/_ws/"):
                return self.websocket(path.rsplit("/", 1)[1])
            self.dispatch(path)
        except NotFound:
            self.error(404, "not found")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # whoever asked has stopped waiting
        except Exception as e:  # a bug in the fake must be visible
            self.error(500, f"fake bug: {type(e).__name__}: {e}")

    def dispatch(self, path, discard=False):
        # longest pattern first so /jobs/find wins over /jobs/{id} and .../blobs/complete over .../blobs/{path}
        for method, rx, fn in sorted(ROUTES, key=lambda t: (t[1].pattern.count("(?P<"), -len(t[1].pattern))):
            m = rx.match(path)
            if method == self.command and m:
                with W.lock:
                    res = fn(self, **m.groupdict())
                if res is not self and not discard:
                    self.raw(200, json.dumps(res).encode(), "application/json")
                return
        self.error(501, f"fake has no route for {self.command} {path}")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any


def serve(port=0):
    """Start in a thread; returns (server, base_url)."""
    srv = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    srv.daemon_threads = True
    threading.Thread(target=srv.serve_forever, daemon=True).start()
    return srv, f"http://127.0.0.1:{srv.server_address[1]}"


if __name__ == "__main__":
    _srv, url = serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(url, flush=True)
    threading.Event().wait()
