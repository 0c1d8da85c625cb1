"""The script of a job: unpacks what was sent, and cannot run for ever."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kedro_lightning.code import Source, make_bundle
from kedro_lightning.config import CodeSettings
from kedro_lightning.job_script import job_script


def test_a_job_unpacks_only_what_was_sent_and_ends_at_its_limit(source_project: Path, tmp_path: Path) -> None:
    bundle = make_bundle(source_project, CodeSettings())
    machine = tmp_path / "machine"
    (machine / bundle.place).parent.mkdir(parents=True)
    (machine / bundle.place).write_bytes(bundle.content)
    script = job_script(["cat", "src/toy/nodes.py"], Source(bundle), {"data/out": str(tmp_path / "mount")}, 60, "job")

    def run() -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(machine)}
        return subprocess.run(
            ["bash", "-ec", script], cwd=machine, env=environment, capture_output=True, text=True, check=False
        )

    done = run()
    assert done.stdout.splitlines() == ["x = 1", "kedro-compute: exit 0"], done.stderr
    assert (machine / ".kedro-compute/work/job/data/out").resolve() == (tmp_path / "mount").resolve()
    assert "timeout --kill-after=60 60 cat" in script
    (machine / bundle.place).write_bytes(bundle.content[:-1] + b"x")
    assert run().returncode != 0  # not what was sent


def test_a_machine_of_several_without_a_number_ends_at_once(source_project: Path, tmp_path: Path) -> None:
    bundle = make_bundle(source_project, CodeSettings())
    (tmp_path / bundle.place).parent.mkdir(parents=True)
    (tmp_path / bundle.place).write_bytes(bundle.content)
    script = job_script(["printenv", "KEDRO_COMPUTE_MACHINES", "LOCAL_RANK"], Source(bundle), {}, 60, "job", machines=2)

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **variables}
        return subprocess.run(
            ["bash", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    unnumbered = run()
    assert unnumbered.returncode != 0
    assert "NODE_RANK: is not set by the platform" in unnumbered.stderr
    assert run(NODE_RANK="1", MASTER_ADDR="10.0.0.1").stdout.splitlines()[:2] == ["2", "0"]
