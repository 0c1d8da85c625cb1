"""`kedro run` of a small project whose GPU nodes are jobs of the fake platform, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline

from kedro_lightning.runner import JobRunner


def wait_for(what: Callable[[], object], seconds: float = 300.0) -> None:
    """Waits for something that another process does."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def hooks_of(toy) -> list[list[str]]:
    return [json.loads(line) for line in toy.hooks.read_text().splitlines()]


def starts(toy) -> list[str]:
    return (toy.shared / "starts.txt").read_text().splitlines()


@pytest.fixture
def grouped(toy):
    """Both GPU nodes in one group, so that they share a machine."""
    toy.edit("src/toy/pipeline_registry.py", ('["gpu"]', '["gpu", "group-both"]'))
    return toy


def test_tagged_nodes_run_elsewhere_under_the_same_run_and_each_hook_is_fired_once(toy) -> None:
    done = toy.run("--params=n=4")
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((toy.shared / "r.json").read_text())
    assert report == {"r": 10, "one_machine": False, "here": False}
    events = hooks_of(toy)
    run_id = events[0][1]
    for name in ("make", "train", "score", "report"):
        assert events.count(["before", name, run_id]) == 1
        assert events.count(["after", name, run_id]) == 1
    assert [events.count(["saved", name]) for name in "xtsr"] == [1, 1, 1, 1]
    assert json.loads((toy.shared / "t.json").read_text())["run"] == run_id
    assert starts(toy) == [f"train {run_id}"]
    assert toy.platform.running == []
    assert "about 0.23 USD" in done.stderr  # two jobs of ten minutes at 0.68 USD an hour
    shown = json.loads((toy.path / ".viz/kedro_pipeline_events.json").read_text())  # what Kedro-Viz shows of a run
    assert {event["node"] for event in shown if event["event"] == "after_node_run"} == {
        "make", "train", "score", "report",
    }  # fmt: skip
    ledger = (toy.path / "data/08_reporting/compute/ledger.csv").read_text()
    assert ledger.count("completed") == 2


def test_a_group_is_one_job_on_one_machine(grouped) -> None:
    done = grouped.run()
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(grouped.platform.jobs) == 1
    assert json.loads((grouped.shared / "r.json").read_text())["one_machine"] is True
    assert [event[1] for event in hooks_of(grouped) if event[0] == "after"] == ["make", "train", "score", "report"]


