"""How long nodes take on rented machines, and the plan that shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kedro_lightning.config import config_loader
from kedro_lightning.platform.machines import Machine
from spelling_transfer.pipelines.estimates import _NODES, estimate_node
from spelling_transfer.study import speeds
from spelling_transfer.study.config import StudyConfigError

ROOT = Path(__file__).parents[2]
H100 = Machine("H100", "lit-h100-1", "H100", 1, 80.0, 4.5)
L4 = Machine("L4", "lit-l4-1", "L4", 1, 24.0, 0.48)


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    """The parameters of Qwen3-4B, as shipped."""
    return dict(config_loader(ROOT, "qwen3_4b")["parameters"])


@pytest.fixture
def parameters(shipped) -> dict[str, Any]:
    """One trial of 1,000 steps of 32 examples, scored once on 500 words of each of three tasks."""
    study = {
        **shipped["study"],
        "sampler": "one_at_a_time",
        "n_trials": 1,
        "space": {},
        "transfer_eval_frequency": 1000,
    }
    return {**shipped, "study": study}


@pytest.fixture
def round_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures to compute with by hand, whatever was measured last."""
    known = speeds.read_speeds()
    figures = {"examples_per_second": 640.0, "answers_per_second": 600.0, "tokens_per_answer": 24}
    measured = known.measured.model_copy(update={**figures, "import_s": 20.0, "ready_s": 10.0})
    monkeypatch.setattr(speeds, "read_speeds", lambda: known.model_copy(update={"measured": measured}))


def seconds(node: str, parameters: dict[str, Any], machine: Machine = H100) -> float:
    found = estimate_node(node, machine, parameters)
    assert found.seconds is not None
    return found.seconds


def test_a_study_by_hand(parameters, round_figures) -> None:
    """Imports 20 s, the first step 10 s, 32,000 examples at 640/s, 1,500 answers at 600/s."""
    assert seconds("tuning.run_study", parameters) == pytest.approx(20 + 10 + 50 + 2.5, rel=1e-3)


def test_trainings_after_the_study(parameters, round_figures) -> None:
    arms = {"trained": ["spelling"], "seeds": 1, "evaluations": 1}
    once = seconds("tuning.train_arms", {**parameters, "arms": arms})
    assert once == pytest.approx(seconds("tuning.run_study", parameters))
    more = {**arms, "trained": ["spelling", "form_control"], "seeds": 3}
    assert seconds("tuning.train_arms", {**parameters, "arms": more}) == pytest.approx(20 + 6 * (once - 20))


def test_an_evaluation_by_hand(parameters, round_figures) -> None:
    """Eight tasks of 600 and 2 × 150 questions, for two arms; 1,800 for the third: 16,200 answers of 32 tokens.

    Of 24 tokens the H100 gives 600 a second. An answer of 24 takes 2 × 3.633e9 × 46.5 + 2 × 0.389e9 × 24 = 3.566e11
    operations, one of 32 takes 4.209e11: 508.3 a second, 31.87 s. Three models are loaded.
    """
    arms = {"trained": ["spelling", "form_control"], "seeds": 1}
    assert seconds("evaluation.answer", {**parameters, "arms": arms}) == pytest.approx(20 + 3 * 10 + 31.87, rel=1e-3)
    without = {**parameters, "arms": {"trained": ["spelling"], "seeds": 1}}
    assert seconds("evaluation.answer", without) == pytest.approx(20 + 2 * 10 + 14_400 / 508.3, rel=1e-3)
    drawn = {**without["evaluation"], "decodings": ["policy_sampling", "english_subset"]}  # 5 draws and 1, of 3 arms
    more = (14_400 + 6 * 3 * 3 * 600) / 508.3
    assert seconds("evaluation.answer", {**without, "evaluation": drawn}) == pytest.approx(40 + more, rel=1e-3)


def test_probes_by_hand(parameters, round_figures) -> None:
    """Two models, two tasks of 500 + 600 questions; an answer of one token takes 2 × 3.633e9 × 23.5 + 2 × 0.389e9.

    Of 24 tokens, or 3.566e11 operations, the H100 gives 600 a second, so 1,247 of these; 2 × 2 × 37 probes are fitted.
    """
    assert seconds("evaluation.probe_layers", parameters) == 0
    asked = {**parameters["evaluation"], "layer_probes": {"enabled": True}}
    arms = {"trained": ["spelling"], "seeds": 3}
    found = seconds("evaluation.probe_layers", {**parameters, "evaluation": asked, "arms": arms})
    assert found == pytest.approx(2 * 10 + 4_400 / 1_247 + 148 * 0.5, rel=1e-2)


def test_what_is_not_known_is_said(parameters) -> None:
    assert estimate_node("deployment_check.export", H100, parameters).note == "its speed was never measured."
    shapeless = {**parameters, "model_profile": {"name": "mine"}}
    found = estimate_node("tuning.run_study", H100, shapeless)
    assert (found.seconds, found.note) == (None, "model_profile.shape of mine is not set.")
    found = estimate_node("tuning.run_study", Machine("X", "x", "X9", 1, 80.0, 1.0), parameters)
    assert found.seconds is None
    assert "X9: no speed is known of this machine; known are T4, L4" in found.note


def test_it_says_what_is_measured_and_what_is_scaled(parameters) -> None:
    measured, scaled = (estimate_node("tuning.run_study", machine, parameters) for machine in (H100, L4))
    assert (measured.basis, scaled.basis) == ("measured", "scaled")
    assert measured.note.startswith("Measured: Qwen3-4B on one H100, benchmarks/results/h100.json.")
    assert scaled.note.startswith("Scaled, not measured: Qwen3-4B on one H100")
    assert "start" in scaled.note


def test_a_study_that_its_machine_does_not_hold_is_an_error(shipped) -> None:
    small = {**shipped["study"], "lightning": {"gpu_tier": "t4", "memory_gib": 4}}
    with pytest.raises(StudyConfigError, match="Qwen3-4B"):
        estimate_node("tuning.run_study", L4, {**shipped, "study": small})


def test_every_node_that_is_estimated_is_there(project_pipelines) -> None:
    assert set(_NODES) <= {node.name for node in project_pipelines["__default__"].nodes if "gpu" in node.tags}


def plan(*arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("kedro")), "compute", "plan", "--env=qwen3_4b", "--offline"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_")}
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_plan_of_qwen3_4b_fits_80_columns() -> None:
    shown = plan("--datasets")
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    rows = {line.split()[0]: line for line in shown.partition("\n\n")[0].splitlines()}
    assert " scaled " in rows["tuning.run_study"]
    assert " compute.yml " in rows["deployment_check.export"]
    assert "tuning.train_arms reads" in shown
    assert shown.count("Scaled, not measured") == 1


def test_the_same_as_json() -> None:
    rows = {row["name"]: row for row in json.loads(plan("--json", "--pipelines=tuning"))["rows"]}
    study = rows["tuning.run_study"]
    assert study["usd"] == pytest.approx(study["usd_per_hour"] * study["minutes"] / 60)
    assert study["estimated_from"] == "scaled"
    assert "121 of 989 TFLOP/s" in study["notes"][0]
    assert "base_model" in study["inputs"]
    assert rows["tuning.report.plot_trials"]["minutes"] is None
