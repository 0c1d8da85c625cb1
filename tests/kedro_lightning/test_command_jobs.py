"""Commands as jobs of their own: started once, watched, stopped; kinds of jobs and what they wait for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from tests.kedro_lightning.conftest import ENTRY, until

from kedro_lightning import TEMPLATES, BudgetError, CommandJobs, PreflightError, SettingsError
from kedro_lightning.costs import Ledger
from kedro_lightning.hooks import RunContext, compute_hook
from kedro_lightning.platform.studios import StudiosApi

SETTINGS = {
    "tags": {"gpu": "t4"},
    "tiers": {"t4": {"machines": ["T4"], "interruptible": True}},
    "studios": {"tuning": {"name": "toy-tuning"}},
    "budget": {"run_usd": 3},
}


def settle(project: Path, monkeypatch: pytest.MonkeyPatch, **changes) -> None:
    """Makes these the settings of the run that this process does."""
    mounts = {"data/shared": str(project / "data/shared")}
    content = {**SETTINGS, "data": {"mounts": mounts}, **changes}
    (project / "conf/base").mkdir(parents=True, exist_ok=True)
    (project / "conf/base/compute.yml").write_text(json.dumps(content))
    loader = OmegaConfigLoader(str(project / "conf"), base_env="base", default_run_env="base")
    monkeypatch.setattr(compute_hook, "context", RunContext(project, loader))


@pytest.fixture
def project(platform, connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "data/shared/set").mkdir(parents=True)
    StudiosApi(connection).create("toy-tuning")
    settle(folder, monkeypatch)
    return folder


@pytest.fixture
def jobs(project: Path):
    made = CommandJobs("search", "data/shared/set")
    yield made
    made.stop()


def ends(jobs: CommandJobs, key: str) -> str:
    until(lambda: jobs.state(key) in ("finished", "failed", "gone"))
    return jobs.state(key)


def test_a_command_works_in_the_shared_folder_and_ends_finished(platform, jobs, project: Path) -> None:
    script = "import os, pathlib; pathlib.Path('data/shared/set/seen').write_text(os.environ['THREADS'])"
    assert ends(jobs, jobs.start("worker 0", ["python", "-c", script], {"THREADS": "1"})) == "finished"
    assert (project / "data/shared/set/seen").read_text() == "1"
    ledger = (project / "data/08_reporting/compute/ledger.csv").read_text()
    assert "search,search worker 0,worker-0-" in ledger


def test_a_command_of_one_label_is_started_once(platform, jobs) -> None:
    first = jobs.start("worker 0", ["sleep", "60"])
    assert jobs.start("worker 0", ["sleep", "60"]) == first
    until(lambda: jobs.state(first) == "running")
    assert len(platform.jobs) == 1
    jobs.stop([first])
    assert jobs.state(first) == "gone"
    assert platform.running == []


def test_a_command_that_is_started_again_is_another_job_and_has_its_own_result(platform, jobs, project) -> None:
    flag = project / "data/shared/set/fixed"
    command = ["sh", "-c", f"[ -e {flag} ]"]
    first = jobs.start("worker 0", command)
    assert ends(jobs, first) == "failed"
    flag.touch()
    platform.fault(r"POST .*/jobs$", status=503, after=True)  # so that it is looked for
    second = jobs.start("worker 0", command)
    assert ends(jobs, second) == "finished"
    assert jobs.state(first) == "failed"
    assert [job["state"] for job in platform.jobs] == ["failed", "completed"]


def test_a_command_that_loses_its_machine_is_gone_and_one_that_errs_has_failed(platform, jobs) -> None:
    lost, bad = jobs.start("worker 0", ["sleep", "60"]), jobs.start("worker 1", ["false"])
    assert ends(jobs, bad) == "failed"
    until(lambda: jobs.state(lost) == "running")
    platform.module.set_job(next(job for job in platform.jobs if job["name"].startswith("worker-0")), state="stopped")
    assert ends(jobs, lost) == "gone"
    assert len(platform.jobs) == 2
    assert ends(jobs, jobs.start("worker 0", ["true"])) == "finished"


def test_jobs_of_a_driver_that_is_gone_are_stopped_first(platform, jobs) -> None:
    tags = ["kedro-compute", "kedro-compute-run-search"]
    with platform.world.lock:
        left = platform.module.new_job("p-1", "worker-0-old", {"command": "sleep 60"}, tags)
    ends(jobs, jobs.start("worker 0", ["true"]))
    assert platform.world.jobs[left["id"]]["state"] in ("stop", "stopped")


def test_what_workers_cost_that_nobody_watched_to_their_end_is_a_part_of_the_budget(platform, jobs, project) -> None:
    ledger = Ledger(project / "data/08_reporting/compute/ledger.csv")
    with platform.world.lock:
        left = platform.module.new_job("p-1", "worker-0-old", {"command": "sleep 60"}, ["kedro-compute-run-search"])
        platform.module.set_job(left, state="stopped")
        left["totalCost"] = 2.9999
    ledger.record("search", replace(ENTRY, job_id=left["id"], state="running", cost_usd=0.0))
    assert ends(jobs, jobs.start("worker 0", ["true"])) == "failed"  # for want of money
    assert ledger.spent(run_id="search") == 2.9999
    assert len(platform.jobs) == 1


def test_an_evaluation_waits_for_its_grid_and_what_is_worth_most_starts_first(
    platform, jobs, project, monkeypatch
) -> None:
    settle(project, monkeypatch, max_jobs=1)
    folder = project / "data/shared/set"
    first = jobs.start("first", ["sh", "-c", f"until [ -e {folder}/go ]; do sleep 0.05; done"], template="single")
    until(lambda: jobs.state(first) == "running")  # so that the others wait together
    grid = [
        jobs.start(f"rank {rank}", ["touch", f"{folder}/{rank}"], template="grid", impact=impact)
        for rank, impact in ((4, 1.0), (8, 2.0), (16, 3.0))
    ]
    listing = ["sh", "-c", f"ls {folder}/[0-9]* | wc -l > {folder}/count"]
    last = jobs.start("compare", listing, template="evaluation", after=grid)
    (folder / "go").touch()
    assert ends(jobs, last) == "finished"
    assert (folder / "count").read_text().strip() == "3"
    names = [job["name"].rsplit("-", 3)[0] for job in platform.jobs]
    assert names == ["first", "rank-16", "rank-8", "rank-4", "compare"]
    assert sorted(TEMPLATES, key=lambda name: -TEMPLATES[name].priority)[:2] == ["deployment", "evaluation"]


def test_an_unknown_template_is_named_with_those_there_are(jobs) -> None:
    with pytest.raises(SettingsError, match=r"'cooking'\. Known: single, grid, sweep_worker, evaluation, deployment"):
        jobs.start("x", ["true"], template="cooking")


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (["python", "-m", "x", "postgresql://user:hunter2@host/db"], {}),
        (["python"], {"STORAGE": "postgresql://user:hunter2@host/db"}),
        (["python", "--key=hunter2"], {}),
    ],
)
def test_a_secret_is_never_sent(platform, jobs, project, monkeypatch, command, env) -> None:
    settle(project, monkeypatch, secrets=["DB_PASSWORD"])
    platform.world.secrets["s"] = ("DB_PASSWORD", "", "")
    monkeypatch.setenv("DB_PASSWORD", "hunter2")
    with pytest.raises(PreflightError) as caught:
        jobs.start("worker 0", command, env)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in platform.said()
    assert platform.jobs == []


@pytest.mark.parametrize("place", ["/elsewhere", "data/other", "data/shared_not", "ftp://host/set"])
def test_a_place_that_machines_do_not_reach_is_refused(platform, project, place: str) -> None:
    with pytest.raises(PreflightError, match=f"^{place}: rented machines do not reach it"):
        CommandJobs("search", place).start("worker 0", ["true"])
    assert platform.jobs == []


@pytest.mark.parametrize(
    ("changes", "kind", "part"),
    [
        ({"budget": {}}, BudgetError, r"budget\.run_usd: not set"),
        ({"tags": {}}, SettingsError, r"trials\.tier: not set"),
        ({"trials": {"task": "cooking"}}, SettingsError, r"trials\.task: there is no task 'cooking'\. Known: tuning"),
        ({"tiers": {"t4": {"machines": ["T4"], "num_machines": 2}}}, SettingsError, "'t4' has several machines a job"),
        ({"trials": {"gpu_gigabytes": 90}}, SettingsError, r"90 GB that trials\.gpu_gigabytes asks for"),
        ({"studios": {"tuning": {"name": "other"}}}, PreflightError, r"there is no Studio other \(for tuning\)"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_started(
    platform, jobs, project, monkeypatch, changes, kind, part
) -> None:
    settle(project, monkeypatch, **changes)
    with pytest.raises(kind, match=part):
        jobs.start("worker 0", ["true"])
    assert platform.jobs == []
