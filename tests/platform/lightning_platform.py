"""The loopback platform as tests see it: what it was sent, what runs, and this process signed in to it.

A ``conftest.py`` imports the fixtures it needs from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_lightning
import pytest
from fake_lightning.world import ENDED
from whole_project import WholeProject

from kedro_lightning.platform.calls import Calls
from kedro_lightning.platform.client import Connection, connect


class Platform:
    """The fake, with what tests ask of it."""

    def __init__(self, module: ModuleType, url: str) -> None:
        self.module, self.url, self.world = module, url, module.W

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return list(self.world.jobs.values())

    @property
    def running(self) -> list[str]:
        return [job["name"] for job in self.jobs if self.world.job_tick(job)["state"] not in ENDED]

    @property
    def creations(self) -> int:
        return len([entry for entry in self.world.log if entry["m"] == "POST" and entry["path"].endswith("/jobs")])

    def fault(self, match: str, **how: Any) -> None:
        self.world.faults.append({"match": match, "times": 1, "status": 503, "after": False, "body": "injected", **how})

    def said(self) -> str:
        """Everything the platform was sent, but for the store of secrets, which is where values belong."""
        return repr([entry for entry in self.world.log if "/secrets" not in entry["path"]]) + repr(self.world.telemetry)


def signed_in(platform: Platform, home: Path) -> dict[str, str]:
    """Returns the variables of somebody who has an account."""
    return {
        "LIGHTNING_CLOUD_URL": platform.url, "LIGHTNING_USER_ID": "u-1", "LIGHTNING_API_KEY": "key-of-the-user",
        "LIGHTNING_TEAMSPACE": "acme/spelling", "LIGHTNING_DISABLE_VERSION_CHECK": "1", "DO_NOT_TRACK": "1",
        "LIGHTNING_CREDENTIAL_PATH": str(home / "none.json"),
    }  # fmt: skip


@pytest.fixture(scope="session")
def fake_platform() -> Iterator[Platform]:
    """A server for all tests of a folder."""
    server, url = fake_lightning.serve()
    yield Platform(fake_lightning, url)
    fake_lightning.W.reset()
    server.shutdown()
    server.server_close()


@pytest.fixture
def platform(fake_platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Platform]:
    """An empty platform that executes jobs; this process is signed in to it."""
    fake_platform.world.exec = True
    fake_platform.world.reset()
    for name, value in signed_in(fake_platform, tmp_path).items():
        monkeypatch.setenv(name, value)
    yield fake_platform
    fake_platform.world.reset()


@pytest.fixture
def connection(platform: Platform) -> Connection:
    """A connection whose repeats come quickly."""
    return connect("acme/spelling", Calls(first_wait_seconds=0.01))


@pytest.fixture
def whole_project(platform: Platform, tmp_path: Path) -> WholeProject:
    """A copy of this project; nothing is set up on the platform yet."""
    return WholeProject(tmp_path / "project", platform)


def until(what: Callable[[], object], seconds: float = 300.0) -> None:
    """Waits for something that another thread or process does."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
