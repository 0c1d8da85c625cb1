"""Files and folders are there whole or not at all, whatever ends the writer, with the modes of the user's umask."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from spelling_transfer.files import (
    copy_folder,
    is_name,
    replace_folder,
    whole_file,
    whole_folder,
    write_bytes,
    write_text,
)

WRITE_HALF = """
import sys
from pathlib import Path
from spelling_transfer.files import whole_file, whole_folder
kind, target = sys.argv[1:]
with (whole_file if kind == "file" else whole_folder)(Path(target)) as partial:
    (partial if kind == "file" else partial / "a").write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def content(path: Path) -> object:
    if path.is_file():
        return path.read_text()
    return {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(params=["file", "folder"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A target that is there already."""
    target = tmp_path / "target"
    if request.param == "file":
        target.write_text("old")
    else:
        target.mkdir()
        (target / "old").write_text("old")
    return target


def writing(target: Path, *, replace: bool = True) -> AbstractContextManager[Path]:
    return (whole_file if target.is_file() else whole_folder)(target, replace=replace)


def fill(partial: Path, text: str = "new") -> None:
    file = partial / "new" if partial.is_dir() else partial
    file.write_text(text)


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    before = os.umask(0o022)

    def set_mask(mask: int) -> None:
        os.umask(mask)

    yield set_mask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_modes_are_those_of_the_umask(tmp_path: Path, umask: Callable[[int], None], mask: int):
    umask(mask)
    write_text(tmp_path / "deep" / "text", "a")
    write_bytes(tmp_path / "bytes", b"a", replace=False)
    with whole_file(tmp_path / "file") as partial:
        partial.write_text("a")
    with whole_file(tmp_path / "weights") as partial:  # safetensors makes files that are its user's alone
        save_file({"w": np.zeros(1)}, partial)
    with whole_file(tmp_path / "temporary") as partial:
        Path(tempfile.mkstemp(dir=tmp_path)[1]).replace(partial)
    with whole_folder(tmp_path / "folder") as work:
        (work / "inner").mkdir()
        (work / "inner" / "file").write_text("a")
        save_file({"w": np.zeros(1)}, work / "inner" / "weights")
    found = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    folders = {"deep", "folder", "folder/inner"}
    expected = {name: (0o777 if name in folders else 0o666) & ~mask for name in found}
    assert found == expected
    assert len(found) == 10


def test_the_new_one_replaces_the_old_and_nothing_else_is_left(old: Path):
    with writing(old) as partial:
        fill(partial)
        assert content(old) != content(partial)
    assert content(old) in ("new", {"new": "new"})
    assert list(old.parent.iterdir()) == [old]


def test_what_a_killed_process_left_of_a_folder_goes_when_it_is_a_day_old(tmp_path: Path):
    begun, old, other = (tmp_path / f".{name}.partial" for name in ("model.1", "model.2", "model2.3"))
    for folder in (begun, old, other):
        folder.mkdir()
        (folder / "weights").write_text("some")
    for folder in (old, other):
        os.utime(folder, (0, 0))
    with whole_folder(tmp_path / "model") as work:
        fill(work)
    assert sorted(path.name for path in tmp_path.iterdir()) == [begun.name, other.name, "model"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_the_old_one(old: Path, error: type[BaseException]):
    before = content(old)

    def stop(partial: Path) -> None:
        fill(partial, "half")
        raise error

    with pytest.raises(error), writing(old) as partial:
        stop(partial)
    assert content(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_a_writer_that_is_killed_leaves_the_old_one_and_the_next_one_writes(old: Path):
    before = content(old)
    child = subprocess.Popen(
        [sys.executable, "-c", WRITE_HALF, "file" if old.is_file() else "folder", str(old)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.kill()
    child.communicate()
    assert content(old) == before
    assert all(path == old or path.name.startswith(".") for path in old.parent.iterdir())
    with writing(old) as partial:
        fill(partial)
    assert content(old) in ("new", {"new": "new"})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_leaves_the_old_one(old: Path):
    before = content(old)

    def write(partial: Path) -> None:
        file = partial / "new" if partial.is_dir() else partial
        file.symlink_to("/dev/full")
        file.write_bytes(bytes(1 << 20))

    with pytest.raises(OSError, match="No space left") as caught, writing(old) as partial:
        write(partial)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(old))
    assert content(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_what_must_be_new_replaces_nothing(old: Path):
    before = content(old)
    with pytest.raises(FileExistsError), writing(old, replace=False) as partial:
        fill(partial)
    assert content(old) == before
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_what_must_be_new_is_written_where_a_file_has_one_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
):
    def refuse(*_: object, **__: object) -> None:  # as memory sticks and some shares do
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", refuse)
    write_bytes(tmp_path / "new", b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_bytes(tmp_path / "new", b"second", replace=False)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("new", b"first")]
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match=os.strerror(reason)):
        write_bytes(tmp_path / "other", b"third", replace=False)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path: Path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "nowhere", tmp_path / "target")
    assert content(tmp_path) == {"target/old": "old"}


@pytest.mark.parametrize("times", [1, 2, 3])
def test_of_two_writers_of_a_folder_the_last_one_wins_and_nothing_hidden_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
):
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    original, left = Path.replace, [times]

    def replace(self: Path, other: Path) -> Path:
        if self == source and left[0]:
            left[0] -= 1
            other.mkdir()
            (other / "name").write_text("other")
        return original(self, other)

    monkeypatch.setattr(Path, "replace", replace)
    if times < 3:
        replace_folder(source, target)
        assert content(tmp_path) == {"target/name": "source"}
    else:
        with pytest.raises(OSError, match="not empty"):
            replace_folder(source, target)
        assert content(tmp_path) == {"source/name": "source", "target/name": "other"}


def test_a_folder_that_another_writer_has_just_moved_aside_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    original = Path.replace

    def replace(self: Path, other: Path) -> Path:
        if self == target:
            original(self, tmp_path / "aside")
        return original(self, other)

    monkeypatch.setattr(Path, "replace", replace)
    replace_folder(source, target)
    assert content(tmp_path) == {"target/name": "source", "aside/name": "target"}


def test_line_breaks_stay_as_they_are(tmp_path: Path):
    write_text(tmp_path / "text", "a\r\nb\n")
    assert (tmp_path / "text").read_bytes() == b"a\r\nb\n"


NO_NAMES = [
    "",
    ".",
    "..",
    "...",
    "a/b",
    "../a",
    "/a",
    "a\\b",
    ".a",
    "a.",
    "-a",
    " a",
    "a ",
    "a\n",
    "a\x00b",
    "~",
    "$a",
    "C:",
    "x" * 101,
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_leads_elsewhere_names_no_file(name: str):
    assert not is_name(name)


@pytest.mark.parametrize("name", ["a", "_", "7", "a.b", "spelling_transfer_exp", "r-8", "größe", "a..b"])
def test_what_stays_in_its_folder_is_a_name(name: str, tmp_path: Path):
    assert is_name(name)
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()


def test_a_folder_is_copied_with_what_its_links_lead_to(tmp_path: Path):
    for name in ("source/inner", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.txt").write_text(name)
    (tmp_path / "source/link").symlink_to(tmp_path / "elsewhere")
    copy_folder(tmp_path / "source", tmp_path / "target")
    assert {file.relative_to(tmp_path / "target").as_posix() for file in (tmp_path / "target").rglob("*.txt")} == {
        "inner/a.txt",
        "link/a.txt",
    }
    assert not (tmp_path / "target/link").is_symlink()
    assert (tmp_path / "target/link/a.txt").read_text() == "elsewhere"


def test_a_folder_that_cannot_be_read_is_not_copied_as_an_empty_one(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        copy_folder(tmp_path / "nothing", tmp_path / "target")
