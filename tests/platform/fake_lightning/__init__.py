"""Loopback stand-in of the Lightning AI platform, standard library alone (for tests with lightning-sdk 2026.10.13).

Start:   ``python -m fake_lightning [port]`` in ``tests/platform`` (prints the base URL; 127.0.0.1 only)
Client:  LIGHTNING_CLOUD_URL=http://127.0.0.1:PORT LIGHTNING_USER_ID=u-1 LIGHTNING_API_KEY=key-1
         LIGHTNING_DISABLE_VERSION_CHECK=1       (set BEFORE lightning_sdk is imported)
Control: GET /_fake/log | GET /_fake/state | POST /_fake/reset
         POST /_fake/faults {"match","status","times","after","body","rate","slow"}
Env:     FAKE_EXEC=1 runs the commands of jobs and Studios for real, with bash

``world`` holds what there is, ``machines`` runs jobs as processes, ``server`` answers, faults included; the other
modules are its routes by what they are about. Suffixes after a clash of names, texts of a quota and the timing of
states are guesses.
"""

from . import control, deployments, drive, jobs, studios, teamspace
from .jobs import lose_job, new_job, set_job
from .server import serve
from .world import W

__all__ = ["W", "control", "deployments", "drive", "jobs", "lose_job", "new_job", "serve", "set_job"]
__all__ += ["studios", "teamspace"]
