"""`kedro compute …`: tables for people, JSON for programs, exit codes for both."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.kedro_lightning.test_costs import fill

from kedro_lightning import CommandJobs, SettingsError
from kedro_lightning.cli import compute
from kedro_lightning.costs import Ledger
from kedro_lightning.jobs.work import run_tag
from kedro_lightning.platform.jobs import JobRequest, JobsApi


def start(connection, studio_id: str, command: str = "sleep 60", run: str = "run-1", name: str = "train-1"):
    tags = ("kedro-compute", run_tag(run))
    return JobsApi(connection).create(JobRequest(name, f"echo hello; {command}", "lit-t4-1", studio_id, tags))


@pytest.mark.parametrize("command", ["plan", "status", "logs", "stop", "cost", "studios"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(compute, [command, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert f"kedro compute {command}" in shown.output


def test_the_plan_has_machines_minutes_and_prices_and_starts_nothing(toy, invoke) -> None:
    shown = invoke("plan")
    assert shown.exit_code == 0, shown.output
    assert "train  T4" in shown.output
    assert "2 nodes run here" in shown.output
    assert "About 0.23 USD; budget of a run: 2.00 USD" in shown.output
    plan = json.loads(invoke("plan", "--json", "--nodes=train").stdout)
    assert [(row["name"], row["machine"], row["usd"]) for row in plan["rows"]] == [
        ("train", "T4", pytest.approx(0.68 / 6))
    ]
    assert plan["rows"][0]["inputs"] == {"x": None}
    assert plan["prices_source"] == "platform"
    assert toy.platform.jobs == []


def test_long_names_are_cut_until_the_plan_fits_80_columns(toy) -> None:
    name = "a_namespace." * 6 + "train_with_care"
    toy.edit("src/toy/pipeline_registry.py", ('name="train"', f'name="{name}"'))
    shown = toy.kedro("compute", "plan", "--datasets", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout[shown.stdout.index("NODE") :].splitlines()
    assert len(lines[0]) <= 80
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []
    assert any("…" in line and "train_with_care  T4" in line for line in lines)
    assert "A guess: a_namespace." in shown.stdout


def test_a_plan_without_a_connection_uses_the_prices_of_the_last_one(toy, invoke) -> None:
    offline = json.loads(invoke("plan", "--offline", "--json").stdout)
    assert offline["prices_source"] == "estimate"
    invoke("plan")
    asked = len(toy.platform.world.log)
    assert json.loads(invoke("plan", "--offline", "--json").stdout)["prices_source"] == "cache"
    assert len(toy.platform.world.log) == asked


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["plan", "--pipelines=nothing"], 1, "no pipeline 'nothing'"),
        (["plan", "--env=nowhere"], 2, "there is no environment 'nowhere'"),
        (["status", "--env=nowhere"], 2, "there is no environment 'nowhere'"),
        (["logs", "nothing"], 1, "no job 'nothing'"),
        (["stop"], 2, "Name jobs, or give --run=RUN_ID, or --all"),
        (["stop", "--all", "--run=x"], 2, "Name jobs"),
        (["studios", "create"], 2, "Name tasks, or give --all"),
        (["studios", "start", "cooking"], 1, "no task 'cooking'. Known: training"),
        (["studios", "switch", "training", "T5"], 1, "no machine 'T5'"),
        (["studios", "switch", "training", "T4"], 1, "is asleep"),
    ],
)
def test_misuse_and_failure_have_exit_codes_of_their_own(invoke, arguments: list[str], code: int, part: str) -> None:
    shown = invoke(*arguments)
    assert part in shown.output, shown.output
    assert shown.exit_code == code


def test_status_logs_and_stop(toy, connection, invoke) -> None:
    studio = next(iter(toy.platform.world.studios))
    start(connection, studio)
    start(connection, studio, "exit 5", name="score-1")
    assert len(toy.platform.running) >= 1
    rows = {row["name"]: row["state"] for row in json.loads(invoke("status", "run-1", "--json").stdout)["jobs"]}
    assert rows == {"train-1": "running", "score-1": "failed"}
    assert "train-1" in invoke("status").stdout
    assert "score-1" not in invoke("status").stdout  # it has ended
    assert invoke("logs", "train").stdout == "hello\n"
    failed = invoke("logs", "score-1")
    assert failed.exit_code == 1
    assert "exit code 5" in failed.output
    assert invoke("studios", "start", "training").exit_code == 0
    stopped = json.loads(invoke("stop", "--all", "--json").stdout)
    assert stopped == {"stopped": ["train-1"], "studios": ["toy-training"]}
    assert toy.platform.running == []
    assert "No job runs." in invoke("status").stdout


def test_a_log_is_followed_to_its_end(toy, connection, invoke) -> None:
    start(connection, next(iter(toy.platform.world.studios)), "sleep 1; echo bye")
    shown = invoke("logs", "train-1", "--follow")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines() == ["hello", "bye"]


def test_costs_are_shown_and_written_to_a_page(toy, invoke) -> None:
    assert "Nothing was spent" in invoke("cost").stdout
    fill(Ledger(toy.path / "data/08_reporting/compute/ledger.csv"))
    shown = json.loads(invoke("cost", "--by=machine", "--json", "--page").stdout)
    assert [(row["machine"], row["usd"]) for row in shown["rows"]] == [("T4", 0.44), ("A100", 0.2)]
    assert shown["usd"] == 0.64
    assert "0.64 USD" in (toy.path / "data/08_reporting/compute/cost.html").read_text()
    assert "0.5400 USD in all." in invoke("cost", "--run=run-1").stdout
    toy.write("trials.csv", "trial,transfer_score\n0,0.10\n1,0.26\n")
    priced = json.loads(invoke("cost", "--trials=trials.csv", "--json").stdout)
    assert priced["usd_per_point"] == pytest.approx(0.64 / 16)
    assert "has no column 'x'" in invoke("cost", "--trials=trials.csv", "--score=x").output


def test_studios_are_listed_started_switched_and_put_to_sleep(toy, invoke) -> None:
    assert json.loads(invoke("studios", "list", "--json").stdout)[0]["state"] == "asleep"
    assert "sleeps after 10 idle minutes" in invoke("studios", "start", "training").stdout
    assert invoke("studios", "switch", "training", "A100").exit_code == 0
    (row,) = json.loads(invoke("studios", "list", "--json").stdout)
    assert (row["state"], row["machine"], row["idle_minutes"]) == ("running", "lit-a100-1", "10")
    assert "Stopped toy-training" in invoke("studios", "stop", "--all").stdout
    assert json.loads(invoke("studios", "list", "--json").stdout)[0]["state"] == "asleep"


def test_a_secret_that_is_nowhere_is_named(toy, invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.edit("conf/base/compute.yml", ("", "secrets: [KEY_A, KEY_B]\n"))
    monkeypatch.setenv("KEY_A", "value-of-a\n")
    shown = invoke("studios", "secrets")
    assert shown.exit_code == 1
    assert "KEY_A: stored" in shown.stdout
    assert "Neither set here nor stored there: KEY_B" in shown.output
    toy.write("conf/local/credentials.yml", "compute:\n  KEY_B: |\n    value-of-b\n")
    again = invoke("studios", "secrets")
    assert again.exit_code == 0, again.output
    assert "value-of" not in shown.output + again.output
    assert {name: value for name, value, _ in toy.platform.world.secrets.values()} == {
        "KEY_A": "value-of-a",
        "KEY_B": "value-of-b",
    }


def test_the_environment_may_come_from_a_variable(toy, invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write("conf/big/compute.yml", "studios: {more: {name: more}}\n")
    monkeypatch.setenv("KEDRO_ENV", "big")
    assert [row["task"] for row in json.loads(invoke("studios", "list", "--json").stdout)] == ["training", "more"]
    with pytest.raises(SettingsError, match="Known: training, more"):
        CommandJobs("search", "s3://bucket/set").check(toy.path, None)
    assert "there is no environment 'none'" in invoke("studios", "list", "--env=none").output


def test_outside_a_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(compute, ["cost"])
    assert shown.exit_code == 1
    assert "not in a Kedro project" in shown.output
