"""What the tuning makes of trials that are there; training itself is tested with the study and in the first run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from tests.samples.catalogs import project_catalog

from spelling_transfer.pipelines.tuning import create_pipeline
from spelling_transfer.statistics.scores import SCORED_TASKS, transfer_score
from spelling_transfer.study.config import AnalysisSettings, StudySettings, TrialConfig

SPACE = {"lora.r": {"values": [4, 8, 16]}, "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
NODES = ("analyse_transfer", "rate_settings", "recommend", "confirm", "report.plot_trials", "report.report_trials")
FAMILIES = 60


def analysis_nodes() -> Pipeline:
    return create_pipeline().only_nodes(*(f"tuning.{name}" for name in NODES))


def marks_of(numbers: list[int], seed: int) -> pd.DataFrame:
    rows = [
        {
            "number": number, "example_id": f"{task}-{i}", "task": task, "stem": f"stem{i}", "word": f"word{i}",
            "difficulty": ("easy", "medium", "hard")[i % 3], "n_tokens": 1 + i % 4,
            "base": bool(np.random.default_rng([i, place]).random() < 0.3),
            "exact": bool(np.random.default_rng([seed, number, i, place]).random() < 0.4 + 0.02 * number),
        }
        for number in numbers
        for place, task in enumerate(SCORED_TASKS)
        for i in range(FAMILIES)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def scored(marks: pd.DataFrame) -> pd.DataFrame:
    shares = marks.groupby(["number", "task"])["exact"].mean().unstack()[list(SCORED_TASKS)].reset_index()
    return shares.assign(
        transfer_score=transfer_score(shares["spelling"], shares["position"], shares["count"]),
        selection_score=shares["spelling"],
    )


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """The entries of the project, with the trials of a study and the runs of its winner."""
    numbers = list(range(6))
    marks = marks_of(numbers, seed=0)
    trials = scored(marks).assign(
        state="complete", seed=numbers, steps=60, loss=0.5,
        **{"lora.r": [4, 8, 16, 4, 8, 16], "training.learning_rate": [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3]},
    )  # fmt: skip
    scores = ["number", *SCORED_TASKS, "transfer_score", "selection_score"]
    curves = pd.concat([trials[scores].assign(step=step) for step in (30, 60)])
    runs = marks_of([6, 7], seed=0)
    shares = marks.groupby("task")["base"].mean()
    saved: dict[str, Any] = {
        "trials": trials,
        "trial_marks": marks,
        "learning_curves": curves.reset_index(drop=True),
        "trial_seconds": pd.DataFrame({"number": numbers, "seconds": 12.5}),
        "base_validation_scores": {"step": 0, **{task: float(shares[task]) for task in SCORED_TASKS}},
        "search_space": SPACE,
        "study_environment": {"processors": 2, "architecture": "x86_64", "accelerator": "none", "python": "3.11",
                              "packages": {"torch": "2.9"}},
        "confirmation_runs": scored(runs).rename(columns={"number": "seed"}).assign(steps=60, loss=0.4),
        "confirmation_marks": runs,
        "control_marks": marks_of([6], seed=1),
    }  # fmt: skip
    settings = {
        "params:study": StudySettings(space=SPACE, sampler="random"),
        "params:trial": TrialConfig(),
        "params:run_env": "standard",
        "params:analysis": AnalysisSettings(n_resamples=199, importance_seeds=2),
    }
    catalog = project_catalog("tuning", tmp_path, settings)
    for name, value in saved.items():
        catalog[name].save(value)
    return catalog


def test_trials_become_an_analysis_a_recommendation_figures_a_page_and_a_document(catalog: DataCatalog) -> None:
    SequentialRunner().run(analysis_nodes(), catalog)
    best = catalog["best_config"].load()
    trials = catalog["trials"].load()
    assert best["trial"] == trials.sort_values("selection_score")["number"].iloc[-1]
    assert best["confirmation"]["seeds"] == [6, 7]
    assert [row["measure"] for row in best["confirmation"]["control"]] == [*SCORED_TASKS, "transfer_score"]
    assert TrialConfig.model_validate(best["config"]).training.seed in (6, 7)
    changes = catalog["transfer_by_trial"].load()
    assert len(changes) == 6 * 3
    assert set(catalog["parameter_importance"].load()["method"]) == {"PED-ANOVA", "fANOVA"}
    figures = [name for name in create_pipeline().all_outputs() if name.endswith("_plot")]
    assert len(figures) == 8
    assert all(catalog[name].load().data for name in figures)
    page = catalog["tuning_page"].load()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("data-plot=") == 8
    assert "To repeat it: <code>kedro run --pipelines=tuning --env=standard</code>" in page
    assert f"{best['confirmation']['mean']:.1%}" in page
    assert catalog["tuning_findings"].load().startswith("# What tuning found")


def test_json_results_hold_no_number_that_json_has_not(catalog: DataCatalog, tmp_path: Path) -> None:
    SequentialRunner().run(analysis_nodes(), catalog)
    files = sorted(tmp_path.rglob("*.json"))
    assert {"best_config.json", "transfer_analysis.json", "recommendation.json"} <= {file.name for file in files}
    for file in files:
        json.loads(file.read_text(), parse_constant=lambda name, file=file: pytest.fail(f"{file.name} holds {name}"))


def test_a_second_run_gives_the_same_bytes(catalog: DataCatalog, tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        SequentialRunner().run(analysis_nodes(), catalog)
        kept.append({file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()})
    assert [name for name in kept[0] if kept[0][name] != kept[1][name]] == []


def test_training_alone_needs_a_gpu() -> None:
    gpu = {node.name for node in create_pipeline().nodes if "gpu" in node.tags}
    assert gpu == {"tuning.run_study", "tuning.train_arms"}
