"""The script of a job: unpacks what was sent, and cannot run for ever."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kedro_lightning.code import Source, make_bundle
from kedro_lightning.config import CodeSettings
from kedro_lightning.job_script import job_script


def sent(
    source_project: Path, machine: Path, work: list[str], mounts: dict[str, str], machines: int = 1
) -> tuple[Path, str]:
    """Puts a bundle of the project on a machine; returns where, and the script of a job."""
    bundle = make_bundle(source_project, CodeSettings())
    place = machine / bundle.place
    place.parent.mkdir(parents=True)
    place.write_bytes(bundle.content)
    return place, job_script(work, Source(bundle), mounts, 60, "job", machines)


def run(script: str, machine: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(machine), **variables}
    command = ["bash", "-ec", script]
    return subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True, check=False)


def test_a_job_unpacks_only_what_was_sent_and_ends_at_its_limit(source_project: Path, tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    mounts = {"data/out": str(tmp_path / "mount")}
    bundle, script = sent(source_project, machine, ["cat", "src/toy/nodes.py"], mounts)
    done = run(script, machine)
    assert done.stdout.splitlines() == ["x = 1", "kedro-compute: exit 0"], done.stderr
    assert (machine / ".kedro-compute/work/job/data/out").resolve() == (tmp_path / "mount").resolve()
    assert "timeout --kill-after=60 60 cat" in script
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")
    assert run(script, machine).returncode != 0  # not what was sent


def test_a_machine_of_several_without_a_number_ends_at_once(source_project: Path, tmp_path: Path) -> None:
    _, script = sent(source_project, tmp_path, ["printenv", "KEDRO_COMPUTE_MACHINES", "LOCAL_RANK"], {}, 2)
    unnumbered = run(script, tmp_path)
    assert unnumbered.returncode != 0
    assert "NODE_RANK: is not set by the platform" in unnumbered.stderr
    numbered = run(script, tmp_path, NODE_RANK="1", MASTER_ADDR="10.0.0.1")
    assert numbered.stdout.splitlines()[:2] == ["2", "0"]
