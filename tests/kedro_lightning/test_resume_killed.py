"""A run is resumed by a new driver, after the first was killed while its job ran."""

from __future__ import annotations

import json
import os
import signal

import pytest
from tests.kedro_lightning.test_runner import hooks_of, starts, wait_for


@pytest.fixture
def ours(toy):
    """The toy with this project's `kedro run`, whose runner is the default one, and its GPU nodes in one job."""
    toy.write("src/toy/cli.py", "from spelling_transfer.cli import cli\n")
    toy.write(".kedro.yml", "run:\n  runner: kedro_lightning.runner.StudioRunner\n")
    toy.edit("src/toy/pipeline_registry.py", ('["gpu"]', '["gpu", "group-both"]'))
    toy.edit("conf/base/compute.yml", ("", "pass_on: [RUN_FOLDER]\n"))
    toy.write("conf/other/parameters.yml", "n: 5\n")
    return toy


def test_kedro_s_own_command_resumes_a_run_as_the_next_run_says(toy) -> None:
    toy.edit("src/toy/pipeline_registry.py", ('["gpu"]', '["gpu", "group-both"]'))
    (toy.shared / "hold").touch()
    path = os.environ.get("PYTHONPATH", "")
    driver = toy.start("run", "--runner=kedro_lightning.runner.StudioRunner", "--params=n=5")
    wait_for(lambda: (toy.shared / "starts.txt").exists() and starts(toy))
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    (run_file,) = (toy.path / ".kedro-compute/runs").glob("*.json")

    other = toy.start("run", "--runner=kedro_lightning.runner.StudioRunner", PYTHONPATH=path)
    wait_for(lambda: len(toy.platform.running) == 2)
    other.send_signal(signal.SIGINT)
    _, told = other.communicate(timeout=600)
    (toy.shared / "hold").unlink()
    assert "the variable KEDRO_COMPUTE_RUN_ID=RUN_ID, which names a file in .kedro-compute/runs" in told
    again = toy.run("--params=n=5", PYTHONPATH=path, KEDRO_COMPUTE_RUN_ID=run_file.stem)
    assert again.returncode == 0, again.stderr[-3000:]
    assert json.loads((toy.shared / "r.json").read_text())["r"] == 12
    assert toy.platform.creations == 2


def test_a_new_driver_attaches_to_the_running_job_and_finishes_the_run(ours) -> None:
    (ours.shared / "hold").touch()
    driver = ours.start("run", "--env=other", RUN_FOLDER="first")
    wait_for(lambda: (ours.shared / "starts.txt").exists() and starts(ours))
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert len(ours.platform.running) == 1
    (run_file,) = (ours.path / ".kedro-compute/runs").glob("*.json")
    before = ours.platform.creations

    again = ours.start("run", f"--resume={run_file.stem}")
    # It stands by the job it found, which still runs.
    wait_for(lambda: json.loads(run_file.read_text())["jobs"] and ours.hooks.read_text().count('"run"') == 2)
    wait_for(
        lambda: ["before", "train", run_file.stem] in hooks_of(ours)[hooks_of(ours).index(["run", run_file.stem]) :]
    )
    assert len(ours.platform.running) == 1
    (ours.shared / "hold").unlink()
    _, err = again.communicate(timeout=600)
    assert again.returncode == 0, err[-3000:]
    assert ours.platform.creations == before == 1
    assert starts(ours) == [f"train {run_file.stem}"]
    assert json.loads((ours.shared / "r.json").read_text())["r"] == 12  # env=other: n is 5
    assert json.loads(run_file.read_text())["finished"] is True
    events = hooks_of(ours)
    assert {event[1] for event in events if event[0] == "run"} == {run_file.stem}
    assert events.count(["after", "make", run_file.stem]) == 2  # what was done is told, not done, again
    assert ours.platform.running == []

    finished = ours.kedro("run", f"--resume={run_file.stem}")
    assert finished.returncode == 1
    assert "is finished" in finished.stderr
