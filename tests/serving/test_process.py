"""Starting and stopping: whatever happens, nothing is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from spelling_transfer.models.folder import ModelFolder, ModelFolderError, write_manifest
from spelling_transfer.serving.process import EndpointError, can_bind, running_endpoint

from .conftest import MakeDeployable, patient_endpoint

ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def group_of(leader: int) -> list[psutil.Process]:
    return [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]


def test_an_endpoint_that_will_not_end_is_killed_and_the_report_says_so(deployable: ModelFolder) -> None:
    with patient_endpoint(deployable, stop_timeout_seconds=0.3, environment=ENVIRONMENT) as endpoint:
        members = group_of(endpoint.process.pid)
        assert len(members) == 2
        assert endpoint.memory_mib() > 50
        for member in members:
            member.send_signal(signal.SIGSTOP)  # it hears nothing any more
    assert endpoint.stop_report is not None
    assert endpoint.stop_report.killed
    assert not endpoint.stop_report.clean
    assert endpoint.stop_report.n_processes_left == 0
    assert not psutil.wait_procs(members, timeout=5)[1]
    assert can_bind(endpoint.listen)


def test_an_endpoint_does_not_outlive_a_killed_run(deployable: ModelFolder, tmp_path: Path) -> None:
    script = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from spelling_transfer.models.folder import ModelFolder\n"
        "from spelling_transfer.serving.process import running_endpoint\n"
        "folder = ModelFolder(Path(sys.argv[1]))\n"
        "with running_endpoint(folder, start_timeout_seconds=600, accelerator='cpu') as endpoint:\n"
        "    print(endpoint.process.pid, endpoint.url, flush=True)\n"
        "    threading.Event().wait()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(deployable.path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    assert run.stdout is not None
    leader, url = run.stdout.readline().split()
    members = group_of(int(leader))
    assert httpx.get(f"{url}/health", trust_env=False, timeout=60).status_code == 200
    run.kill()
    run.communicate()
    left = psutil.wait_procs(members, timeout=60)[1]
    assert [member for member in left if member.status() != psutil.STATUS_ZOMBIE] == []


def test_an_endpoint_that_cannot_load_its_model_says_why(make_deployable: MakeDeployable, tmp_path: Path) -> None:
    broken = make_deployable(tmp_path / "broken")
    notes = {name: value for name, value in broken.manifest().items() if name != "files"}
    write_manifest(broken.path, {**notes, "tokenizer_sha256": "0" * 64})
    with (
        pytest.raises(EndpointError, match="the tokenizer is not the one") as caught,
        patient_endpoint(broken),
    ):
        pytest.fail("an endpoint without its tokenizer must not start")
    assert str(broken.path) in str(caught.value)
    assert "The end of its log" in str(caught.value)


def test_a_slow_start_is_given_up(deployable: ModelFolder) -> None:
    with (
        pytest.raises(EndpointError, match=r"did not answer within 0\.01 s.*start_timeout_seconds"),
        running_endpoint(deployable, start_timeout_seconds=0.01),
    ):
        pytest.fail("nothing starts that fast")


def test_an_altered_folder_is_refused_before_anything_starts(make_deployable: MakeDeployable, tmp_path: Path) -> None:
    altered = make_deployable(tmp_path / "altered")
    with (altered.path / "model.safetensors").open("ab") as weights:
        weights.write(b"x")
    with pytest.raises(ModelFolderError, match=r"model\.safetensors"), running_endpoint(altered):
        pytest.fail("an altered model must not be served")
