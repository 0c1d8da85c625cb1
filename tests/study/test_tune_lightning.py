"""`kedro tune --mode lightning`: trials as jobs, the pipeline around them, what else needs a GPU as jobs, too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pandas as pd
import pytest
from local_postgres import LocalPostgres

_FEW_WORDS = (
    "word_selection.max_words=1200,word_selection.random_words=100,example_mix.other_task_questions=20,"
    "template_cost.questions=50,vocabulary_savings.measure_head=false,letter_probe.enabled=false"
)
_FEW_STEPS = (
    "study.validation_words=10,study.transfer_eval_frequency=2,trial.training.max_steps=4,"
    "trial.training.batch_size=16,trial.training.warmup_steps=1,trial.training.threads=1"
)


@pytest.fixture
def database() -> Iterator[LocalPostgres]:
    server = LocalPostgres()
    yield server
    server.close()


@pytest.mark.skipif(not os.environ.get("SPELLING_LONG_TESTS"), reason="several minutes: set SPELLING_LONG_TESTS=1")
def test_each_trial_is_run_once_by_workers_on_rented_machines(platform, whole_project, database) -> None:
    made = whole_project.kedro("compute", "studios", "create", "tuning", "training", "--env=studio_test")
    assert made.returncode == 0, made.stderr[-3000:]
    data = whole_project.kedro(
        "run", "--env=studio_test", "--pipelines=local_prep,token_analysis", f"--params={_FEW_WORDS}"
    )
    assert data.returncode == 0, data.stderr[-3000:]
    study = ["--env=studio_test", "--name=rented", "--json"]
    how = ["--trials=3", "--workers=2", f"--storage={database.url}", f"--params={_FEW_STEPS}"]
    done = whole_project.kedro("tune", "--mode=lightning", *study, *how)
    assert done.returncode == 0, done.stderr[-5000:]
    assert json.loads(done.stdout)["trials"] == 3
    names = sorted(job["name"].rsplit("-", 2)[0] for job in platform.jobs)
    # The node that watches the workers is none of them; training the best configuration is a job like others.
    assert [name.rsplit("-", 1)[0] for name in names[2:]] == ["worker-0", "worker-1"]
    assert names[:2] == ["tuning-train-best", "tuning-train-control"]
    assert platform.running == []
    trials = pd.read_parquet(whole_project.shared / "07_model_output/tuning/data/trials.parquet")
    assert trials["number"].tolist() == [0, 1, 2]
    assert set(trials["state"]) == {"complete"}
    assert (whole_project.shared / "08_reporting/tuning/reports/index.html").is_file()
    assert platform.world.telemetry == []


@pytest.mark.parametrize(
    ("storage", "parts"),
    [
        ([], ["study.storage: a file cannot be shared", "--storage postgresql+psycopg://"]),
        (
            ["--storage=postgresql+psycopg://me@db.example.test/studies"],
            ["is on this machine alone", "Set studies_root in conf/base/globals.yml", "data.mounts of compute.yml"],
        ),
    ],
)
def test_what_workers_elsewhere_lack_is_said_before_data_are_prepared(platform, whole_project, storage, parts) -> None:
    done = whole_project.kedro("tune", "--mode=lightning", "--env=qwen3_4b", "--name=rented", *storage)
    assert done.returncode == 1
    for part in parts:
        assert part in " ".join(done.stderr.split())
    assert platform.world.log == []
    assert not (whole_project.path / "data/qwen3_4b").exists()
