"""What there is on the platform, and what the platform would know of it."""

import os
import random
import shutil
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .machines import kill

USER = {"id": "u-1", "username": "tester", "email": "t@example.test", "features": {}, "apiKey": "key-1"}
ORG = {"id": "o-1", "name": "acme", "displayName": "acme", "preferredCluster": "lightning-public-prod"}
OWNED = {"name": "spelling", "displayName": "spelling", "ownerId": "o-1", "ownerType": "organization"}
PROJECT = {
    **OWNED,
    "id": "p-1",
    "projectSettings": {"preferredCluster": "lightning-public-prod", "startStudioOnSpotInstance": False},
    "layoutConfig": [],
}
CLUSTER = {
    "id": "lightning-public-prod",
    "name": "lightning-public-prod",
    "spec": {"clusterType": "CLUSTER_TYPE_GLOBAL", "driver": "AWS", "awsV1": {"region": "us-east-1"}},
}
# slug, instance id, type, family, count, USD an hour, the same interruptible: these prices are made up
ACCELERATORS = [
    ("cpu-4", "m6a.xlarge", "CPU", "CPU", 4, 0.29, 0.10),
    ("cpu-2", "m6a.large", "CPU", "CPU", 2, 0.15, 0.05),
    ("lit-t4-1", "g4dn.2xlarge", "GPU", "T4", 1, 0.68, 0.30),
    ("lit-l4-1", "g6.4xlarge", "GPU", "L4", 1, 0.99, 0.5),
    ("lit-a100-1", "p4de.24xlarge", "GPU", "A100", 1, 1.55, 1.0),
    ("lit-h100-1", "p5.4xlarge", "GPU", "H100", 1, 2.7, 2.0),
]
ENDED = ("completed", "failed", "stopped")
RUNNING = "CLOUD_SPACE_INSTANCE_STATE_RUNNING"


class NotFoundError(Exception):
    """There is no such thing."""


class World:
    """Jobs, Studios, files, secrets, faults, and the log of every request."""

    def __init__(self):
        self.lock = threading.RLock()
        self.exec = os.environ.get("FAKE_EXEC") == "1"
        self.passed_on = ("PATH", "LANG", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
        self.root = None
        self.jobs = {}
        self.reset()

    def reset(self):
        for job in self.jobs.values():
            kill(job)
        if self.root:
            shutil.rmtree(self.root, ignore_errors=True)
        self.root = tempfile.mkdtemp(prefix="fake-lightning-")
        self.extra_env = {}  # what the image of the machine sets
        self.job_quota = None  # jobs at one time, None for any number
        self.cost_lags = False  # total_cost reads 0.0 for the first requests after the end
        self.clock_skew = 0.0  # seconds by which the platform's clock is ahead
        self.page = 100  # jobs or Studios of one answer
        self.log, self.faults, self.telemetry = [], [], []
        self.jobs, self.mmts, self.studios, self.sessions, self.deployments = {}, {}, {}, {}, {}
        self.blobs, self.secrets, self.user_secrets = {}, {}, {}
        self.out_of_capacity, self.balance = set(), 15.0
        self.chance = random.Random(0)

    def job_tick(self, job):
        """Brings a job up to date: one that is executed is where its process is, another moves on a state."""
        with self.lock:
            if job.get("_requests_until_cost"):
                job["_requests_until_cost"] -= 1
                if not job["_requests_until_cost"]:
                    job["totalCost"] = job["_final_cost"]
            if job["_proc"] is not None:
                code = job["_proc"].poll()
                if code is None:
                    job["state"] = "running"
                    job.setdefault("startedAt", now())
                elif job["state"] not in ENDED:
                    self.job_end(job, "completed" if code == 0 else "failed", f"exit code {code}")
            elif job["state"] == "stop":
                self.job_end(job, "stopped")
            elif not job["_pinned"] and (state := {"pending": "running", "running": "complete"}.get(job["state"])):
                job["state"] = state
                job.setdefault("startedAt", now())
            elif not job["_pinned"] and job["state"] == "complete":
                self.job_end(job, "completed")
            return job

    def job_end(self, job, state, message=""):
        job.setdefault("startedAt", now())
        seconds = time.monotonic() - job["_began"]
        name = job["spec"].get("instanceName")
        price = next((usd for slug, instance, *_, usd, _spot in ACCELERATORS if name in (slug, instance)), 0.5)
        job["_final_cost"] = round(max(0.0001, price * seconds / 3600), 6)
        job.update(state=state, stoppedAt=now(), totalCost=job["_final_cost"], message=message)
        if self.cost_lags:
            job.update(totalCost=0.0, _requests_until_cost=3)

    def studio(self, identity):
        if identity not in self.studios:
            raise NotFoundError
        return self.studios[identity]

    def files_of(self, studio_id):
        """Place and content of the files of a Studio."""
        before = f"/cloudspaces/{studio_id}|"
        return [
            (key[len(before) :], data) for key, data in self.blobs.items() if key.startswith(before) and "#" not in key
        ]

    def environment_of(self, studio_id, folder):
        """Variables of a machine: the Studio's, the secrets, and nothing of this machine but ``passed_on``."""
        env = {name: os.environ[name] for name in self.passed_on if name in os.environ}
        env.update(HOME=str(folder), LIGHTNING_ARTIFACTS_DIR=str(Path(folder) / "artifacts"), **self.extra_env)
        env.update({name: value for name, value, _ in [*self.user_secrets.values(), *self.secrets.values()]})
        studio = self.studios.get(studio_id, {})
        env.update({entry["name"]: entry.get("value", "") for entry in studio.get("env") or []})
        return env


def now():
    skew = timedelta(seconds=W.clock_skew if "W" in globals() else 0.0)
    return (datetime.now(UTC) + skew).isoformat().replace("+00:00", "Z")


def new_id(kind):
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def public(thing):
    """What the platform shows of a thing: all but what this stand-in keeps for itself."""
    return {name: value for name, value in thing.items() if not name.startswith("_")}


W = World()
