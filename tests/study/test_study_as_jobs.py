"""A study whose workers are jobs: they share a PostgreSQL and a bucket, and no folder with each other or the driver."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import light_study
import pandas as pd
import pytest
from fake_lightning.machines import session_of
from kedro.config import OmegaConfigLoader
from light_study import LightObjective, LightStudy, light_defaults, light_settings
from local_postgres import LocalPostgres, find_binaries
from s3_server import WRITER, S3Server

from kedro_lightning.hooks import RunContext, compute_hook
from kedro_lightning.jobs.work import run_tag
from kedro_lightning.platform.studios import StudiosApi
from spelling_transfer.storage import open_store
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Monitor, TrialOutcome
from spelling_transfer.study.records import Records
from spelling_transfer.study.run import run_study
from spelling_transfer.study.storage import StorageError, open_engine, storage_url

pytestmark = pytest.mark.skipif(
    find_binaries() is None, reason="PostgreSQL is not installed (Debian: apt install postgresql)"
)


@pytest.fixture(scope="module")
def database() -> Iterator[LocalPostgres]:
    server = LocalPostgres()
    yield server
    server.close()


@pytest.fixture
def place(platform, connection, s3: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in a bucket; the platform has the Studio, and the keys in its store of secrets alone."""
    project = tmp_path / "project"
    (project / "conf/base").mkdir(parents=True)
    (project / "pyproject.toml").write_text("[tool.kedro]\n")
    monkeypatch.chdir(project)
    StudiosApi(connection).create("spelling-tuning")
    path = [str(Path(light_study.__file__).parent), os.environ.get("PYTHONPATH", "")]
    logs = str(tmp_path / "logs")
    platform.world.extra_env = {"PYTHONPATH": os.pathsep.join(path), "LIGHT_STUDY_LOGS": logs}
    variables = s3_server.environment()
    secrets = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    platform.world.secrets = {name: (name, variables.pop(name), "") for name in secrets}
    settings = {
        "tags": {"gpu": "t4"},
        "tiers": {"t4": {"machines": ["T4"], "interruptible": True}},
        "studios": {"tuning": {"name": "spelling-tuning"}},
        "environments": {"default": {"variables": variables}},
        "secrets": secrets,
        "budget": {"run_usd": 3},
    }
    (project / "conf/base/compute.yml").write_text(json.dumps(settings))
    loader = OmegaConfigLoader(str(project / "conf"), base_env="base", default_run_env="base")
    monkeypatch.setattr(compute_hook, "context", RunContext(project, loader))
    return f"{s3}/studies"


def take_away_a_machine(platform: Any, settings: StudySettings, taken: list[tuple[int, int]]) -> None:
    """Cuts the power of a machine whose trial has a checkpoint at the place; notes the trial and its attempt."""
    records = Records(open_engine(storage_url(settings.storage, Path())), settings.name)
    while not taken:
        for row in records.trials() if records.find() else ():
            store = open_store(f"{settings.place}/trials/{settings.name}/{row.number:04d}")
            if row.state != "running" or not store.list_manifests():
                continue
            with platform.world.lock:  # nobody sees its processes end before the platform says why
                (job,) = [each for each in platform.jobs if row.owner.partition("/")[0] in each["spec"]["command"]]
                processes = session_of(job["_proc"].pid)
                for pid in processes:
                    os.kill(pid, signal.SIGSTOP)
                now = [(each.number, each.attempt) for each in records.trials() if each.state == "running"]
                if (row.number, row.attempt) not in now:  # it has ended since it was looked at
                    for pid in processes:
                        os.kill(pid, signal.SIGCONT)
                    continue
                for pid in processes:
                    os.kill(pid, signal.SIGKILL)
                platform.module.set_job(job, state="stopped")
            taken.append((row.number, row.attempt))
            return
        time.sleep(0.05)


