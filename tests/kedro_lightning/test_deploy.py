"""``kedro compute deploy``: shown before it is rented, bounded in money, restored and stopped."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import Result

from kedro_lightning.config import parse_config
from kedro_lightning.errors import SettingsError

DEPLOYMENT = {
    "task": "training", "command": "serve --port 8000", "machine": "T4", "max_replicas": 2, "secrets": ["ENDPOINT_KEY"],
    "most_usd_per_hour": 2.0,
}  # fmt: skip


@pytest.fixture
def deploy(toy, invoke):
    """Runs the command in a project with one deployment, of which some settings may be changed."""

    def run(*arguments: str, **changes: object) -> Result:
        toy.write("conf/local/compute.yml", yaml.safe_dump({"deployments": {"speller": {**DEPLOYMENT, **changes}}}))
        return invoke("deploy", "speller", *arguments)

    return run


@pytest.fixture
def key(platform) -> None:
    platform.world.secrets["sec-1"] = ("ENDPOINT_KEY", "hush", "SECRET_TYPE_UNSPECIFIED")


def test_a_dry_run_shows_what_would_be_sent_and_the_price_and_starts_nothing(deploy, platform) -> None:
    result = deploy("--dry-run", "--release=fp_1", "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.output)
    assert shown["usd_per_hour"] == {"least": 0.68, "most": 1.36, "prices": "platform"}
    assert shown["deployment"]["spec"]["readiness_probe"]["http_get"] == {"path": "/health", "port": 8000}
    assert shown["deployment"]["spec"]["env"][-1] == {"from_secret": "ENDPOINT_KEY", "name": "ENDPOINT_KEY"}
    assert shown["deployment"]["autoscaling"]["target_metric"] == [{"name": "CPU", "target": "70.0"}]
    assert platform.world.deployments == {}
    text = deploy("--dry-run", interruptible=True)
    assert "# 0.30 to 0.60 USD an hour (prices: platform); nothing was started." in text.output
    assert yaml.safe_load(text.output)["name"] == "speller"


def test_without_an_account_the_price_is_an_estimate(deploy, monkeypatch) -> None:
    monkeypatch.delenv("LIGHTNING_API_KEY")
    shown = json.loads(deploy("--dry-run", "--json").output)
    assert shown["usd_per_hour"] == {"least": 0.98, "most": 1.96, "prices": "estimate"}


@pytest.mark.usefixtures("key")
def test_it_is_started_changed_taken_back_and_stopped(deploy, invoke, platform) -> None:
    assert "release fp_1, 1 replicas ready of 1 to 2" in deploy("--release=fp_1").output
    second = deploy("--release=fp_2")
    assert "release 2 fp_2 (runs)" in second.output
    assert "release 1 fp_1 (kept)" in second.output
    assert "Deployment speller serves with 1 replicas." in invoke("status").output
    assert "still serves, and costs: 'kedro compute deploy speller --stop'" in invoke("stop", "--all").output
    back = deploy("--back")
    assert back.exit_code == 0, back.output
    assert "release fp_1," in back.output
    assert "no release before" in deploy("--back").output
    assert "release fp_1," in deploy("--status").output
    assert json.loads(deploy("--stop", "--json").output)["state"] == "stopped"
    assert "Deployment" not in invoke("status").output
    assert "hush" not in platform.said()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"most_usd_per_hour": None}, "2 replicas on T4 cost 1.36 USD an hour"),
        ({"most_usd_per_hour": 1.0}, "2 replicas on T4 cost 1.36 USD an hour"),
        ({"machine": "Z80"}, "'Z80' is not offered. Known: "),
        ({}, "deployments.speller.secrets: the platform's store has no ENDPOINT_KEY"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_rented(deploy, platform, changes, message) -> None:
    result = deploy(**changes)
    assert result.exit_code == 1
    assert message in result.output
    assert platform.world.deployments == {}


def test_one_thing_at_a_time_and_only_what_is_declared(deploy, invoke) -> None:
    assert deploy("--back", "--stop").exit_code == 2
    assert "Start it with" in deploy("--status").output
    assert "there is no 'other'. Known: speller" in invoke("deploy", "other").output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_replicas": 3}, "min_replicas (3) is above max_replicas (2)"),
        ({"max_surge": 0}, "no release could ever take over"),
        ({"variables": {"ENDPOINT_KEY": "hush"}}, "ENDPOINT_KEY is a secret"),
        ({"task": "singing"}, "there is no task 'singing'"),
        ({"target": 101}, "deployments.speller.target"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message) -> None:
    content = {
        "studios": {"training": {"name": "toy-training"}},
        "deployments": {"speller": {**DEPLOYMENT, **changes}},
    }
    with pytest.raises(SettingsError) as error:
        parse_config(content)
    assert message in str(error.value)
    assert "hush" not in str(error.value)
