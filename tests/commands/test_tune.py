"""``kedro tune``: what it prints before anything runs, what it refuses, where each value comes from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import assert_refused

from spelling_transfer.commands import tune as tune_command
from spelling_transfer.commands.project import enter_project
from spelling_transfer.commands.tune_plan import make_plan

ROOT = Path(__file__).parents[2]


def test_the_missions_grid_is_24_trials(tuning) -> None:
    plan = tuning.plan("--mode", "grid", "--config", "mission", "--space", "mission")
    assert plan["estimate"]["trials"] == 24
    assert plan["estimate"]["configurations"] == 73_728
    assert plan["sampler"] == "one_at_a_time"
    # The default has 1,000 steps; only the three other values of max_steps change that.
    assert plan["estimate"]["steps"] == 21 * 1000 + 500 + 2000 + 5000


def test_all_combinations_are_a_sampler_of_their_own(tuning) -> None:
    plan = tuning.plan("--mode", "grid", "--sampler", "grid", "--space", "vocabulary")
    assert (plan["sampler"], plan["estimate"]["trials"]) == ("grid", 2)


@pytest.mark.parametrize(
    ("mode", "sampler", "pruner", "trials"),
    [("single", "one_at_a_time", "none", 1), ("random", "random", "none", 7), ("bayes", "tpe", "hyperband", 7)],
)
def test_a_mode_sets_sampler_and_pruner(tuning, mode: str, sampler: str, pruner: str, trials: int) -> None:
    given = [] if mode == "single" else ["--trials", "7"]
    plan = tuning.plan("--mode", mode, *given)
    assert (plan["sampler"], plan["pruner"], plan["estimate"]["trials"]) == (sampler, pruner, trials)
    assert bool(plan["searched"]) == (mode != "single")


def test_a_sweep_is_shown_before_it_begins(tuning) -> None:
    sweep = tuning.plan("--mode", "sweep")["sweep"]
    assert sweep["parameters"]["lora.r"] == {"values": [8, 16, 32]}
    assert_refused(tuning.tune("--mode", "sweep", "--sampler", "qmc", "--dry-run"), 1, "is not supported by sweeps")
    assert_refused(tuning.tune("--mode", "sweep", "--workers", "2", "--dry-run"), 1, "one trial runs at a time")


def test_the_plain_plan_says_what_it_takes_and_nothing_is_run(tuning) -> None:
    result = tuning.tune("--mode", "bayes", "--trials", "40", "--env", "qwen3_4b", "--dry-run")
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert list(lines) == ["study", "searched", "sampler", "trials", "steps", "memory", "time", "arms", "cost"]
    assert "Qwen3-4B" in lines["study"]
    assert "GiB of 22 GiB (l4)" in lines["memory"]  # which kedro run --env=qwen3_4b rents
    assert "4 trainings with the best configuration, after the trials: about " in lines["arms"]
    assert re.search(r"\d USD on a rented l4; none on a machine of your own$", lines["cost"])
    assert [each.name for each in (tuning.path / "data").iterdir()] == ["01_raw"]


def test_a_larger_machine_is_faster_and_its_price_is_its_own(tuning) -> None:
    slow, fast = (tuning.plan("--env", "qwen3_4b", "--gpu-tier", tier)["estimate"] for tier in ("l4", "a100"))
    assert fast["hours"] < slow["hours"]
    assert fast["cost_usd"] == pytest.approx((fast["hours"] + fast["arm_hours"]) * 5.68)
    assert slow["tier"] == "l4"


def test_the_training_of_the_arms_is_in_the_estimate(tuning) -> None:
    few, many = (tuning.plan("--env", "qwen3_4b", f"--params=arms.seeds={seeds}")["estimate"] for seeds in (1, 3))
    assert (few["arm_trainings"], many["arm_trainings"]) == (4, 12)
    assert many["hours"] == few["hours"]
    assert many["arm_hours"] > 2 * few["arm_hours"] > 0
    assert many["cost_usd"] > few["cost_usd"]
    refused = tuning.tune("--params=arms.seeds=0", "--dry-run")
    assert_refused(refused, 1, "arms.seeds: 0 should be greater than or equal to 1 (--params)")


def test_what_does_not_fit_the_machine_is_refused_before_anything_is_trained(tuning) -> None:
    result = tuning.tune("--env=qwen3_4b", "--params=study.lightning.memory_gib=8", "--dry-run")
    assert_refused(result, 1, "Qwen3-4B with rank", "for one example", "l4 has 8 GiB")
    # A large batch is no reason: it is cut to the memory that there is.
    result = tuning.tune("--mode", "single", "--env=qwen3_4b", "--params=trial.training.batch_size=1024", "--dry-run")
    assert result.exit_code == 0


class TestOrigins:
    def test_every_value_has_one(self, tuning) -> None:
        settings = tuning.settings()
        places = ("conf/base/", "default of ")
        assert all(each["origin"].startswith(places) for each in settings.values())
        assert settings["study.validation_words"] == {
            "value": 200,
            "origin": "conf/base/study/evaluation/quick.yml:validation_words",
        }
        assert settings["study.space.lora.r"]["origin"] == "conf/base/study/search_spaces/first_look.yml:lora.r"
        assert settings["trial.lora.use_dora"] == {"value": False, "origin": "default of LoraSettings"}

    def test_layers_come_in_order(self, tuning) -> None:
        tuning.write("conf/local/parameters/mine.yml", "study: {seed: 1, validation_words: 50}\n")
        tuning.write("mine.yml", "version: 1\nstudy: {validation_words: 60, focus: transfer}\ntrial: {lora: {r: 4}}\n")
        settings = tuning.settings(
            "--config=mine.yml", "--params=study.focus=spelling,trial.lora.r=8", "--focus=balanced"
        )
        found = {name: (each["value"], each["origin"]) for name, each in settings.items()}
        assert found["study.seed"] == (1, "conf/local/parameters/mine.yml:study.seed")
        assert found["study.validation_words"] == (60, "mine.yml:study.validation_words")
        assert found["trial.lora.r"] == (8, "--params trial.lora.r")
        assert found["study.focus"] == ("balanced", "--focus")
        assert found["study.n_trials"] == (2, "conf/base/parameters/tuning.yml:study.n_trials")

    def test_the_plain_form_has_the_settings_below_the_place_that_set_them_in_80_columns(self, tuning) -> None:
        result = tuning.tune("--show-config", "--mode=grid")
        places, shown, place = set(), {}, ""
        for line in result.stdout.splitlines():
            if not line.startswith(" "):
                place = line
                places.add(place)
            elif not line.startswith("   "):
                shown[line.split()[0]] = place
        assert shown == {
            name: setting["origin"].partition(":")[0] for name, setting in tuning.settings("--mode=grid").items()
        }
        assert shown["study.sampler"] == shown["study.n_trials"] == "--mode grid"
        assert len(places) < len(shown)
        assert max(map(len, result.stdout.splitlines())) <= 80

    def test_a_space_replaces_the_one_before(self, tuning) -> None:
        settings = tuning.settings("--space=vocabulary")
        searched = [name for name in settings if name.startswith("study.space.")]
        assert searched == ["study.space.tokenizer.use_english_only_tokens"]

    def test_english_only_is_no_longer_searched(self, tuning) -> None:
        settings = tuning.settings("--space=embedded", "--english-only")
        assert "study.space.tokenizer.use_english_only_tokens" not in settings
        assert "study.space.lora.r" in settings
        english = settings["trial.tokenizer.use_english_only_tokens"]
        assert english == {"value": True, "origin": "--english-only"}
        assert tuning.plan("--space=vocabulary", "--mode=grid", "--english-only")["estimate"]["trials"] == 1

    @pytest.mark.parametrize("env", [None, "qwen3_4b"])
    def test_they_are_what_the_pipeline_is_given(self, tuning, env: str | None) -> None:
        from kedro.framework.startup import bootstrap_project

        from spelling_transfer.commands.tune_plan import make_plan
        from spelling_transfer.configuration.loader import ProjectConfigLoader
        from spelling_transfer.settings import CONFIG_LOADER_ARGS
        from spelling_transfer.study.config import StudySettings, TrialConfig

        bootstrap_project(tuning.path)
        options = {"mode": "random", "space": "ratio", "trials": 9, "english_only": True, "name": "mine"}
        plan = make_plan(tuning.path, env, options, "mission")
        loader = ProjectConfigLoader(
            conf_source=str(tuning.path / "conf"), env=env, runtime_params=plan.runtime_params, **CONFIG_LOADER_ARGS
        )
        given = loader["parameters"]
        assert StudySettings.model_validate(given["study"]) == plan.study
        assert TrialConfig.model_validate(given["trial"]) == plan.trial
        assert plan.study.n_trials == 9


class TestConfigurationFiles:
    def test_what_a_study_recommends_is_taken(self, tuning) -> None:
        config = {"lora": {"r": 4}, "training": {"learning_rate": 0.0005}}
        best = {"trial": 3, "transfer_score": 0.5, "config": config, "study": {"name": "before"}}
        tuning.write("best_config.json", json.dumps(best))
        settings = tuning.settings("--config=best_config.json")
        assert settings["trial.lora.r"] == {"value": 4, "origin": "best_config.json:trial.lora.r"}
        assert settings["trial.training.learning_rate"]["value"] == 0.0005
        assert settings["study.name"]["value"] == "spelling_transfer_exp"

    def test_a_file_extends_another_and_ready_ones(self, tuning) -> None:
        tuning.write("base.yml", "study: {seed: 3}\ntrial: {extends: mission}\n")
        tuning.write("sub/mine.json", json.dumps({"extends": "../base.yml", "trial": {"lora": {"dropout": 0.2}}}))
        settings = tuning.settings("--config=sub/mine.json")
        assert settings["study.seed"]["value"] == 3
        assert settings["trial.training.max_steps"]["origin"].endswith("training/mission.yml:training.max_steps")
        assert settings["trial.lora.dropout"] == {"value": 0.2, "origin": "sub/mine.json:trial.lora.dropout"}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("version: 2\ntrial: {lora: {r: 4}}", "mine.yml: version: 2 is not the version this release reads, 1."),
            ("trail: {lora: {r: 4}}", "mine.yml: trail: unknown group; did you mean 'trial'?"),
            ("lora: {r: 4}", "put it under 'trial'"),
            ("trial: {lora: {rank: 4}}", "trial.lora.rank: unknown parameter (mine.yml)"),
            ("trial: {lora: {r: 0}}", "trial.lora.r: 0 should be greater than or equal to 1 (mine.yml)"),
            ("study: {foucs: transfer}", "Did you mean 'focus'?"),
            ("trial: [1]", "expected settings by name"),
            ("trial: {lora: {r: 4, r: 8}}", "the key 'r' is there twice"),
            ("trial: {extends: mision}", "there is no 'mision'. Did you mean 'mission'?"),
            ("extends: mine.yml", "files extend each other in a circle"),
            ("extends: nowhere.yml", "nowhere.yml: cannot be read: No such file or directory"),
            ("trial: {lora: [", "not valid YAML"),
            ("study: {space: {gpu_tier: {values: [t4, a100]}}}", "a search over the machine's price compares nothing"),
            ("study: {space: {position_task_weight: {values: [0.3]}}}", "Run one study for each value instead"),
            ("study: {space: {lora.rank: {values: [4]}}}", "did you mean 'lora.r'"),
            ("study: {storage: 'postgresql://me:secret@host/db'}", "holds a password"),
            ("study: {sampler: random, n_trials: null}", "null is for grid and one_at_a_time"),
            ("study: {sampler: tpe, space: {}}", "study.space: is empty"),
        ],
    )
    def test_a_bad_one_is_one_clear_error(self, tuning, content: str, message: str) -> None:
        tuning.write("mine.yml", content)
        result = tuning.tune("--config=mine.yml", "--dry-run")
        assert_refused(result, 1, message)
        assert "secret@" not in result.output
        assert result.stderr.count("Error:") == 1

    def test_one_that_is_not_there_is_named(self, tuning) -> None:
        assert_refused(tuning.tune("--config=mine.yml", "--dry-run"), 1, "mine.yml: cannot be read")
        assert_refused(tuning.tune("--config=misson", "--dry-run"), 1, "Did you mean 'mission'?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=annealing"], "annealing"),
        (["--mode=single", "--trials=3"], "--mode single is one trial"),
        (["--mode=single", "--space=mission"], "leave out --space"),
        (["--trials=0"], "--trials"),
        (["--workers=none"], "--workers"),
        (["--resume"], "--resume needs --name"),
        (["--resume", "--name=x", "--focus=transfer"], "leave out --focus"),
        (["--gpu-tier=v100"], "--gpu-tier"),
        (["--resume", "--name=x", "--seed=0"], "leave out --seed"),
        (["--seed=0", "list"], "--seed: options of list come after it"),
        (["--json", "list"], "--json: options of list come after it"),
    ],
)
def test_misuse_is_exit_code_2(tuning, arguments: list[str], message: str) -> None:
    assert_refused(tuning.tune(*arguments), 2, message)


def test_what_is_not_there_is_one_clear_error(tuning) -> None:
    assert_refused(tuning.tune("--resume", "--name=first"), 1, "no study 'first' to resume. Known: none yet")
    assert_refused(tuning.tune("--space=misson", "--dry-run"), 1, "Did you mean 'mission'?")
    assert_refused(tuning.tune("dashboard", "first"), 1, "there is no study 'first'. Known: none yet")
    assert_refused(tuning.tune("sync", "first"), 1, "there is no study 'first'")
    assert tuning.tune("list").exit_code == 0
    assert json.loads(tuning.tune("list", "--json").stdout) == []
    (tuning.path / "data/07_model_output/tuning/studies/of_a_run").mkdir(parents=True)
    assert_refused(tuning.tune("--resume", "--name=of_a_run"), 1, "is the study of 'kedro run', which resumes it")
    older = tuning.write("data/06_models/tuning/configs/of_a_run.yml", "")
    assert_refused(tuning.tune("--resume", "--name=of_a_run"), 1, f"Move it, then resume: mv {older} ")


def test_rented_machines_need_what_runs_jobs_there(tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    import spelling_transfer.study.backends as module

    local = EntryPoint("local", "x:y", module.GROUP)
    monkeypatch.setattr(module, "entry_points", lambda group: EntryPoints([local]))
    assert_refused(tuning.tune("--mode=lightning", "--dry-run"), 1, "'lightning' is not installed; there are local")
    both = EntryPoints([local, EntryPoint("lightning", "x:y", module.GROUP)])
    monkeypatch.setattr(module, "entry_points", lambda group: both)
    result = tuning.tune("--mode=lightning", "--gpu-tier=l4", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "machine of your own" not in result.stdout


def test_data_that_are_not_there_yet_are_made_with_the_parameters_given(
    tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(tune_command, "run_pipeline", lambda *to, params, **_: made.update({to[2]: params}))
    few = {"word_selection": {"max_words": 300}}
    enter_project()
    tune_command.run_study_pipeline(make_plan(tuning.path, None, {"mode": "single", "params": few}))
    assert (made["local_prep"], made["token_analysis"]) == (few, few)
    assert made["tuning"]["word_selection"] == few["word_selection"]


def test_an_earlier_study_here_replaces_the_computed_time(tuning) -> None:
    import pandas as pd

    computed = tuning.plan()["estimate"]
    assert computed["basis"].startswith("a guess for CPU")
    data = tuning.path / "data" / "07_model_output" / "tuning" / "data"
    data.mkdir(parents=True)
    pd.DataFrame({"number": [0, 1], "steps": [10, 30], "training.batch_size": [8, 4]}).to_parquet(
        data / "trials.parquet"
    )
    pd.DataFrame({"number": [0, 1], "seconds": [20.0, 30.0]}).to_csv(data / "trial_seconds.csv", index=False)
    best = {"config": {"training": {"batch_size": 64, "grad_accum_steps": 2}}}
    tuning.write("data/06_models/tuning/best_config.json", json.dumps(best))
    measured = tuning.plan()["estimate"]
    assert measured["basis"] == "measured on 2 trials here"
    # 10 steps of 8 x 2 and 30 of 4 x 2 examples took 50 seconds; two trials of 100 steps of 64 are 12,800.
    assert measured["hours"] == pytest.approx(50 / 400 * 12_800 / 3600)


def test_the_help_has_examples_and_every_mode(tuning) -> None:
    text = tuning.tune("--help").output
    assert "kedro tune --mode single --name first" in text
    for word in ("single", "grid", "random", "bayes", "sweep", "lightning", "list", "dashboard", "sync"):
        assert re.search(rf"\n +{word} ", text)
    for command in ("list", "dashboard", "sync"):
        assert f"kedro tune {command}" in tuning.tune(command, "--help").output
