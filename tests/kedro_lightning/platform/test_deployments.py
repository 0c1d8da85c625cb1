"""Deployments: asked for as the SDK asks, never made twice, and taken back to the release before."""

from __future__ import annotations

import pytest

from kedro_lightning.config import DeploymentSettings
from kedro_lightning.errors import PreflightError, TransientError
from kedro_lightning.platform.deployments import RELEASE_VARIABLE, DeploymentsApi

SETTINGS = DeploymentSettings(
    task="training", command="serve", machine="T4", max_replicas=3, secrets=("KEY",), variables={"A": "1"}
)


@pytest.fixture
def api(connection) -> DeploymentsApi:
    return DeploymentsApi(connection)


def created(platform) -> list[dict]:
    return [
        entry["body"] for entry in platform.world.log if entry["m"] == "POST" and entry["path"].endswith("/deployments")
    ]


def test_a_deployment_is_asked_for_as_the_sdks_own_class_asks_for_it(platform, connection, api, studio) -> None:
    from lightning_sdk import Deployment, Machine, Studio
    from lightning_sdk.deployment import AutoScaleConfig, Env, HttpHealthCheck, RollingUpdateReleaseStrategy, Secret

    api.deploy("same", SETTINGS, studio, "lit-t4-1", "fp_1")
    platform.world.deployments.clear()
    Deployment("same", teamspace="acme/spelling").start(
        studio=Studio(studio.name, teamspace="acme/spelling", create_ok=False),
        machine=Machine.T4,
        command="serve",
        ports=[8000],
        replicas=1,
        autoscale=AutoScaleConfig(
            1, 3, "CPU", 70.0, idle_threshold_seconds="900", scale_down_cooldown_seconds="300",
            scale_up_cooldown_seconds="30",
        ),
        env=[Env("A", "1"), Env(RELEASE_VARIABLE, "fp_1"), Secret("KEY", "KEY")],
        health_check=HttpHealthCheck("/health", 8000, 0, 30, 10, 10),
        release_strategy=RollingUpdateReleaseStrategy(1, 0),
        spot=False,
        include_credentials=False,
    )  # fmt: skip
    ours, theirs = created(platform)
    assert ours == theirs
    assert ours["spec"]["env"][-1] == {"name": "KEY", "fromSecret": "KEY"}


def test_a_new_release_takes_over_and_the_one_before_comes_back(api, studio, capsys) -> None:
    first = api.deploy("speller", SETTINGS, studio, "lit-t4-1", "fp_1")
    assert (first.label, first.state, first.ready_replicas) == ("fp_1", "running", 1)
    same = api.deploy("speller", SETTINGS, studio, "lit-t4-1", "fp_1")
    assert (same.id, same.release_id) == (first.id, first.release_id)
    more = SETTINGS.model_copy(update={"min_replicas": 2, "target": 50.0})
    second = api.deploy("speller", more, studio, "lit-t4-1", "fp_2")
    assert (second.id, second.label, second.ready_replicas) == (first.id, "fp_2", 2)
    newest, before = api.releases("speller")
    assert (newest.label, before.label) == ("fp_2", "fp_1")
    back = api.restore("speller", before)
    assert (back.release_id, back.label) == (first.release_id, "fp_1")
    stopped = api.stop("speller")
    assert (stopped.state, stopped.ready_replicas) == ("stopped", 0)
    assert len(api.releases("speller")) == 2
    assert capsys.readouterr().out == ""


def test_what_the_sdks_update_leaves_out_is_changed_too(platform, api, studio) -> None:
    api.deploy("speller", SETTINGS, studio, "lit-t4-1", "fp_1")
    changed = {"metric": "RPM", "target": 20.0, "max_replicas": 5, "max_surge": 2, "machine": "L4"}
    api.deploy("speller", SETTINGS.model_copy(update=changed), studio, "lit-l4-1", "fp_1")
    (found,) = platform.world.deployments.values()
    assert found["autoscaling"]["targetMetric"] == [{"name": "RPM", "target": "20.0"}]
    assert found["autoscaling"]["maxReplicas"] == 5
    assert found["strategy"]["rollingUpdate"] == {"maxSurge": 2, "maxUnavailable": 0}
    assert found["spec"]["instanceName"] == "lit-l4-1"


def test_a_lost_answer_is_not_asked_for_twice_and_an_outage_is_no_absence(platform, api, studio) -> None:
    platform.fault(r"POST .*/deployments$", after=True)
    with pytest.raises(TransientError):
        api.deploy("speller", SETTINGS, studio, "lit-t4-1", "fp_1")
    assert len(created(platform)) == 1
    platform.fault(r"GET .*/getbyname", times=1000)
    with pytest.raises(TransientError):
        api.deploy("speller", SETTINGS, studio, "lit-t4-1", "fp_1")
    assert len(created(platform)) == 1
    platform.world.faults.clear()
    api.deploy("speller", SETTINGS, studio, "lit-t4-1", "fp_1")
    assert len(platform.world.deployments) == 1


def test_two_versions_side_by_side_and_the_domain_moves(platform, api, studio) -> None:
    here = SETTINGS.model_copy(update={"custom_domain": "spell.example.org"})
    blue, green = (
        api.deploy("blue", here, studio, "lit-t4-1", "1"),
        api.deploy("green", SETTINGS, studio, "lit-t4-1", "2"),
    )
    assert blue.urls != green.urls
    api.deploy("blue", here.model_copy(update={"custom_domain": ""}), studio, "lit-t4-1", "1")
    api.deploy("green", here, studio, "lit-t4-1", "2")
    domains = {each["name"]: each["endpoint"].get("customDomain") for each in platform.world.deployments.values()}
    assert domains == {"blue": "", "green": "spell.example.org"}
    assert [len(api.releases(name)) for name in ("blue", "green")] == [1, 1]


def test_another_studio_is_another_deployment(api, connection, studio) -> None:
    from kedro_lightning.platform.studios import StudiosApi

    api.deploy("speller", SETTINGS, studio, "lit-t4-1", "1")
    with pytest.raises(PreflightError, match="another name"):
        api.deploy("speller", SETTINGS, StudiosApi(connection).create("another"), "lit-t4-1", "1")