def test_a_trial_whose_machine_is_taken_away_goes_on_elsewhere_from_its_newest_checkpoint(
    platform, place: str, database, tmp_path: Path
) -> None:
    how = {"name": "rented", "backend": "lightning", "place": place, "storage": database.url}
    settings, folder = light_settings(workers=2, n_trials=4, **how), tmp_path / "driver"
    tags = [run_tag(f"study-rented-{hashlib.sha256(b's3://elsewhere').hexdigest()[:8]}")]
    with platform.world.lock:  # a colleague's study of the same name, at another place
        other = platform.module.new_job("p-1", "worker-0-other", {"command": "sleep 60"}, tags)
    taken: list[tuple[int, int]] = []
    thief = threading.Thread(target=take_away_a_machine, args=(platform, settings, taken), daemon=True)
    thief.start()
    found = run_study(settings, light_defaults(), LightStudy(step_seconds=0.15), folder=folder)
    ((lost, attempt),) = taken
    undisturbed = run_study(light_settings(n_trials=4), light_defaults(), LightStudy())
    pd.testing.assert_frame_equal(found.trials, undisturbed.trials)
    pd.testing.assert_frame_equal(found.curves, undisturbed.curves)
    assert found.base == undisturbed.base
    assert platform.running == [other["name"]]
    # A third takes the place of the lost one, unless the other has done what was left by then.
    assert len(platform.jobs) >= 3
    records = Records(open_engine(storage_url(settings.storage, folder)), "rented")
    attempts = {row.number: row.attempt for row in records.trials()}
    assert attempts == {number: attempt + (number == lost) for number in range(4)}
    for number in range(4):
        lines = (tmp_path / f"logs/{number:04d}/steps.log").read_text().splitlines()
        assert sorted({int(line) for line in lines if line.isdigit()}) == list(range(1, 31))
        begun = [int(line.split()[1]) for line in lines if line.startswith("from ")]
        assert begun[0] == 0
        assert len(begun) == attempts[number]
        assert all(step >= 7 for step in begun[1:])  # not from its start: a checkpoint was at the place
    # Nothing of the driver's folder was seen by a machine, and no key was said to the platform but to its store.
    assert not (folder / "trials").exists()
    assert not any(str(folder) in job["spec"]["command"] for job in platform.jobs)
    assert WRITER.secret not in platform.said()
    again = run_study(settings, light_defaults(), LightStudy(), folder=folder)
    pd.testing.assert_frame_equal(again.trials, found.trials)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": "auto"}, r"study\.workers: auto counts what this machine bears.*--workers 4"),
        ({"place": "s3://data/studies"}, r"study\.storage: a file cannot be shared.*PostgreSQL"),
        ({"storage": "postgresql://me@127.0.0.1:1/x"}, r"study\.place: .*studies_place: s3://YOUR-BUCKET/studies"),
    ],
)
def test_what_machines_cannot_share_is_refused_before_anything_is_rented(
    platform, place: str, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(StudyConfigError, match=message):
        run_study(light_settings(backend="lightning", **changes), light_defaults(), LightStudy(), folder=tmp_path)
    assert platform.jobs == []


def test_a_connection_to_the_database_does_not_wait_for_a_network_that_has_gone_away(database: LocalPostgres) -> None:
    engine = open_engine(storage_url(database.url, Path()))
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        given = driver.info.get_parameters()
    engine.dispose()
    # Half a minute, whether the answer to a query is missing or the acknowledgement of what was sent.
    assert sum(int(given[f"keepalives_{name}"]) for name in ("idle", "interval", "interval")) <= 30
    assert int(given["tcp_user_timeout"]) == 30_000


def test_a_pooler_may_give_each_transaction_another_connection(database: LocalPostgres) -> None:
    engine = open_engine(storage_url(database.url, Path()))
    records = Records(engine, "pooled")
    records.create("{}", base=False)
    for _ in range(12):  # psycopg would prepare what it is asked more than five times
        records.trials()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one() == 0
    engine.dispose()


def test_rights_that_are_missing_are_one_sentence_and_fail_no_trial(database: LocalPostgres) -> None:
    owner = open_engine(storage_url(database.url, Path()))
    with owner.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE guest LOGIN")
        connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")  # as from PostgreSQL 15 on
    settings = light_settings(name="rights", storage=database.url.replace("postgres@", "guest@"), n_trials=1)
    with pytest.raises(StorageError, match=r"permission denied.*may create tables") as refused:  # as for a new user
        run_study(settings.model_copy(update={"name": "new"}), light_defaults(), LightStudy())
    assert "\n" not in str(refused.value)

    with owner.begin() as connection:
        connection.exec_driver_sql("GRANT ALL ON SCHEMA public TO guest")
        connection.exec_driver_sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO guest")

    class Revoked(LightObjective):
        def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
            with owner.begin() as connection:
                connection.exec_driver_sql("REVOKE UPDATE ON ALL TABLES IN SCHEMA public FROM guest")
            return super().__call__(config, monitor)

    with pytest.raises(StorageError, match=r"refuses the study's records: permission denied"):
        run_study(settings, light_defaults(), Revoked(LightStudy()))
    assert [row.state for row in Records(owner, "rights").trials()] == ["running"]
    owner.dispose()
