"""Workers of a study as jobs."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_platform import until
from tests.kedro_lightning.test_command_jobs import project  # noqa: F401  (a fixture)

from spelling_transfer.study.lightning_backend import LightningTrialBackend

if TYPE_CHECKING:
    from spelling_transfer.study.backend import TrialBackend


def conforms(backend: LightningTrialBackend) -> TrialBackend:
    """Checked by mypy: the back end is what a study asks for."""
    return backend


def test_it_is_found_by_its_name() -> None:
    (entry,) = [entry for entry in entry_points(group="spelling_transfer.trial_backends") if entry.name == "lightning"]
    assert entry.load() is LightningTrialBackend


def test_workers_are_started_watched_and_stopped(platform, project: Path) -> None:  # noqa: F811
    backend = LightningTrialBackend(project / "data/shared/set")
    long, short = backend.start(0, ["sleep", "60"], {}), backend.start(1, ["false"], {})
    until(lambda: backend.poll([long, short]) == {long: "running", short: "failed"})
    assert sorted(job["name"].rsplit("-", 3)[0] for job in platform.jobs) == ["worker-0", "worker-1"]
    backend.stop([long, short])
    assert backend.poll([long]) == {long: "gone"}
    assert platform.running == []
