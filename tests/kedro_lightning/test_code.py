"""The code on its way to a machine: the same files, no secret, a script that cannot run for ever."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.framework.cli.utils import _split_params

from kedro_lightning.code import PACKAGES_FILE, differences, make_bundle, package_versions, pushed_commit
from kedro_lightning.command import NodeRun, Source, job_script, kedro_run, parameter_list
from kedro_lightning.config import CodeSettings
from kedro_lightning.errors import PreflightError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "src/toy/nodes.py": "x = 1\n", "conf/base/parameters.yml": "n: 1\n",
        "pyproject.toml": "[project]\nname='toy'\n",
        "conf/local/credentials.yml": "secret", "conf/base/credentials_dev.yml": "secret", "src/.env": "secret",
        "src/toy/__pycache__/nodes.pyc": "x", "data/in/words.txt": "berry\n", "data/out/large.bin": "x",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def names(content: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return set(archive.getnames())


def test_a_bundle_holds_code_and_input_data_and_no_secret(project: Path) -> None:
    bundle = make_bundle(project, CodeSettings(), ["data/in"])
    assert names(bundle.content) == {
        "src/toy/nodes.py", "conf/base/parameters.yml", "pyproject.toml", "data/in/words.txt", PACKAGES_FILE,
    }  # fmt: skip
    assert b"secret" not in bundle.content


def test_the_code_of_the_project_is_all_there_and_its_credentials_are_not() -> None:
    packed = names(make_bundle(ROOT, CodeSettings()).content)
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert code - packed == set()
    assert "conf/base/compute.yml" in packed
    assert not [name for name in packed if name.startswith("conf/local/")]


def test_the_same_files_are_the_same_bundle_and_another_line_is_another(project: Path) -> None:
    first = make_bundle(project, CodeSettings())
    (project / "src/toy/nodes.py").touch()
    assert make_bundle(project, CodeSettings()) == first
    (project / "src/toy/nodes.py").write_text("x = 2\n")
    assert make_bundle(project, CodeSettings()).sha256 != first.sha256


def test_what_git_ignores_stays_at_home(project: Path) -> None:
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    (project / ".gitignore").write_text("notes.txt\n")
    (project / "src/notes.txt").write_text("private")
    assert "src/notes.txt" not in names(make_bundle(project, CodeSettings()).content)


def git(project: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.test"]
    subprocess.run(["git", "-C", str(project), *identity, *arguments], check=True, capture_output=True)


def test_a_commit_must_be_all_there_is_and_be_pushed(project: Path, tmp_path_factory) -> None:
    remote = tmp_path_factory.mktemp("remote")
    with pytest.raises(PreflightError, match="no git repository"):
        pushed_commit(project)
    git(project, "init", "-q")
    git(remote, "init", "-q", "--bare")
    git(project, "remote", "add", "origin", str(remote))
    git(project, "add", "src")
    git(project, "commit", "-q", "-m", "one")
    with pytest.raises(PreflightError, match="not committed"):
        pushed_commit(project)
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "two")
    with pytest.raises(PreflightError, match="not pushed"):
        pushed_commit(project)
    git(project, "push", "-q", "origin", "HEAD:main")
    assert pushed_commit(project)[0] == str(remote)
    git(project, "remote", "set-url", "origin", "https://user:password@example.test/x.git")
    with pytest.raises(PreflightError) as caught:
        pushed_commit(project)
    assert "password@" not in str(caught.value)


def test_other_packages_are_named() -> None:
    here = package_versions("spelling-transfer")
    assert "kedro" in here
    assert "+" not in here["torch"]
    assert differences(here, "spelling-transfer") == []
    assert differences({**here, "kedro": "0.1"}, "spelling-transfer") == [
        f"kedro: {here['kedro']} here, 0.1 where the run was started"
    ]


def test_a_job_unpacks_only_what_was_sent_and_ends_at_its_limit(project: Path, tmp_path: Path) -> None:
    bundle = make_bundle(project, CodeSettings())
    machine = tmp_path / "machine"
    (machine / bundle.place).parent.mkdir(parents=True)
    (machine / bundle.place).write_bytes(bundle.content)
    script = job_script(["cat", "src/toy/nodes.py"], Source(bundle), {"data/out": str(tmp_path / "mount")}, 60, "job")

    def run() -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(machine)}
        return subprocess.run(
            ["bash", "-ec", script], cwd=machine, env=environment, capture_output=True, text=True, check=False
        )

    done = run()
    assert done.stdout.splitlines() == ["x = 1", "kedro-compute: exit 0"], done.stderr
    assert (machine / ".kedro-compute/work/job/data/out").resolve() == (tmp_path / "mount").resolve()
    assert "timeout --kill-after=60 60 cat" in script
    (machine / bundle.place).write_bytes(bundle.content[:-1] + b"x")
    assert run().returncode != 0  # not what was sent


def test_a_run_elsewhere_has_the_same_environment_and_parameters() -> None:
    command = kedro_run(NodeRun("id", ("a.b", "a.c"), "qwen3_4b", {"study": {"n_trials": 2}, "on": True}, "x.Runner"))
    assert command == [
        "kedro", "run", "--nodes=a.b,a.c", "--runner=x.Runner", "--env=qwen3_4b", "--params=study.n_trials=2,on=true",
    ]  # fmt: skip


_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}  # mean something in YAML
_values = st.one_of(
    st.integers(-1000, 1000), st.booleans(), st.none(), st.floats(-1e3, 1e3).map(lambda x: round(x, 3)),
    st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(lambda text: text not in _WORDS),
)  # fmt: skip
_BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other work may have the processor
_keys = st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True)


@_BUSY
@given(
    st.recursive(
        st.dictionaries(_keys, _values, min_size=1, max_size=3),
        lambda inner: st.dictionaries(_keys, inner, min_size=1, max_size=3),
        max_leaves=6,
    )
)
def test_parameters_are_read_back_as_they_were(params: dict) -> None:
    assert _split_params(None, None, ",".join(parameter_list(params))) == params


@pytest.mark.parametrize("value", [[1, 2], "a,b", "a\nb"])
def test_a_value_that_would_not_come_back_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^a\.b$"):
        parameter_list({"a": {"b": value}})


def test_the_list_of_packages_is_in_every_bundle(project: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(make_bundle(project, CodeSettings()).content)) as archive:
        member = archive.extractfile(PACKAGES_FILE)
        assert member is not None
        assert json.loads(member.read()) == {}  # the toy is not installed


def test_a_machine_of_several_that_was_not_told_its_number_ends_at_once(project: Path, tmp_path: Path) -> None:
    bundle = make_bundle(project, CodeSettings())
    (tmp_path / bundle.place).parent.mkdir(parents=True)
    (tmp_path / bundle.place).write_bytes(bundle.content)
    script = job_script(["printenv", "KEDRO_COMPUTE_MACHINES", "LOCAL_RANK"], Source(bundle), {}, 60, "job", machines=2)

    def run(**told: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **told}
        return subprocess.run(
            ["bash", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    untold = run()
    assert untold.returncode != 0
    assert "NODE_RANK: is not set by the platform" in untold.stderr
    assert run(NODE_RANK="1", MASTER_ADDR="10.0.0.1").stdout.splitlines()[:2] == ["2", "0"]
