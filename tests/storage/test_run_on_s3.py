"""All five pipelines with every dataset on S3 leave what they leave on a disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_TINY = (
    "word_selection.max_words=1200,word_selection.random_words=100,example_mix.other_task_questions=20,"
    "study.n_trials=1,study.validation_words=10,study.transfer_eval_frequency=2,trial.training.max_steps=2,"
    "trial.training.batch_size=16,trial.training.warmup_steps=1,"
    "evaluation.examples_per_task=10,evaluation.examples_per_other_word_set=10,evaluation.n_resamples=999,"
    "template_cost.questions=50,vocabulary_savings.measure_head=false,letter_probe.enabled=false,"
    "endpoint_load.n_requests=8,deployment_check.n_questions=20"
)
_SAME_BYTES = [
    "03_primary/examples.parquet",
    "05_model_input/encoded_examples.parquet",
    "05_model_input/prep_manifest.json",
    "06_models/tuning/best_config.json",
    "07_model_output/evaluation/answers.parquet",
    "08_reporting/evaluation/scores.csv",
    "08_reporting/evaluation/comparison.csv",
]


# All in one process, as loading the libraries takes longer than the runs; the first has no keys.
_ALL = """
import json, os, sys
from pathlib import Path
from kedro.framework.cli.cli import KedroCLI
keys, *commands = json.load(sys.stdin)
for command in commands:
    try:
        KedroCLI(Path.cwd()).main(command, prog_name="kedro")
    except SystemExit as end:
        if end.code:
            raise
    os.environ.update(keys)
"""


def run(project: Path, command: list[str], environment: dict[str, str], given: Any = None) -> str:
    variables = {**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        command, cwd=project, env=variables, input=json.dumps(given), capture_output=True, text=True, timeout=1800,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run-on-s3")
    for name in ("conf", "data/01_raw/models/tiny-qwen3"):
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("local"))
    for name in ("pyproject.toml", ".kedro.yml", ".telemetry"):
        shutil.copyfile(ROOT / name, path / name)
    (path / "conf" / "local").mkdir()
    (path / "src").mkdir()
    return path


def test_the_results_are_the_same_as_on_a_disk(project: Path, s3_server: Any, tmp_path: Path):
    keys = {
        **s3_server.environment(), "SPELLING_TRANSFER_RUN": "first", "SPELLING_TRANSFER_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    # What the endpoint check leaves holds times; that it runs on S3 is enough.
    pipelines = "--pipelines=local_prep,token_analysis,tuning,evaluation"
    here = ["run", pipelines, f"--params={_TINY}"]
    there = ["run", "--env=s3_test", f"--params={_TINY}"]
    page = run(project, [sys.executable, "-c", _ALL], {}, [keys, here, there])
    assert "s3://data/study/runs/first/08_reporting/index.html" in page
    client, prefix = s3_server.client(), "study/runs/first/"

    def remote(name: str) -> bytes:
        return bytes(client.get_object(Bucket="data", Key=prefix + name)["Body"].read())

    def sha256(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    local = {name: sha256((project / "data" / name).read_bytes()) for name in _SAME_BYTES}
    assert {name: sha256(remote(name)) for name in _SAME_BYTES} == local
    weights = project / "data/06_models/tuning/best_adapter/adapter_model.safetensors"
    pointer = json.loads(remote("06_models/tuning/best_adapter/manifest.json"))
    assert remote(f"06_models/tuning/best_adapter/{pointer['content']}/{weights.name}") == weights.read_bytes()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="data", Prefix=prefix)
    found = {entry["Key"].removeprefix(prefix): entry["Size"] for page in pages for entry in page["Contents"]}
    made = {path.relative_to(project / "data").as_posix() for path in (project / "data").rglob("*") if path.is_file()}
    # The embedded model, notes of each run, the folder in which a study keeps its trials, and what grows by parts.
    kept = "07_model_output/evaluation/kept_answers"
    aside = ("01_raw", ".history", "06_models", "07_model_output/tuning/studies", "s3_test", kept)
    assert any(name.startswith(kept) for name in found)  # each asked for itself: parts are named by their time
    assert "08_reporting/deployment_check/conformance.json" in found
    files = {name for name in made if not name.startswith(aside)}
    assert files - set(found) == set()
    assert all(size > 0 for size in found.values())
    # Each half trained: neither took what the other had.
    studies = [project / "data" / place / "07_model_output/tuning/studies" for place in ("", "s3_test")]
    places = [study / "spelling_transfer_exp" for study in studies]
    trials = [{path.relative_to(study): path.stat().st_ino for path in study.rglob("trials/*/*")} for study in places]
    assert trials[0]
    assert set(trials[0]) == set(trials[1])
    assert set(trials[0].values()).isdisjoint(trials[1].values())
    latest = json.loads(client.get_object(Bucket="data", Key="study/latest.json")["Body"].read())
    assert latest["run"] == "first"
    # Another process finds the run by the pointer.
    command = [str(Path(sys.executable).with_name("kedro")), "peek", "scores", "--env=s3_test", "--json"]
    report = json.loads(run(project, command, keys | {"SPELLING_TRANSFER_RUN": ""}))
    assert report["path"] == f"s3://data/{prefix}08_reporting/evaluation/scores.csv"
    # And serves what lies there; a port that is taken ends the command where it would have started.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [command[0], "serve", "--env=s3_test", f"--port={taken.getsockname()[1]}"]
        variables = {**os.environ, **keys, "DO_NOT_TRACK": "1", "SPELLING_TRANSFER_RUN": ""}
        served = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)
    assert "is taken" in served.stderr
