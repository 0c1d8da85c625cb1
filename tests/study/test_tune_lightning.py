"""`kedro tune --mode lightning`: trials as jobs, the pipeline around them, what else needs a GPU as jobs, too."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from local_postgres import LocalPostgres
from s3_fixtures import use_identity
from s3_server import S3Server

from spelling_transfer.storage import open_store
from spelling_transfer.storage.bundles.versions import read_version

PAGE = (Path(__file__).parents[2] / "docs" / "hyperparameter_tuning.md").read_text(encoding="utf-8")
_POSTGRES = ["--storage=postgresql+psycopg://me@db.example.test/studies"]

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
def test_the_example_of_the_page_runs_each_trial_once_from_a_folder_that_no_machine_sees(
    platform, whole_project, database, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = whole_project.path / "conf" / "s3"
    globals_file = conf / "globals.yml"
    globals_file.write_text(globals_file.read_text().replace("s3://spelling-transfer", "s3://data/rented"))
    keys = {**s3_server.environment(), "PGPASSWORD": "pass-of-the-database", "SPELLING_TRANSFER_RUN": "first"}
    not_amazons = {name: keys[name] for name in ("AWS_ENDPOINT_URL_S3", "AWS_EC2_METADATA_DISABLED")}
    (block,) = re.findall(r"```yaml\n# conf/s3/compute\.yml\n(.*?)```", PAGE, re.DOTALL)
    (conf / "compute.yml").write_text(f"{block}environments: {{default: {{variables: {json.dumps(not_amazons)}}}}}\n")
    platform.world.extra_env = {"DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}  # nothing of the driver's folder
    (commands,) = [each for each in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if "--mode lightning" in each]
    smaller = {"--trials": "2", "--workers": "2", "--storage": database.url}
    for line in commands.splitlines():
        words = shlex.split(line)[1:]
        words = [smaller.get(before, word) for before, word in zip(["", *words], words, strict=False)]
        more = ["--json", f"--params={_FEW_STEPS},{_FEW_WORDS}"] if words[0] == "tune" else []
        done = whole_project.kedro(*words, *more, **keys)
        assert done.returncode == 0, done.stderr[-5000:]
    assert json.loads(done.stdout)["trials"] == 2
    names = sorted(job["name"].rsplit("-", 2)[0] for job in platform.jobs)
    # The node that watches the workers is none of them; training the arms is a job like others.
    assert [name.rsplit("-", 1)[0] for name in names[1:]] == ["worker-0", "worker-1"]
    assert names[0] == "tuning-train-arms"
    assert platform.running == []
    use_identity(s3_server, monkeypatch)
    client = s3_server.client()
    data = client.get_object(Bucket="data", Key="rented/study/runs/first/07_model_output/tuning/data/trials.parquet")
    trials = pd.read_parquet(io.BytesIO(data["Body"].read()))
    assert trials["number"].tolist() == [0, 1]
    assert set(trials["state"]) == {"complete"}
    # Of each trial the adapter is left, and no checkpoint; no machine saw the folder of the driver.
    for number in range(2):
        files = read_version(open_store(f"s3://data/rented/studies/trials/rented/{number:04d}")).files
        assert "adapter/adapter_model.safetensors" in files
        assert not any(name.startswith("checkpoints") for name in files)
    assert not any(str(whole_project.path) in job["spec"]["command"] for job in platform.jobs)
    for secret in (keys["AWS_SECRET_ACCESS_KEY"], keys["PGPASSWORD"]):
        assert secret not in platform.said() + done.stdout + done.stderr
    assert platform.world.telemetry == []


@pytest.mark.parametrize(
    ("storage", "parts"),
    [
        ([], ["study.storage: a file cannot be shared", "--storage postgresql+psycopg://"]),
        (
            _POSTGRES,
            ["study.place: rented machines", "studies_place: s3://YOUR-BUCKET/studies in globals.yml"],
        ),
        (
            [*_POSTGRES, "--params=study.place=data/places"],
            ["data/places: rented machines do not reach it", "data.mounts"],
        ),
        ([*_POSTGRES, "--params=study.place=s3://data/places"], ["s3://data/places/material/", "cannot be reached"]),
    ],
)
def test_what_workers_elsewhere_lack_is_said_before_data_are_prepared(platform, whole_project, storage, parts) -> None:
    nowhere = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "key"}
    done = whole_project.kedro("tune", "--mode=lightning", "--env=qwen3_4b", "--name=rented", *storage, **nowhere)
    assert done.returncode == 1
    for part in parts:
        assert part in " ".join(done.stderr.split())
    assert platform.world.log == []
    assert not (whole_project.path / "data/qwen3_4b").exists()
