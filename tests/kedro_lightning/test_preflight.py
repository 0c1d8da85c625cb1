"""What is missing is said before anything is rented, and what still runs from before is named."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node, pipeline
from tests.kedro_lightning.conftest import ENTRY

from kedro_lightning.config import ComputeConfig
from kedro_lightning.costs import Ledger
from kedro_lightning.errors import ComputeError
from kedro_lightning.hooks import RunContext
from kedro_lightning.node_jobs import make_node_jobs
from kedro_lightning.platform.jobs import JobRequest, JobsApi
from kedro_lightning.platform.machines import cached_prices
from kedro_lightning.platform.studios import StudiosApi
from kedro_lightning.preflight import preflight
from kedro_lightning.runner import orphans
from kedro_lightning.studio_setup import set_up

_SETTINGS = {
    "tags": {"gpu": "t4"},
    "tiers": {"t4": {"machines": ["T4", "A100"]}},
    "studios": {"tuning": {"name": "spelling-tuning", "nodes": ["*"]}},
    "budget": {"run_usd": 2},
}


def steps() -> Pipeline:
    return pipeline([node(lambda x, n: x, ["given", "params:n"], "made", name="train", tags=["gpu"])])


def catalog(made: str = "s3://data/made.json") -> DataCatalog:
    entries = {"given": "s3://data/given.json", "made": made}
    return DataCatalog.from_config(
        {name: {"type": "json.JSONDataset", "filepath": place} for name, place in entries.items()}
    )


def check(project: Path, kept: DataCatalog, params: dict | None = None, loader=None, done=(), **changes):
    config = ComputeConfig.model_validate({**_SETTINGS, **changes})
    if not (project / "pyproject.toml").exists():
        (project / "pyproject.toml").write_text("[tool.kedro]\n")
    if loader is None:
        loader = OmegaConfigLoader(str(project / "conf"), base_env="base", default_run_env="local")
    context = RunContext(project, loader, "local", params or {})
    return preflight(steps(), make_node_jobs(steps(), config), kept, config, context, "run-1", done)


def attempt(project: Path, params: dict | None = None, **changes):
    return check(project, catalog(), params, **changes)


def test_a_run_that_may_start_has_its_code_in_the_studio(platform, studio, tmp_path: Path) -> None:
    ready = attempt(tmp_path, {"n": 3})
    assert list(ready.works) == ["train"]
    assert [machine.name for machine in ready.works["train"].machines] == ["T4", "A100"]
    assert ready.plan.usd == pytest.approx(0.34)  # half an hour, the default, at 0.68
    (place,) = platform.world.blobs
    assert ready.code.removeprefix("sha256:")[:16] in place
    assert platform.jobs == []


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"budget": {}}, ["budget.run_usd: not set"]),
        ({"budget": {"run_usd": 0.1}}, ["estimated at 0.34 USD", "0.10 USD are left by budget.run_usd"]),
        ({"budget": {"run_usd": 9, "month_usd": 0.2}}, ["0.20 USD are left by budget.month_usd"]),
        ({"teamspace": "acme/other"}, ["teamspace: 'acme/other' is not one of yours", "spelling"]),
        ({"tiers": {"t4": {"machines": ["T5"]}}}, ["tiers.t4.machines: there is no machine 'T5'", "T4"]),
        ({"nodes": {"train": {"gpu_gigabytes": 90}}}, ["none of T4, A100 is offered with the 90 GB"]),
        (
            {"studios": {"tuning": {"name": "other", "nodes": ["*"]}}},
            ["no Studio other (for tuning)", "studios create"],
        ),
        ({"studios": {"tuning": {"name": "other", "nodes": ["x"]}}}, ["train have no Studio"]),
        ({"secrets": ["BUCKET_KEY"]}, ["store has no BUCKET_KEY", "studios secrets"]),
        ({"code": {"mode": "git"}}, ["code.mode: git"]),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_started(platform, studio, tmp_path, changes, parts) -> None:
    with pytest.raises(ComputeError) as caught:
        attempt(tmp_path, **changes)
    for part in parts:
        assert part in str(caught.value)
    assert platform.jobs == []


def test_no_credit_is_a_reason(platform, studio, tmp_path: Path) -> None:
    platform.world.balance = 0.01
    with pytest.raises(ComputeError, match=r"0\.01 USD are left by the credit of the teamspace"):
        attempt(tmp_path)


def test_nobody_signed_in_is_a_reason(platform, studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_API_KEY")
    with pytest.raises(ComputeError, match="Not signed in"):
        attempt(tmp_path)


def test_a_folder_that_is_no_project_is_a_reason(platform, studio, tmp_path: Path) -> None:
    """As where the package of a project runs: its jobs had no command 'run' once their machines were paid for."""
    config, context = ComputeConfig.model_validate(_SETTINGS), RunContext(tmp_path, OmegaConfigLoader(str(tmp_path)))
    with pytest.raises(ComputeError, match=r"whose pyproject\.toml has no \[tool\.kedro\]"):
        preflight(steps(), make_node_jobs(steps(), config), catalog(), config, context, "run-1")
    assert platform.world.blobs == {}


def test_a_configuration_that_jobs_do_not_read_is_a_reason(platform, studio, tmp_path: Path) -> None:
    loader = OmegaConfigLoader(str(tmp_path / "elsewhere"), base_env="base", default_run_env="local")
    with pytest.raises(ComputeError, match=r"--conf-source: .*elsewhere: a job reads the project's own configuration"):
        attempt(tmp_path, loader=loader)


def test_a_parameter_that_cannot_be_written_down_is_a_reason(platform, studio, tmp_path: Path) -> None:
    with pytest.raises(ComputeError, match=r"--params: trial\.layers"):
        attempt(tmp_path, {"trial": {"layers": (1, 2)}})
    ready = attempt(tmp_path, {"trial": {"layers": [1, 2]}})
    assert dict(ready.works["train"].env)["KEDRO_COMPUTE_PARAMS"] == '{"trial": {"layers": [1, 2]}}'


def test_where_one_setting_has_to_change_it_alone_is_named(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    for name, text in {"base": "storage_root: data\nmodel: small\n", "big": "storage_root: data/big\n"}.items():
        (conf / name).mkdir(parents=True)
        (conf / name / "globals.yml").write_text(text)
    loader = OmegaConfigLoader(str(conf), env="big", base_env="base", default_run_env="local")
    places = {"given": "data/big/given.json", "made": "data/big/made.json"}
    kept = DataCatalog.from_config(
        {name: {"type": "json.JSONDataset", "filepath": str(tmp_path / place)} for name, place in places.items()}
    )
    with pytest.raises(ComputeError) as caught:
        check(tmp_path, kept, loader=loader)
    assert "storage_root: 'data/big' is a folder of this machine" in str(caught.value)
    assert "in conf/big/globals.yml:\n  storage_root: s3://YOUR-BUCKET/big" in str(caught.value)
    assert "2 datasets of this run cross machines there: given, made" in str(caught.value)


def test_a_studio_with_other_packages_is_refused_before_anything_is_rented(platform, connection, tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "spelling-transfer"\n[tool.kedro]\n')
    (tmp_path / "uv.lock").write_text("one")
    config = ComputeConfig.model_validate({**_SETTINGS, "environments": {"default": {"plugins": ["environment"]}}})
    set_up(StudiosApi(connection), config, "tuning", tmp_path)
    assert attempt(tmp_path).works  # as it was set up
    (tmp_path / "uv.lock").write_text("another")
    (place,) = [place for place in platform.world.blobs if place.endswith("installed.json")]
    there = json.loads(platform.world.blobs[place])
    there["packages"] = {**there["packages"], "kedro": "0.1", "pandas": None}
    platform.world.blobs[place] = json.dumps(there).encode()
    sent = len(platform.world.blobs)
    with pytest.raises(ComputeError) as caught:
        attempt(tmp_path)
    for part in ("Studio spelling-tuning has other packages", "kedro: 0.1 there, 1.", "pandas: None there",
                 "uv.lock: another one", "kedro compute studios create tuning", "Nothing was started"):  # fmt: skip
        assert part in str(caught.value)
    assert len(platform.world.blobs) == sent
    assert attempt(tmp_path, code={"check_packages": False}).works


def test_variables_are_passed_on_by_name_and_never_a_secret(platform, studio, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RUN_FOLDER", "first")
    ready = attempt(tmp_path, pass_on=["RUN_FOLDER", "NOT_SET"])
    assert dict(ready.works["train"].env) == {"KEDRO_COMPUTE_RUN_ID": "run-1", "RUN_FOLDER": "first"}
    with pytest.raises(ValueError, match="pass_on: BUCKET_KEY is a secret"):
        attempt(tmp_path, pass_on=["BUCKET_KEY"], secrets=["BUCKET_KEY"])


def test_data_in_memory_is_a_reason(platform, studio, tmp_path: Path) -> None:
    kept = DataCatalog.from_config({"given": {"type": "json.JSONDataset", "filepath": "s3://d/x.json"}})
    with pytest.raises(ComputeError, match=r"made: it is kept in memory alone.*made by train"):
        check(tmp_path, kept)


def test_what_the_run_spent_before_is_counted(platform, studio, tmp_path: Path) -> None:
    Ledger(tmp_path / "data/08_reporting/compute/ledger.csv").record("run-1", ENTRY)
    assert attempt(tmp_path).budget.free_usd == pytest.approx(2 - 0.34)


@pytest.mark.parametrize("state", ["failed", "stopped", "completed"])
def test_what_a_job_cost_whose_driver_was_killed_is_counted(platform, studio, connection, tmp_path, state: str) -> None:
    ledger = Ledger(tmp_path / "data/08_reporting/compute/ledger.csv")
    job = JobsApi(connection).create(
        JobRequest("train", "sleep 60", "lit-t4-1", studio.id, ("kedro-compute", "kedro-compute-run-run-1"))
    )
    ledger.record("run-1", replace(ENTRY, job_id=job.id, state="running", cost_usd=0.0, seconds=0.0))
    assert attempt(tmp_path).budget.spent_usd == 0.0  # whoever takes it over counts what it costs
    platform.module.set_job(platform.world.jobs[job.id], state=state, totalCost=1.9)
    if state == "completed":
        assert attempt(tmp_path).budget.spent_usd == 1.9  # and what it made is not made again
    else:
        with pytest.raises(ComputeError, match=r"estimated at 0\.34 USD and 0\.10 USD are left by budget.run_usd"):
            attempt(tmp_path)
    asked = len(platform.world.log)
    with suppress(ComputeError):
        attempt(tmp_path)
    assert "/jobs" not in repr([entry["path"] for entry in platform.world.log[asked:]])


def test_a_resumed_run_needs_no_money_for_what_is_done(platform, studio, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data/08_reporting/compute/ledger.csv")
    ledger.record("run-1", replace(ENTRY, key="other", cost_usd=1.9))
    with pytest.raises(ComputeError, match=r"^What is to be run is estimated at 0\.34 USD and 0\.10 USD are left"):
        attempt(tmp_path)
    ready = attempt(tmp_path, done={"train"})
    assert ready.budget.free_usd == pytest.approx(0.1)
    assert (ready.plan.rented, ready.plan.usd) == ([], 0)  # what is announced


def test_prices_are_kept_with_their_date_and_serve_in_an_outage(platform, studio, tmp_path: Path, monkeypatch) -> None:
    from kedro_lightning.platform import calls

    attempt(tmp_path)
    kept = cached_prices(tmp_path / ".kedro-compute/prices.json")
    assert kept is not None
    assert kept.read_at.startswith("20")
    monkeypatch.setattr(calls, "_ATTEMPTS", 1)
    platform.fault(r"GET /v1/core/accelerators", status=503, times=99)
    assert attempt(tmp_path).plan.prices_source == "cache"


def test_jobs_that_nobody_watches_are_named(platform, studio, connection) -> None:
    api = JobsApi(connection)
    mine, _, ended = (
        api.create(JobRequest(name, command, "lit-t4-1", studio.id, ("kedro-compute",)))
        for name, command in (("mine", "sleep 60"), ("left", "sleep 60"), ("ended", "true"))
    )
    platform.module.set_job(platform.world.jobs[ended.id], state="completed")
    assert [job.name for job in orphans(api, {mine.id})] == ["left"]
