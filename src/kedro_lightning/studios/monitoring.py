"""Monitoring: how busy a rented machine was, written beside the job's work and into the last lines of its log."""

from __future__ import annotations

from pathlib import Path

from ..command import MONITOR as PLACE
from .plugin import StudioContext

_SOURCE = Path(__file__).with_name("monitor.py")


class MonitoringPlugin:
    """Puts the monitor among the files of the Studio; every job started from it then runs it."""

    def install(self, context: StudioContext) -> None:
        """Uploads the monitor."""
        context.upload(_SOURCE.read_bytes(), PLACE)

    def configure(self, context: StudioContext) -> None:
        """Has nothing to set."""

    def check(self, context: StudioContext) -> list[str]:
        """Looks whether the monitor is there and runs."""
        output, code = context.api.run(context.studio, f"python {PLACE} --once")
        return [] if code == 0 else [f"monitoring: {PLACE} does not run: {output.strip()[-200:]}"]
