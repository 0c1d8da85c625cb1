"""`kedro run --env studio_test`: all five pipelines, GPU nodes as jobs, the results of a run on one machine."""

from __future__ import annotations

import json
import os

import pytest

_SMALLER = (
    "study.n_trials=2,study.validation_words=20,study.transfer_eval_frequency=4,trial.training.max_steps=6,"
    "evaluation.examples_per_task=20,evaluation.examples_per_other_word_set=5,evaluation.n_resamples=999,"
    "letter_probe.max_tokens=100,endpoint_load.n_requests=4,deployment_check.n_questions=20"
)
_SAME = [
    "05_model_input/prep_manifest.json",
    "05_model_input/encoded_examples.parquet",
    "07_model_output/tuning/data/trials.parquet",
    "06_models/tuning/best_config.json",
    "07_model_output/evaluation/answers.parquet",
    "08_reporting/evaluation/scores.csv",
    "08_reporting/evaluation/comparison.csv",
]


@pytest.mark.skipif(not os.environ.get("SPELLING_LONG_TESTS"), reason="several minutes: set SPELLING_LONG_TESTS=1")
def test_five_pipelines_with_gpu_nodes_as_jobs_leave_what_a_local_run_leaves(
    platform, project_pipelines, whole_project
) -> None:
    gpu = [node for node in project_pipelines["__default__"].nodes if "gpu" in node.tags]
    jobs = {next((tag for tag in node.tags if tag.startswith("group-")), node.name) for node in gpu}
    project = whole_project
    made = project.kedro("compute", "studios", "create", "--all", "--env=studio_test")
    assert made.returncode == 0, made.stderr[-3000:]

    remote = project.kedro("run", "--env=studio_test", f"--params={_SMALLER}")
    assert remote.returncode == 0, remote.stderr[-5000:]
    assert platform.running == []
    assert {job["state"] for job in platform.jobs} == {"completed"}
    assert {job["name"].rsplit("-", 2)[0] for job in platform.jobs} == {
        job.replace(".", "-").replace("_", "-") for job in jobs
    }
    assert platform.world.telemetry == []
    summary = json.loads((project.path / "data/studio_test/08_reporting/run_summary.json").read_text())
    assert summary["run_id"]

    local = project.kedro("run", f"--params={_SMALLER}", "--pipelines=local_prep,token_analysis,tuning,evaluation")
    assert local.returncode == 0, local.stderr[-5000:]
    assert project.hashes("data/studio_test", _SAME) == project.hashes("data", _SAME)
