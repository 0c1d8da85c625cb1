"""A run whose data are on S3 alone: the driver and its jobs are in folders of their own and share nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from s3_server import WRITER, S3Server

_TINY = (
    "word_selection.max_words=1200,word_selection.random_words=100,example_mix.other_task_questions=20,"
    "study.n_trials=1,study.validation_words=10,study.transfer_eval_frequency=2,trial.training.max_steps=2,"
    "trial.training.batch_size=16,trial.training.warmup_steps=1,trial.training.threads=1,"
    "evaluation.examples_per_task=10,evaluation.examples_per_other_word_set=10,evaluation.n_resamples=999,"
    "template_cost.questions=50,vocabulary_savings.measure_head=false,letter_probe.enabled=false"
)
_PIPELINES = "--pipelines=local_prep,token_analysis,tuning,evaluation"
_SAME = [
    "07_model_output/tuning/data/trials.parquet",
    "06_models/tuning/best_config.json",
    "07_model_output/evaluation/answers.parquet",
    "08_reporting/evaluation/scores.csv",
]
_ENVIRONMENT = """
tags: {gpu: t4}
budget: {run_usd: 5}
secrets: [AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY]
environments:
  default:
    variables: {AWS_ENDPOINT_URL_S3: "%s", AWS_EC2_METADATA_DISABLED: "true", AWS_DEFAULT_REGION: us-east-1}
"""


@pytest.mark.skipif(not os.environ.get("SPELLING_LONG_TESTS"), reason="several minutes: set SPELLING_LONG_TESTS=1")
def test_gpu_nodes_as_jobs_read_and_write_s3_and_leave_what_a_local_run_leaves(
    platform: Any, whole_project: Any, s3_server: S3Server, tmp_path: Path
) -> None:
    conf = whole_project.path / "conf" / "rented_s3"
    conf.mkdir()
    (conf / "compute.yml").write_text(_ENVIRONMENT % s3_server.endpoint)
    (conf / "globals.yml").write_text("storage_root: ${run_folder:s3://data/study}\n")
    # Nothing of the driver's folder is known to a machine; the keys come from the platform's store alone.
    platform.world.extra_env = {"DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    keys = {
        **s3_server.environment(), "SPELLING_TRANSFER_RUN": "new", "SPELLING_TRANSFER_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    for command in (["create", "tuning", "training", "evaluation"], ["secrets"]):
        made = whole_project.kedro("compute", "studios", *command, "--env=rented_s3", **keys)
        assert made.returncode == 0, made.stderr[-3000:]

    remote = whole_project.kedro("run", "--env=rented_s3", _PIPELINES, f"--params={_TINY}", **keys)
    assert remote.returncode == 0, remote.stderr[-5000:]
    assert platform.running == []
    names = sorted(job["name"].rsplit("-", 2)[0] for job in platform.jobs)
    assert names == ["group-asking", "tuning-run-study", "tuning-train-arms"]
    client = s3_server.client()
    # The run's folder was named on the driver, and every job worked in it.
    run = json.loads(client.get_object(Bucket="data", Key="study/latest.json")["Body"].read())["run"]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="data", Prefix="study/runs/")
    there = {entry["Key"] for page in pages for entry in page["Contents"]}
    assert {key.split("/")[2] for key in there} == {run}
    for job in platform.jobs:
        (copy,) = (Path(job["_folder"]) / ".kedro-compute/work").iterdir()
        assert not copy.is_relative_to(whole_project.path)
        assert not list(copy.glob("data/0[2-6]*/*.parquet"))
    assert WRITER.secret not in platform.said()
    assert not (whole_project.path / "data/05_model_input").exists()

    local = whole_project.kedro("run", _PIPELINES, f"--params={_TINY}")
    assert local.returncode == 0, local.stderr[-5000:]

    def remote_hash(name: str) -> str:
        body = client.get_object(Bucket="data", Key=f"study/runs/{run}/{name}")["Body"].read()
        return hashlib.sha256(body).hexdigest()

    assert {name: remote_hash(name) for name in _SAME} == whole_project.hashes("data", _SAME)
