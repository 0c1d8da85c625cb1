"""`code.mode: git`: a job runs the commit that is checked out here, from the repository it was pushed to."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.kedro_lightning.conftest import git

_IGNORED = "data/\n.viz/\nhooks.jsonl\nconf/local/\n__pycache__/\n"


@pytest.fixture
def pushed(toy, tmp_path: Path):
    """The toy as a repository that was pushed to a bare one; it goes by the name of an installed distribution."""
    toy.edit("conf/base/compute.yml", ("", "code: {mode: git}\n"))
    toy.edit("pyproject.toml", ('name = "toy"\n[', 'name = "spelling-transfer"\n['))
    toy.write(".gitignore", _IGNORED)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    git(toy.path, "init", "-q", "-b", "main")
    git(toy.path, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(toy.path, "add", "-A")
    git(toy.path, "commit", "-q", "-m", "toy")
    git(toy.path, "push", "-q", "-u", "origin", "main")
    return toy


def test_a_job_works_in_the_commit_and_with_the_packages_of_the_run(pushed) -> None:
    commit = git(pushed.path, "rev-parse", "HEAD")
    done = pushed.run("--params=n=4")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((pushed.shared / "r.json").read_text())["r"] == 10
    works = [Path(job["_folder"]) / ".kedro-compute/work" for job in pushed.platform.jobs]
    copies = [folder for work in works for folder in work.iterdir()]
    assert [git(folder, "rev-parse", "HEAD") for folder in copies] == [commit, commit]
    packages = [json.loads((folder / ".kedro-compute/packages.json").read_text()) for folder in copies]
    assert packages[0] == packages[1]
    assert "kedro" in packages[0]
    assert not [place for place in pushed.platform.world.blobs if "bundles" in place]
    (state,) = (pushed.path / ".kedro-compute/runs").glob("*.json")
    assert json.loads(state.read_text())["code"] == f"git:{commit}"


def test_prices_that_a_plan_keeps_are_no_change_that_is_not_committed(pushed, invoke) -> None:
    assert invoke("plan").exit_code == 0
    assert (pushed.path / ".kedro-compute/prices.json").is_file()
    assert git(pushed.path, "status", "--porcelain") == ""


def test_a_machine_with_other_packages_does_nothing_and_names_them(pushed, tmp_path: Path) -> None:
    other = tmp_path / "machine" / "pandas-0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: pandas\nVersion: 0.1\n")
    pushed.platform.world.extra_env["PYTHONPATH"] = str(other.parent)
    done = pushed.run()
    assert done.returncode == 1
    assert "pandas: 0.1 here" in done.stderr
    assert not (pushed.shared / "starts.txt").exists()
    assert pushed.platform.running == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda toy: toy.write("src/toy/extra.py", "x = 1\n"), "changes that are not committed"),
        (lambda toy: git(toy.path, "commit", "-q", "--allow-empty", "-m", "not pushed"), "is not pushed to"),
        (
            lambda toy: toy.write(
                "conf/local/compute.yml", "data: {bundled: [data/shared], mounts: {data/shared: $SHARED}}\n"
            ),
            "files that git ignores",
        ),
    ],
)
def test_what_the_machine_would_not_get_is_refused(pushed, change, reason: str) -> None:
    (pushed.shared / "given.txt").write_text("x")
    change(pushed)
    done = pushed.run()
    assert done.returncode == 1
    assert reason in " ".join((done.stdout + done.stderr).split())
    assert pushed.platform.jobs == []
    assert pushed.platform.world.blobs == {}
