"""docs/hyperparameter_tuning.md and docs/config_system.md: their commands run, their tables are complete."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import signal
import sqlite3
import threading
import time
import urllib.request
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args
from unittest.mock import Mock

import pandas as pd
import pytest
import yaml
from click.testing import Result
from tests.commands.conftest import assert_refused

from spelling_transfer.commands import tune as command
from spelling_transfer.commands.tune_plan import MODES, Plan, make_plan, studies_folder
from spelling_transfer.commands.tune_studies import dashboard_server, studies
from spelling_transfer.configuration import save_experiment
from spelling_transfer.configuration.documents import ConfigurationError
from spelling_transfer.study.choices import planned_trials
from spelling_transfer.study.config import AnalysisSettings, Pruner, Sampler, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, Monitor, StudyInterruptedError, TrialOutcome
from spelling_transfer.study.recommend import recommend
from spelling_transfer.study.records import VERSION
from spelling_transfer.study.run import run_study
from spelling_transfer.study.space import _SETTINGS_OF_A_STUDY, read_space
from spelling_transfer.study.worker import process_signature

ROOT = Path(__file__).parents[2]
TUNING = (ROOT / "docs" / "hyperparameter_tuning.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "config_system.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for document in (TUNING, CONFIGURATION)
    for block in re.findall(r"```bash\n(.*?)```", document, re.DOTALL)
    for line in block.splitlines()
]
TUNE = [line for line in COMMANDS if line.startswith("kedro tune ") and "--mode lightning" not in line]
"""Mode ``lightning`` is run by tests/study/test_tune_lightning.py."""
LATER = ("--resume", "kedro tune list", "kedro tune dashboard", "kedro tune sync")
"""What needs a study that has been run."""


def table(document: str, heading: str) -> list[str]:
    """Returns the first cells of the table whose heading row begins so."""
    lines = document[document.index(heading) :].splitlines()[2:]
    return [line.split("|")[1].strip() for line in takewhile(lambda line: line.startswith("|"), lines)]


class Light:
    """Scores a configuration by its rank; nothing is trained. Stops the study at the trial it is told to."""

    def __init__(self) -> None:
        self.trained: list[int] = []
        self.interrupt_at: int | None = None

    def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
        if self.interrupt_at == config.training.seed:
            os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C
        score = config.lora.r / 64
        for step in (30, 60):
            monitor.progress(step)
            verdict = monitor(Evaluation(step, score, score, score))
            if verdict != "complete":
                return TrialOutcome(monitor.curve, 1.0, step, verdict)
        self.trained.append(config.training.seed)
        return TrialOutcome(monitor.curve, 1.0, 60, "complete")


@pytest.fixture
def light(tuning: Any, monkeypatch: pytest.MonkeyPatch) -> Light:
    """The command with an objective that takes no time in place of the pipeline; records and checks are real."""
    objective = Light()

    def run(plan: Plan) -> None:
        run_study(plan.study, plan.trial, objective, folder=studies_folder(plan.project, plan.env) / plan.study.name)

    monkeypatch.setattr(command, "run_study_pipeline", run)
    return objective


def run(tuning: Any, line: str) -> Result:
    return tuning.tune(*shlex.split(line)[2:])


@pytest.mark.parametrize("line", [line for line in TUNE if not any(part in line for part in LATER)])
def test_every_command_runs(tuning, light: Light, line: str) -> None:
    best = {"trial": 1, "transfer_score": 0.4, "config": TrialConfig().model_dump(mode="json")}
    tuning.write("data/06_models/tuning/best_config.json", json.dumps(best))
    tuning.write("mine.yml", re.findall(r"```yaml\n(# mine\.yml\n.*?)```", CONFIGURATION, re.DOTALL)[0])
    result = run(tuning, line)
    assert result.exit_code == 0, result.output
    assert bool(light.trained) == ("--dry-run" not in line and "--show-config" not in line)


def test_the_commands_after_a_study_run(tuning, light: Light) -> None:
    assert run(tuning, next(line for line in TUNE if line.endswith("--name first"))).exit_code == 0
    found = [line for line in TUNE if any(part in line for part in LATER)]
    assert len(found) == 5
    for line in found:
        if "dashboard" in line:
            continue  # it serves until it is stopped; below
        result = run(tuning, line)
        if "sync" in line:
            assert_refused(result, 1, "wandb login")
        else:
            assert result.exit_code == 0, result.output
    assert light.trained == [0]
    (row,) = json.loads(tuning.tune("list", "--json").stdout)
    assert (row["name"], row["done"], row["planned"], row["state"]) == ("first", 1, 1, "finished")
    assert row["best_score"] == pytest.approx(32 / 64)  # the score of a rank of 32
    assert row["select_by"] == "spelling"  # what it is a score of


def test_the_columns_of_the_list_fit_the_longest_name(tuning, light: Light) -> None:
    for name in ("first", "a_name_that_is_longer_than_most_others"):
        assert tuning.tune("--mode=single", f"--name={name}").exit_code == 0
    lines = tuning.tune("list").stdout.splitlines()
    place = lines[0].index("sampler")
    assert [line[place - 1 : place + 13] for line in lines[1:3]] == [" one_at_a_time"] * 2


def test_the_dashboard_shows_the_study_on_this_machine_alone(tuning, light: Light) -> None:
    assert tuning.tune("--mode=random", "--trials=3", "--name=first").exit_code == 0
    server = dashboard_server(tuning.path, None, "first", 0)
    assert server.server_address[0] == "127.0.0.1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/api/studies") as answer:
            shown = json.loads(answer.read())["study_summaries"]
    finally:
        server.shutdown()
        server.server_close()
    assert [study["study_name"] for study in shown] == ["first"]
    assert_refused(tuning.tune("dashboard", "frist"), 1, "there is no study 'frist'. Known: first")


def test_an_interrupted_study_goes_on_with_its_own_settings(tuning, light: Light) -> None:
    light.interrupt_at = 2
    started = tuning.tune("--mode=random", "--trials=4", "--space=ratio", "--focus=transfer", "--name=mine")
    assert started.exit_code == 130, started.output
    assert "was stopped with 2 of 4 trials finished" in started.stderr
    (row,) = studies(tuning.path, None)
    assert (row["done"], row["planned"], row["state"] == "finished") == (2, 4, False)
    light.interrupt_at = None
    assert tuning.tune("--resume", "--name=mine").exit_code == 0
    assert light.trained == [0, 1, 2, 3]
    assert tuning.tune("--resume", "--name=mine").exit_code == 0
    assert light.trained == [0, 1, 2, 3]  # nothing was left to do
    other = tuning.tune("--mode=random", "--trials=5", "--space=vocabulary", "--focus=transfer", "--name=mine")
    assert_refused(other, 1, "study.name: 'mine' is in use", "with other settings")
    for error in (ConfigurationError("trakcing: unknown"), KeyboardInterrupt()):  # before the study is entered
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(command, "run_study_pipeline", Mock(side_effect=error))
            assert tuning.tune("--mode=random", "--trials=9", "--seed=9", "--name=mine").exit_code != 0
            if isinstance(error, ConfigurationError):
                assert_refused(tuning.tune("--mode=random", "--name=new"), 1, "trakcing")
    assert [row["name"] for row in studies(tuning.path, None)] == ["mine"]
    assert tuning.tune("--resume", "--name=mine", "--trials=5").exit_code == 0  # what was refused changed nothing
    assert light.trained == [0, 1, 2, 3, 4]
    (row,) = studies(tuning.path, None)
    assert (row["focus"], row["sampler"], row["done"]) == ("transfer", "random", 5)


def test_a_study_none_of_whose_trials_was_completed_can_be_prolonged(
    tuning, light: Light, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prune(config: TrialConfig, monitor: Monitor) -> TrialOutcome:
        light.trained.append(config.training.seed)
        return TrialOutcome([Evaluation(30, 0.1, 0.1, 0.1)], 1.0, 30, "pruned")

    def run(plan: Plan) -> None:
        folder = studies_folder(plan.project, plan.env) / plan.study.name
        trials = run_study(plan.study, plan.trial, prune, folder=folder).trials
        recommend(trials, pd.DataFrame(), {}, plan.study, plan.trial, AnalysisSettings())

    monkeypatch.setattr(command, "run_study_pipeline", run)
    assert_refused(tuning.tune("--mode=random", "--trials=2", "--name=mine"), 1, "no trial was completed (2 pruned)")
    for line in (["--trials=4"], []):
        assert_refused(tuning.tune("--resume", "--name=mine", *line), 1, "no trial was completed (4 pruned)")
    assert light.trained == [0, 1, 2, 3]


def test_the_list_says_what_is_planned_what_was_killed_and_what_another_version_made(tuning, light: Light) -> None:
    def change(statement: str, *values: object) -> dict[str, Any]:
        with closing(sqlite3.connect(studies_folder(tuning.path, None) / "mine" / "study.db")) as database, database:
            database.execute(statement, values)
        return studies(tuning.path, None)[0]

    plan = make_plan(tuning.path, None, {"mode": "grid", "space": "first_look", "name": "mine"})
    save_experiment(plan.study, plan.trial, plan.file)
    light.interrupt_at = 2
    with pytest.raises(StudyInterruptedError):
        command.run_study_pipeline(plan)
    (row,) = studies(tuning.path, None)
    assert (row["done"], row["planned"]) == (2, planned_trials(plan.space, plan.study))
    assert row["state"] == "can be resumed"
    trials = f"spelling_transfer_trials_v{VERSION}"
    taken = f"UPDATE {trials} SET state = 'running', heartbeat = ?, owner = ? WHERE number = 2"
    owners = {f"{platform.node()}/{2**22 + 1}/1.00": "can be resumed", process_signature(os.getpid()): "running"}
    for owner, state in owners.items():  # of a process that was killed, of one that lives
        assert change(taken, time.time(), f"here/{owner}/1")["state"] == state
    renamed = change("UPDATE spelling_transfer_studies SET identity = replace(identity, '\"focus\"', '\"aim\"')")
    assert "was written by version" in renamed["state"]


def test_a_study_that_is_kept_beside_can_be_sent(tuning, light: Light) -> None:
    for seed in (1, 2):
        command.run_study_pipeline(make_plan(tuning.path, None, {"mode": "random", "trials": 1, "seed": seed}))
    _, aside = (row["name"] for row in studies(tuning.path, None))
    assert aside.startswith("spelling_transfer_exp.")
    assert_refused(tuning.tune("sync", aside), 1, "wandb login")


def test_a_whole_study_is_kept_as_a_configuration(tuning, light: Light) -> None:
    given = ("--space=vocabulary", "--seed=5", "--params=arms.seeds=3")
    assert tuning.tune("--mode=grid", *given, "--name=kept").exit_code == 0
    file = tuning.path / "data" / "07_model_output" / "tuning" / "studies" / "kept.yml"
    again = make_plan(tuning.path, None, {}, str(file))
    assert (again.study.sampler, again.study.seed, again.study.n_trials) == ("one_at_a_time", 5, None)
    assert again.runtime_params["arms"] == {"seeds": 3}
    # Of another environment it is no study, where it was listed as one that had not begun.
    assert studies(tuning.path, "standard") == []
    assert_refused(
        tuning.tune("--resume", "--name=kept", "--env=standard"), 1, "no study 'kept' to resume. Known: none"
    )
    assert make_plan(tuning.path, "standard", {"name": "kept"}, None).file.parent != file.parent


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("| mode |", [*MODES, "none given"]),
        ("| sampler | how", list(get_args(Sampler))),
        ("| pruner | ends", list(get_args(Pruner))),
        ("| space | what", [file.stem for file in (ROOT / "conf/base/study/search_spaces").glob("*.yml")]),
    ],
)
def test_the_tables_are_complete(heading: str, known: list[str]) -> None:
    assert sorted(cell.replace("`", "") for cell in table(TUNING, heading)) == sorted(known)


def test_what_is_refused_is_listed() -> None:
    listed = " ".join(table(TUNING, "| searched setting |"))
    missing = [name for name in _SETTINGS_OF_A_STUDY if name not in listed and name != "eval_frequency"]
    assert missing == []


def test_every_option_is_in_the_table() -> None:
    listed = " ".join(table(TUNING, "| option | meaning"))
    shown = {"--mode", "--dry-run", "--show-config", "--json", "--resume"}
    own = {opt for param in command.tune.params for opt in param.opts if opt.startswith("--")}
    assert own - shown - {"--verbose", "--env", "--help"} == set(re.findall(r"--[\w-]+", listed))


def test_the_space_that_is_shown_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(lora\.r: .*?)```", TUNING, re.DOTALL)
    space = read_space(yaml.safe_load(text), TrialConfig())
    assert len(space.entries) == 6
    assert len(space.constraints) == 2


def test_the_entry_points_are_named_right() -> None:
    from spelling_transfer.configuration.presets import ENTRY_POINT_GROUP
    from spelling_transfer.study.backends import GROUP

    assert f'"{ENTRY_POINT_GROUP}"]' in TUNING
    assert GROUP in TUNING
