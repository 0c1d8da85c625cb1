"""Bundles on a teamspace drive: the platform's own library against the loopback platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spelling_transfer.storage.bundles.stores import StoreError, open_store

SCENARIO = Path(__file__).with_name("lightning_scenario.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("drive")
    environment = {**os.environ, "HOME": str(place), "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [sys.executable, str(SCENARIO), str(place)], env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_what_is_pushed_to_the_drive_arrives_and_is_sent_once(found: dict[str, Any]):
    assert (found["first"]["number"], found["first"]["sent_files"]) == (1, 2)
    assert (found["again"]["is_new"], found["again"]["sent_bytes"]) == (False, 0)
    assert (found["second"]["number"], found["second"]["sent_bytes"]) == (2, len('{"words": 2}'))
    assert (found["same"], found["versions"], found["problems"]) == (True, [1, 2], 0)


def test_a_flipped_byte_on_the_drive_is_never_seen(found: dict[str, Any]):
    assert "is damaged there" in found["damaged"]
    assert found["other"] is False


def test_what_the_drive_cannot_do_is_said(found: dict[str, Any]):
    assert "lets nothing be removed" in found["prune"]
    assert "this teamspace does not exist" in found["elsewhere"]
    assert "names no teamspace" in found["no-teamspace"]


def test_without_a_sign_in_nothing_opens_a_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("LIGHTNING_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match="not signed in"):
        open_store("lightning://acme/spelling/study")
