"""Metrics of a served endpoint, the rules and the dashboard that read them, and the canary questions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner
from json_server import Answer, json_server
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from tests.serving.conftest import QUESTION, MakeDeployable, Serve, completion, patient_endpoint

from kedro_non_thinking import PolicyError, ask_endpoint
from spelling_transfer.commands.canary import canary
from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.canary import CanaryError, CanaryReport, ask_canaries
from spelling_transfer.serving.client import EndpointClient, LoadSettings
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.metrics import EndpointMetrics
from spelling_transfer.serving.outcome import Outcome
from spelling_transfer.serving.process import RunningEndpoint
from spelling_transfer.serving.settings import API_KEY_VARIABLE

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
NAME = re.compile(r"\bspelling_transfer_\w+")


def samples(text: str) -> dict[tuple[str, str], float]:
    """Returns the value of each series, by its name and the values of its labels."""
    return {
        (sample.name.removeprefix("spelling_transfer_"), " ".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(endpoint: RunningEndpoint, **headers: str) -> httpx.Response:
    return httpx.get(f"{endpoint.url}/metrics", headers=headers, trust_env=False, timeout=60)


def test_what_is_asked_is_counted(endpoint: RunningEndpoint, client: EndpointClient, deployable: ModelFolder) -> None:
    before = samples(read(endpoint).text)
    one = client.ask(QUESTION, seed=1, max_tokens=4)
    streamed = client.ask(QUESTION, seed=1, max_tokens=4, stream=True)
    assert (one.status, streamed.status) == (200, 200)
    assert client.ask(QUESTION, enable_thinking=True).status == 422
    assert client.ask(QUESTION, hush_hush=1).status == 400
    assert client.post({"a-secret-word": 1}, query="a-secret-value").status == 400
    response = read(endpoint)
    assert response.headers["content-type"].startswith("text/plain; version=")
    after = samples(response.text)

    def grown(name: str, labels: str = "") -> float:
        return after[name, labels] - before.get((name, labels), 0)

    assert grown("requests_total", "200") == 2
    assert grown("requests_total", "422") == 1
    assert grown("requests_total", "400") == 2
    assert grown("refusals_total", "non_thinking_only thinking-switch") == 1
    assert grown("answer_seconds_count") == 2
    assert 0 < grown("answer_seconds_sum") < 600
    assert grown("tokens_total", "prompt") == 2 * one.body["usage"]["prompt_tokens"]
    assert grown("tokens_total", "completion") == 2 * one.body["usage"]["completion_tokens"]
    assert after["waiting", ""] == 0
    assert after["waiting_limit", ""] == 128
    assert after["filtered_share", ""] == 0
    assert after["memory_bytes", ""] > endpoint.worker().memory_info().rss
    (info,) = [labels for name, labels in after if name == "model_info"]
    assert set(info.split()) == {"wants-to-think", read_card(deployable).fingerprint, "slots"}
    for secret in (QUESTION, "apple", "hush_hush", "a-secret-word", "a-secret-value"):
        assert secret not in response.text


def test_metrics_need_the_key_and_never_show_it(deployable: ModelFolder) -> None:
    key = "a-key-nobody-must-see"
    with patient_endpoint(deployable, environment={API_KEY_VARIABLE: key}) as endpoint:
        assert read(endpoint).status_code == 401
        with EndpointClient(endpoint.url, endpoint.model, api_key="wrong") as client:
            assert client.ask(QUESTION).status == 401
        response = read(endpoint, Authorization=f"Bearer {key}")
    assert samples(response.text)["refusals_total", "invalid_api_key "] == 1
    assert key not in response.text


def test_the_subset_is_named_and_its_share_is_counted(make_deployable: MakeDeployable, tmp_path: Path) -> None:
    folder = make_deployable(tmp_path / "deployable")
    token_ids = json.loads((folder.path / "token_ids.json").read_text())
    folder = make_deployable(tmp_path / "english", allowed_ids=[*token_ids[:10], 151_000])
    found = samples(EndpointMetrics(folder, read_card(folder), int).text().decode())
    assert found["filtered_share", ""] == pytest.approx(1 - 10 / len(token_ids))
    (info,) = [labels for name, labels in found if name == "model_info"]
    assert re.search(r"\b[0-9a-f]{12}\b", info.replace(read_card(folder).fingerprint, ""))


@pytest.fixture
def exported_names(deployable: ModelFolder, tmp_path: Path) -> set[str]:
    """The name of every series that the endpoint and the canary write."""
    metrics = EndpointMetrics(deployable, read_card(deployable), int)
    metrics.observe(Outcome("POST", "/v1/completions", 200, prompt_tokens=1, completion_tokens=1, seconds=0.1))
    metrics.observe(Outcome("POST", "/v1/completions", 422, "non_thinking_only", "soft-switch"))
    CanaryReport(1, (), same_model=True).write_metrics(tmp_path / "canary.prom")
    text = metrics.text().decode() + (tmp_path / "canary.prom").read_text()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def test_rules_and_dashboard_read_what_is_written(exported_names: set[str]) -> None:
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())
    alerts = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    shown = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(NAME.findall(alerts)) | set(NAME.findall(shown)) <= exported_names
    unseen = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in exported_names}
    assert unseen - {re.sub(r"_bucket$", "", name) for name in NAME.findall(shown)} <= {
        f"spelling_transfer_{name}" for name in ("requests", "refusals", "tokens")  # when each was first counted
    }  # fmt: skip


@pytest.mark.parametrize(
    "command",
    ["check rules docs/monitoring/rules.yml", "check config --syntax-only docs/monitoring/prometheus.yml",
     "test rules tests/serving/rules_test.yml"],
)  # fmt: skip
def test_promtool_finds_nothing_wrong_and_each_alert_comes_when_it_should(command: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(
        [promtool, *command.split()], cwd=MONITORING.parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test() -> None:
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())
    tests = yaml.safe_load(Path(__file__).with_name("rules_test.yml").read_text())["tests"]
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert alerts == {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}


def conformance_of(client: EndpointClient, fingerprint: str) -> dict[str, Any]:
    replies = [client.ask(QUESTION, seed=seed, return_token_ids=True) for seed in range(3)]
    answers = [{"question": QUESTION, "output": reply.text, "token_ids": reply.token_ids} for reply in replies]
    return {"model": "wants-to-think", "fingerprint": fingerprint, "answers": answers}


def test_an_endpoint_that_is_what_was_checked_shows_no_drift(
    endpoint: RunningEndpoint, client: EndpointClient, deployable: ModelFolder, tmp_path: Path
) -> None:
    conformance = conformance_of(client, read_card(deployable).fingerprint)
    (tmp_path / "conformance.json").write_text(json.dumps(conformance))
    arguments = ["--url", f"{endpoint.url}/v1/", "--conformance", str(tmp_path / "conformance.json")]
    result = CliRunner().invoke(canary, [*arguments, "--metrics-file", str(tmp_path / "canary.prom")])
    assert (result.exit_code, result.output) == (0, "3 of 3 answers are those of the check.\n")
    assert samples((tmp_path / "canary.prom").read_text())["canary_unchanged_share", ""] == 1
    nowhere = CliRunner().invoke(canary, [*arguments, "--metrics-file", str(tmp_path / "conformance.json" / "x.prom")])
    assert (nowhere.exit_code, "not what a deployment check writes" in nowhere.output) == (1, False)
    conformance["answers"][1]["token_ids"] = [1]
    (tmp_path / "conformance.json").write_text(json.dumps(conformance))
    drifted = CliRunner().invoke(canary, [*arguments, "--json"])
    assert drifted.exit_code == 1
    assert json.loads(drifted.output)["unchanged_share"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("status", [200, 401, 403, 404, 405, 429, 503])
def test_an_endpoint_that_is_busy_down_or_none_says_nothing_of_drift(served_by: Serve, status: int) -> None:
    before = [{"question": QUESTION, "output": "a", "token_ids": [1]}]
    client = served_by(lambda _: (status, {"error": {"message": "not now"}}))
    with pytest.raises(CanaryError, match="not now"):
        ask_canaries(client, {"fingerprint": "fp", "answers": before})


@pytest.mark.parametrize(
    ("answer", "changed", "same_model"),
    [
        (lambda _: completion("a", token_ids=[1], system_fingerprint="fp"), 0, True),
        (lambda _: completion("a", token_ids=[2], system_fingerprint="fp"), 1, True),
        (lambda _: completion("a", token_ids=[1], system_fingerprint="fp_other"), 0, False),
        (lambda _: (422, {"error": {"message": "not any more"}}), 1, True),
    ],
    ids=["same", "other answer", "other model", "refused"],
)
def test_what_counts_as_drift(served_by: Serve, answer: Answer, changed: int, same_model: bool) -> None:
    before = [{"question": QUESTION, "output": "a", "token_ids": [1]}]
    report = ask_canaries(served_by(answer), {"fingerprint": "fp", "answers": before})
    assert (len(report.changed), report.same_model) == (changed, same_model)
    assert report.unchanged_share == 1 - changed


def test_a_canary_waits_as_long_as_the_endpoint_says_and_knows_another_model_that_refuses_it(
    endpoint: RunningEndpoint,
) -> None:
    before = [{"question": QUESTION, "output": "a", "token_ids": [1]}]
    statuses, waits = iter([429, 200]), list[float]()

    def answer(_: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        status = next(statuses)
        return completion("a", token_ids=[1], system_fingerprint="fp") if status == 200 else (status, {})

    with json_server(answer, headers={"Retry-After": "7"}) as url, EndpointClient(url, "m") as client:
        report = ask_canaries(client, {"fingerprint": "fp", "answers": before}, waits.append)
    assert (waits, report.unchanged_share) == ([7.0], 1)
    with EndpointClient(endpoint.url, "another-model") as client:
        assert not ask_canaries(client, {"fingerprint": "fp", "answers": before}).same_model


def test_an_endpoint_elsewhere_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with json_server(lambda _: completion("a")) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        with EndpointClient("http://speller.invalid", "m") as client:
            assert client.ask(QUESTION).text == "a"


@pytest.mark.parametrize("clients", [[0], [1, -1], [101]])
def test_clients_that_cannot_ask_at_once_are_refused_before_anything_runs(clients: list[int]) -> None:
    with pytest.raises(ValidationError, match="clients"):
        LoadSettings.model_validate({"clients": clients})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not what a deployment check writes"),
        ('{"model": "m"}', "holds no answers"),
        ('{"model": "m", "answers": [{"question": "q", "token_ids": [], "output": ""}]}', "is the endpoint up"),
        ('{"model": "m"}', "is no address"),
    ],
)
def test_canaries_that_cannot_be_asked_are_one_clear_error(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "conformance.json"
    file.write_text(content)
    url = "http://127.0.0.1:9x" if message == "is no address" else "http://127.0.0.1:9"
    result = CliRunner().invoke(canary, ["--url", url, "--conformance", str(file)])
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "foo://x:1"), ("SSL_CERT_FILE", "/nowhere")])
def test_a_proxy_or_certificate_that_is_none_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SpellingTransferError, match=r"^https://endpoint\.test: cannot be asked with the proxy"):
        EndpointClient("https://endpoint.test", "m")
    with pytest.raises(PolicyError, match=r"^https://endpoint\.test: the endpoint cannot be reached"):
        ask_endpoint("https://endpoint.test", model="m")


def test_canaries_are_compared_with_the_engine_that_runs(endpoint: RunningEndpoint, client: EndpointClient) -> None:
    asked = [
        {
            "question": QUESTION,
            "output": "a",
            "token_ids": client.ask(QUESTION, seed=0, return_token_ids=True).token_ids,
        }
    ]
    other = [{**asked[0], "token_ids": [1]}]
    fingerprint = client.ask(QUESTION).body["system_fingerprint"]
    found = {"fingerprint": fingerprint, "answers": asked, "other_engines": {"vllm": {"answers": other}}}
    assert not ask_canaries(client, found).changed
    found = {"fingerprint": fingerprint, "answers": other, "other_engines": {"slots": {"answers": asked}}}
    assert not ask_canaries(client, found).changed
    with pytest.raises(CanaryError, match="holds no answers of the engine slots"):
        ask_canaries(client, {"fingerprint": fingerprint, "settings": {"engine": "vllm"}, "answers": other})
