"""The code on its way to a machine: the same files, no secret, a script that cannot run for ever."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from tests.kedro_lightning.conftest import git

from kedro_lightning.code import make_bundle, pushed_commit
from kedro_lightning.config import CodeSettings
from kedro_lightning.errors import PreflightError
from kedro_lightning.packages import PACKAGES_FILE

ROOT = Path(__file__).parents[2]


def names(content: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return set(archive.getnames())


def test_a_bundle_holds_code_and_input_data_and_no_secret(source_project: Path) -> None:
    bundle = make_bundle(source_project, CodeSettings(), ["data/in"])
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


def test_the_same_files_are_the_same_bundle_and_another_line_is_another(source_project: Path) -> None:
    first = make_bundle(source_project, CodeSettings())
    (source_project / "src/toy/nodes.py").touch()
    assert make_bundle(source_project, CodeSettings()) == first
    (source_project / "src/toy/nodes.py").write_text("x = 2\n")
    assert make_bundle(source_project, CodeSettings()).sha256 != first.sha256


def test_what_git_ignores_stays_at_home(source_project: Path) -> None:
    git(source_project, "init", "-q")
    (source_project / ".gitignore").write_text("notes.txt\n")
    (source_project / "src/notes.txt").write_text("private")
    assert "src/notes.txt" not in names(make_bundle(source_project, CodeSettings()).content)


def test_data_that_are_to_travel_do_so_though_git_ignores_them_or_they_are_links(
    source_project: Path, tmp_path_factory
) -> None:
    git(source_project, "init", "-q")
    (source_project / ".gitignore").write_text("/data/**\n")
    (source_project / "data/in/linked.txt").symlink_to(source_project / "data/in/words.txt")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "model.bin").write_text("x")
    (source_project / "data/in/models").symlink_to(elsewhere)
    (source_project / "src/linked.py").symlink_to(source_project / "src/toy/nodes.py")
    packed = names(make_bundle(source_project, CodeSettings(), ["data/in"]).content)
    assert {
        "data/in/words.txt",
        "data/in/linked.txt",
        "data/in/models/model.bin",
    } <= packed  # a job would fail on a machine that was rented
    assert "src/linked.py" not in packed


def test_a_commit_must_be_all_there_is_and_be_pushed(source_project: Path, tmp_path_factory) -> None:
    remote = tmp_path_factory.mktemp("remote")
    with pytest.raises(PreflightError, match="no git repository"):
        pushed_commit(source_project)
    git(source_project, "init", "-q")
    git(remote, "init", "-q", "--bare")
    git(source_project, "remote", "add", "origin", str(remote))
    git(source_project, "add", "src")
    git(source_project, "commit", "-q", "-m", "one")
    with pytest.raises(PreflightError, match="not committed"):
        pushed_commit(source_project)
    git(source_project, "add", "-A")
    git(source_project, "commit", "-q", "-m", "two")
    with pytest.raises(PreflightError, match="not pushed"):
        pushed_commit(source_project)
    git(source_project, "push", "-q", "origin", "HEAD:main")
    assert pushed_commit(source_project)[0] == str(remote)
    for secret in ("user:password@", "password@"):
        git(source_project, "remote", "set-url", "origin", f"https://{secret}example.test/x.git")
        with pytest.raises(PreflightError) as caught:
            pushed_commit(source_project)
        assert "password@" not in str(caught.value)
    git(source_project, "remote", "set-url", "origin", "ssh://git@example.test/x.git")
    assert pushed_commit(source_project)[0] == "ssh://git@example.test/x.git"


def test_the_list_of_packages_is_in_every_bundle(source_project: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(make_bundle(source_project, CodeSettings()).content)) as archive:
        member = archive.extractfile(PACKAGES_FILE)
        assert member is not None
        assert json.loads(member.read()) == {}  # the toy is not installed
