"""``kedro serve``."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from click.testing import CliRunner
from free_ports import free_ports
from tests.serving.conftest import QUESTION

from spelling_transfer.commands.serve import serve
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.deployable import NotConformingError, read_card, require_conformance
from spelling_transfer.serving.faults import InFlight
from spelling_transfer.serving.process import can_bind
from spelling_transfer.serving.settings import API_KEY_VARIABLE, Engine, ListenSettings


@pytest.fixture
def free_port() -> int:
    return free_ports()[0]


@pytest.mark.parametrize(
    ("arguments", "key", "code", "message"),
    [
        (["--port", "80"], None, 2, "1024<=x<=65535"),
        (["--host", "example.org"], None, 2, "127.0.0.1"),
        (["--folder", "no/such/folder"], None, 1, "kedro run --pipelines=deployment_check"),
        (["--host", "0.0.0.0"], None, 1, API_KEY_VARIABLE),
        (["--host", "::"], None, 1, API_KEY_VARIABLE),
        ([], " ", 1, "is set but empty"),
        ([], "\n", 1, "is set but empty"),
        ([], "a-key\nand-more", 1, "that clients cannot send"),
        ([], "hush key", 1, "that clients cannot send"),
        ([], "a-kéy", 1, "that clients cannot send"),
        ([], "a-key\x7f", 1, "that clients cannot send"),
    ],
)
def test_misuse_ends_with_a_clear_error(arguments: list[str], key: str | None, code: int, message: str) -> None:
    result = CliRunner(env={API_KEY_VARIABLE: key}).invoke(serve, arguments)
    assert result.exit_code == code
    assert message in result.output
    assert not key or not key.strip() or key not in result.output


@pytest.mark.parametrize("closed", ["model.safetensors", "manifest.json", "config.json", "endpoint.json", "."])
def test_what_this_user_may_not_read_is_named(
    deployable: ModelFolder,
    shared_folder: Path,
    another_user: Callable[[], AbstractContextManager[None]],
    free_port: int,
    closed: str,
) -> None:
    folder = shared_folder / "deployable"
    shutil.copytree(deployable.path, folder)
    (folder / closed).chmod(0)
    arguments = ["--folder", str(folder), "--port", str(free_port), "--unchecked", "--conformance", "none.json"]
    with another_user(), contextlib.chdir(shared_folder):
        result = CliRunner().invoke(serve, arguments)
    (folder / closed).chmod(0o755)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "you may not read it" in result.output


def test_what_is_served_is_that_of_the_environment(copy_project: Callable[..., Any], tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    (project.path / "docs").mkdir()
    served = project.kedro_here("serve", "--env=standard", place="docs")
    assert f"{project.path}/data/standard/06_models/deployable: no such folder" in served.output
    assert "deployment_check --env=standard'" in served.output
    checked = project.kedro_here("canary", "--env=standard", place="docs")
    assert (
        f"{project.path}/data/standard/08_reporting/deployment_check/conformance.json: No such file" in checked.output
    )


def test_a_taken_port_is_named(deployable: ModelFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(serve, ["--folder", str(deployable.path), "--port", str(port), "--unchecked"])
    assert result.exit_code == 1
    assert f"port {port}" in result.output


def test_a_folder_that_is_no_deployable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"files": {}, "kind": "adapter"}')
    result = CliRunner().invoke(serve, ["--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "does not name a deployable" in result.output


def write_conformance(file: Path, deployable: ModelFolder, **other: Any) -> Path:
    checks = [{"id": "refuses/one", "passed": True}, {"id": "refuses/other", "passed": True}]
    found = {"obeys": True, "fingerprint": read_card(deployable).fingerprint, "checks": checks}
    file.write_text(json.dumps({**found, **other}))
    return file


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (None, "no such file"),
        ({"obeys": False, "checks": [{"id": "refuses/one", "passed": False}]}, "failed 1 checks (refuses/one)"),
        ({"checks": [{"id": "refuses/one", "passed": False}]}, "failed 1 checks (refuses/one)"),
        ({"obeys": False}, "failed 0 checks"),
        ({"fingerprint": "fp_of_another"}, "is about the deployable fp_of_another"),
        ({"checks": None}, "not what a deployment check writes"),
        ({"device": "cuda"}, "was checked on cuda, not on cpu"),
    ],
)
def test_what_was_not_found_to_obey_is_not_served_unless_told_to(
    deployable: ModelFolder, tmp_path: Path, other: dict[str, Any] | None, message: str
) -> None:
    conformance = tmp_path / "conformance.json"
    if other is not None:
        write_conformance(conformance, deployable, **other)
    arguments = ["--folder", str(deployable.path), "--conformance", str(conformance), "--accelerator", "cpu"]
    refused = CliRunner().invoke(serve, arguments)
    assert refused.exit_code == 1
    assert message in refused.output
    assert "kedro run --pipelines=deployment_check" in refused.output
    assert "Starting" not in refused.output
    with socket.create_server(("127.0.0.1", 0)) as taken:  # ends the command where it would have started
        told = CliRunner().invoke(serve, [*arguments, "--unchecked", "--port", str(taken.getsockname()[1])])
    assert f"Warning: {conformance}" in told.output
    assert "is taken" in told.output


ONE_FAILED: dict[str, Any] = {
    "obeys": False,
    "other_engines": {"vllm": {}},
    "checks": [{"id": "refuses/one", "passed": True}, {"id": "vllm/refuses/one", "passed": False}],
}
OURS_FAILED = {**ONE_FAILED, "checks": [{**check, "passed": not check["passed"]} for check in ONE_FAILED["checks"]]}


@pytest.mark.parametrize(
    ("engine", "found", "message"),
    [
        ("vllm", {}, r"was not checked with the engine vllm.*deployment_check\.engines"),
        ("vllm", {"other_engines": {"vllm": {}}}, None),
        ("vllm", ONE_FAILED, r"failed 1 checks \(vllm/refuses/one\)"),
        ("slots", ONE_FAILED, None),
        (None, ONE_FAILED, None),
        ("vllm", OURS_FAILED, None),
        (None, OURS_FAILED, r"failed 1 checks \(refuses/one\)"),
    ],
)
def test_an_engine_is_served_where_its_own_checks_passed(
    deployable: ModelFolder, tmp_path: Path, engine: Engine | None, found: dict[str, Any], message: str | None
) -> None:
    conformance = write_conformance(tmp_path / "conformance.json", deployable, **found)
    if message is None:
        assert require_conformance(deployable, conformance, "cpu", engine) == "cpu"
    else:
        with pytest.raises(NotConformingError, match=message):
            require_conformance(deployable, conformance, "cpu", engine)


def test_an_engine_that_was_not_checked_needs_to_be_asked_for(deployable: ModelFolder, tmp_path: Path) -> None:
    conformance = write_conformance(tmp_path / "conformance.json", deployable)
    arguments = ["--folder", str(deployable.path), "--conformance", str(conformance), "--engine", "vllm"]
    result = CliRunner().invoke(serve, arguments)
    assert result.exit_code == 1
    assert "deployment_check.engines" in result.output


def test_a_conformance_that_is_no_json_is_named(deployable: ModelFolder, tmp_path: Path) -> None:
    conformance = tmp_path / "conformance.json"
    conformance.write_text("{")
    result = CliRunner().invoke(serve, ["--folder", str(deployable.path), "--conformance", str(conformance)])
    assert result.exit_code == 1
    assert "not what a deployment check writes" in result.output


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])  # Ctrl+C, and what a service manager sends
def test_it_serves_with_a_key_and_ends_when_told_with_all_answers_given(
    deployable: ModelFolder, free_port: int, tmp_path: Path, sign: signal.Signals
) -> None:
    key, url = "a-key-nobody-must-see", f"http://127.0.0.1:{free_port}"
    command = "from spelling_transfer.commands.serve import serve; serve()"
    conformance = write_conformance(tmp_path.parent / f"{tmp_path.name}.json", deployable)
    options = ["--folder", str(deployable.path), "--port", str(free_port), "--accelerator", "cpu"]
    options += ["--conformance", str(conformance)]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, API_KEY_VARIABLE: f" {key}\r\n", "OMP_NUM_THREADS": "1"},  # as from a file
    )
    try:
        wait_until_healthy(url, process)
        members = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for sent in (None, "wrong", ""):
            with EndpointClient(url, "wants-to-think", api_key=sent) as client:
                for reply in (client.ask(QUESTION), client.get("/v1/models"), client.get("/info")):
                    assert reply.status == 401
                    assert reply.error["code"] == "invalid_api_key"
                    assert key not in str(reply.body)
        with EndpointClient(url, "wants-to-think", api_key=key) as client:
            assert client.ask(QUESTION).ok
            assert client.ask(QUESTION, enable_thinking=True).status == 422
            in_flight = InFlight(client, QUESTION)
            process.send_signal(sign)
            output, _ = process.communicate(timeout=120)
            check = in_flight.check()
            assert check.passed, check.evidence
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0
    assert "wants-to-think" in output
    assert "Stopped." in output
    assert "Traceback" not in output
    assert key not in output
    assert not psutil.wait_procs(members, timeout=5)[1]
    assert can_bind(ListenSettings(port=free_port))
    assert list(tmp_path.iterdir()) == []  # LitServe would leave a client.py


def wait_until_healthy(url: str, process: "subprocess.Popen[str]") -> None:
    with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=0), timeout=2.0) as client:
        for _ in range(10_000):
            assert process.poll() is None
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{url}/health").status_code == 200:
                    return
            psutil.wait_procs([psutil.Process(process.pid)], timeout=0.05)  # while it loads, 503 comes at once
    raise AssertionError("the endpoint did not start")
