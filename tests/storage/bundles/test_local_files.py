"""What a bundle takes of a folder, and the names that can travel."""

from __future__ import annotations

import contextlib
import io
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.storage.bundles import local_files
from spelling_transfer.storage.bundles.local_files import (
    RECORD,
    STAGING,
    check_name,
    file_facts,
    scan_folder,
)
from spelling_transfer.storage.errors import BundleError


@pytest.mark.parametrize(
    "name",
    ["../up", "a/../../up", "/etc/passwd", "C:/x", "a//b", "./a", "a/", "a\\b", "a\nb", "a\x00", " a", "a.",
     "e\u0301", RECORD, RECORD.upper(), f"{STAGING}/x", "x" * 241, "/".join(["x" * 200] * 5), "a\u202eb"],
)  # fmt: skip
def test_names_that_lead_out_or_cannot_be_kept_are_refused(name: str):
    with pytest.raises(BundleError, match="the name"):
        check_name(name, "somewhere")


@given(st.text(max_size=40))
def test_a_name_that_is_allowed_stays_below_its_root(name: str):
    try:
        check_name(name, "somewhere")
    except BundleError:
        return
    assert Path(os.path.normpath(Path("/root") / name)).is_relative_to("/root/")
    assert Path("/root") / name != Path("/root")


@given(st.from_regex(local_files._PLAIN, fullmatch=True))
def test_the_short_way_allows_no_name_that_the_long_way_refuses(name: str):
    assert local_files._problem_of_name(name) is None


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_links_that_lead_nowhere_are_refused(source: Path, target: str):
    (source / "link").symlink_to(target)
    with pytest.raises(BundleError, match=f"a link to {target}, which leads nowhere"):
        scan_folder(source)


def test_what_a_macs_finder_leaves_does_not_travel(source: Path):
    before = scan_folder(source).files
    (source / ".DS_Store").touch()
    assert scan_folder(source).files == before


def test_names_that_a_mac_would_merge_are_refused(source: Path):
    (source / "Readme").touch()
    (source / "README").touch()
    with pytest.raises(BundleError, match="differ in case alone"):
        scan_folder(source)


def _litter(kind: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(place.parent):  # its name may not be long
            server.bind(place.name)
    else:
        place.symlink_to({"outside": "/etc/hostname", "nowhere": "gone", "folder": place.parent, "loop": place}[kind])


LITTER = ["outside", "nowhere", "folder", "loop", "fifo", "socket"]


@pytest.mark.parametrize("kind", LITTER)
def test_what_cannot_travel_is_refused_where_it_is_needed_and_its_advice_helps(source: Path, kind: str):
    _litter(kind, source / "07_model_output/wandb/latest")
    with pytest.raises(BundleError, match=r"latest: (a link to|neither a file nor a folder).*--exclude"):
        scan_folder(source)
    whole = scan_folder(source, exclude=["*/wandb/*"])
    assert len(whole.files) == 7
    assert whole.left_out == []
    assert [file.name for file in scan_folder(source, include=["03_primary/*"]).files] == ["03_primary/words.parquet"]


@pytest.mark.parametrize("kind", LITTER)
def test_what_cannot_travel_and_is_not_needed_is_left_out_and_named(source: Path, kind: str):
    _litter(kind, source / "07_model_output/wandb/latest")
    scan = scan_folder(source, is_needed=lambda path: "wandb" not in path.parts)
    assert len(scan.files) == 7
    assert [line.partition(": ")[0] for line in scan.left_out] == ["07_model_output/wandb/latest"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_refused_and_can_be_left_out(source: Path):
    (source / "hidden").mkdir(mode=0)
    with pytest.raises(BundleError, match="hidden: a folder that you may not read"):
        scan_folder(source)
    assert len(scan_folder(source, exclude=["hidden/*"]).files) == 7


def test_facts_of_a_file_that_comes_as_a_stream(tmp_path: Path):
    class Stream(io.BufferedReader):
        def seek(self, *_: int) -> int:
            raise ValueError("Cannot seek streaming HTTP file")

    filesystem = SimpleNamespace(open=lambda *_: Stream(io.BytesIO(b"abc")))
    assert file_facts("https://host/abc", filesystem=filesystem)["size_bytes"] == 3


def test_facts_of_a_missing_file_are_an_error(tmp_path: Path):
    with pytest.raises(OSError, match="none"):
        file_facts(str(tmp_path / "none.txt"))