def test_what_passes_between_the_nodes_of_a_group_may_be_in_memory_alone(grouped) -> None:
    grouped.edit("conf/base/catalog.yml", ("t:\n  type: json.JSONDataset\n  filepath: data/shared/t.json\n", ""))
    grouped.edit("src/toy/pipeline_registry.py", ('["s", "t"]', '["s", "x"]'))
    grouped.edit("src/toy/nodes.py", ('s["pid"] == t["pid"]', "None"))
    done = grouped.run(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((grouped.shared / "r.json").read_text())["r"] == 4


def test_a_job_finds_its_nodes_in_a_pipeline_that_is_no_part_of_the_default_one(grouped) -> None:
    grouped.edit(
        "src/toy/pipeline_registry.py",
        ("return {", 'return {\n                "__default__": pipeline([]),'),
        ('"__default__": pipeline(\n', '"extra": pipeline(\n'),
    )
    done = grouped.run("--pipelines=extra", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [job["state"] for job in grouped.platform.jobs] == ["completed"]


def test_one_node_that_stays_here_may_be_named_on_the_command_line(toy) -> None:
    done = toy.run("--runner-params=here=train", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [job["name"].rsplit("-", 2)[0] for job in toy.platform.jobs] == ["score"]


def test_a_job_has_the_configuration_of_a_project_that_keeps_it_elsewhere(grouped) -> None:
    (grouped.path / "conf").rename(grouped.path / "config")
    grouped.edit("src/toy/settings.py", ("", 'CONF_SOURCE = "config"\n'))
    done = grouped.run(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [job["state"] for job in grouped.platform.jobs] == ["completed"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_driver_leaves_no_machine_running(grouped, how: signal.Signals) -> None:
    (grouped.shared / "hold").touch()
    driver = grouped.start("run", "--runner=kedro_lightning.runner.StudioRunner")
    wait_for(lambda: (grouped.shared / "starts.txt").exists())
    assert len(grouped.platform.running) == 1
    driver.send_signal(how)
    driver.communicate(timeout=300)
    assert driver.returncode != 0
    assert grouped.platform.running == []


def test_a_failing_node_is_one_error_with_its_log_and_the_rest_is_stopped(grouped) -> None:
    grouped.edit("src/toy/nodes.py", ('print("training with", n)', 'raise ValueError("no such letter")'))
    done = grouped.run()
    assert done.returncode == 1
    assert "no such letter" in done.stderr + done.stdout
    assert grouped.platform.running == []
    assert ["error", "train"] in hooks_of(grouped)
    assert not (grouped.shared / "r.json").exists()


def test_nothing_of_a_secret_reaches_the_platform_but_its_own_store(grouped) -> None:
    secret = "hunter2-0123456789"
    grouped.write("conf/local/credentials.yml", f"bucket:\n  secret: {secret}\n")
    grouped.write(".env", f"AWS_SECRET_ACCESS_KEY={secret}\n")
    grouped.edit("conf/base/compute.yml", ("", "secrets: [AWS_SECRET_ACCESS_KEY]\n"))
    stored = grouped.kedro("compute", "studios", "secrets", AWS_SECRET_ACCESS_KEY=secret)
    assert stored.returncode == 0, stored.stderr
    seen = "Path(os.environ['SHARED'], 'seen').write_text(os.environ.get('AWS_SECRET_ACCESS_KEY', ''))"
    grouped.edit("src/toy/nodes.py", ('return {"t"', f'{seen}\n    return {{"t"'))
    grouped.platform.fault(r"POST /v1/projects/p-1/jobs$", status=503, after=True)
    grouped.platform.fault(r"GET /v1/projects/p-1/jobs", status=500)
    done = grouped.run(AWS_SECRET_ACCESS_KEY=secret)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (grouped.shared / "seen").read_text() == secret  # the job has it, from the store
    assert secret not in grouped.platform.said()
    assert grouped.platform.world.telemetry == []
    assert "key-of-the-user" not in grouped.platform.said()
    for content in grouped.platform.world.blobs.values():
        assert secret.encode() not in _unpacked(content)
    assert secret not in done.stdout + done.stderr + stored.stdout + stored.stderr
    assert len(grouped.platform.jobs) == 1


def test_a_violation_of_the_policy_stops_the_run_before_anything_is_rented(toy) -> None:
    done = toy.run("--params=enable_thinking=true")
    assert done.returncode == 1
    assert "enable_thinking" in done.stdout + done.stderr
    assert toy.platform.jobs == []


@pytest.mark.parametrize(("rank", "saved"), [("0", True), ("1", False)])
def test_of_several_machines_the_first_alone_saves(monkeypatch: pytest.MonkeyPatch, rank: str, saved: bool) -> None:
    monkeypatch.setenv("NODE_RANK", rank)
    seen: list[int] = []
    steps = pipeline(
        [
            node(lambda x: seen.append(x) or x + 1, "given", "made", name="train"),
            node(lambda x: seen.append(x) or x + 1, "made", "last", name="score"),
        ]
    )
    kept: dict[str, MemoryDataset] = {"given": MemoryDataset(1), "made": MemoryDataset(), "last": MemoryDataset()}
    JobRunner().run(steps, DataCatalog(kept))
    assert seen == [1, 2]  # each machine does the work
    assert kept["last"].exists() is saved


def _unpacked(content: bytes) -> bytes:
    import gzip

    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


_BY_PROGRAM = """
import sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro_lightning.runner import StudioRunner

bootstrap_project(Path.cwd())
params = {"n": 4, "space": {"rank": {"values": [4, 8]}, "note": "a, b"}}
with KedroSession.create(project_path=Path.cwd(), runtime_params=params) as session:
    session.run(runner=StudioRunner(here=["score"]))
"""


def test_parameters_that_no_argument_can_hold_reach_a_job_and_chosen_nodes_run_here(toy) -> None:
    toy.edit("src/toy/nodes.py", ("train(x, n):", "train(x, n, space):"), ('"run": os', '"space": space, "run": os'))
    toy.edit("src/toy/pipeline_registry.py", ('["x", "params:n"]', '["x", "params:n", "params:space"]'))
    toy.write("conf/base/parameters.yml", "n: 1\nspace: {}\n")
    toy.write("by_program.py", _BY_PROGRAM)
    environment = {**os.environ, "SHARED": str(toy.shared), "HOOKS_FILE": str(toy.hooks), "PYTHONPATH": "src"}
    done = subprocess.run(
        [sys.executable, "by_program.py"], cwd=toy.path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    trained = json.loads((toy.shared / "t.json").read_text())
    assert trained["space"] == {"rank": {"values": [4, 8]}, "note": "a, b"}
    assert trained["t"] == 5
    assert [job["name"].partition("-")[0] for job in toy.platform.jobs] == ["train"]
    assert json.loads((toy.shared / "r.json").read_text())["here"] is True
