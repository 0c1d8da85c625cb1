"""Which datasets may cross machines, and what is said of those that may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import pipeline
from tests.kedro_lightning.test_node_jobs import config, step

from kedro_lightning.config import DataPlace
from kedro_lightning.errors import PreflightError
from kedro_lightning.node_jobs import make_node_jobs
from kedro_lightning.places import check_places


def entry(path: str, **more) -> dict:
    return {"type": "json.JSONDataset", "filepath": path, **more}


def check(entries: dict, data: DataPlace, project: Path) -> None:
    steps = pipeline([step("a", "given", "made", "gpu"), step("b", "made", "end")])
    catalog = DataCatalog.from_config(entries)
    check_places(steps, make_node_jobs(steps, config()), catalog, config(data=data), project)


def test_data_on_a_shared_store_or_a_mount_may_cross(tmp_path: Path) -> None:
    entries = {"given": entry("s3://data/given.json"), "made": entry(str(tmp_path / "data/made.json"))}
    check(entries, DataPlace(mounts={"data": "/mnt/data"}), tmp_path)


def test_what_is_only_read_may_travel_with_the_code(tmp_path: Path) -> None:
    entries = {"given": entry(str(tmp_path / "data/in/x.json")), "made": entry("s3://data/made.json")}
    check(entries, DataPlace(bundled=("data/in",)), tmp_path)
    with pytest.raises(PreflightError, match=r"made: .*made by a"):
        check(
            {**entries, "made": entry(str(tmp_path / "data/in/made.json"))}, DataPlace(bundled=("data/in",)), tmp_path
        )


def test_a_folder_to_work_in_is_each_machines_own(tmp_path: Path) -> None:
    entries = {"given": entry(str(tmp_path / "data/work/x.json")), "made": entry("s3://data/made.json")}
    check(entries, DataPlace(scratch=("data/work",)), tmp_path)


def test_configuration_travels_with_the_code_and_an_installed_file_has_no_place(tmp_path: Path) -> None:
    made = entry("s3://data/made.json")
    check({"given": entry(str(tmp_path / "conf/base/rules.json")), "made": made}, DataPlace(), tmp_path)
    tokenizer = {"type": "spelling_transfer.storage.ChatTokenizerDataset", "folder": None}
    check({"given": tokenizer, "made": made}, DataPlace(), tmp_path)


@pytest.mark.parametrize(
    ("entries", "parts"),
    [
        ({"given": entry("s3://data/x.json")}, ["made: it is kept in memory alone", "[made by a]"]),
        (
            {"given": entry("data/x.json"), "made": entry("s3://data/y.json")},
            ["[read by a]", "given: data/x.json is a file of this machine", "data.bundled"],
        ),
        (
            {"given": entry("s3://data/x.json"), "made": entry("s3://data/y.json", versioned=True)},
            ["[made by a]", "versioned"],
        ),
        (
            {"given": entry("memory://x.json"), "made": entry("s3://data/y.json")},
            ["[read by a]", "memory://", "not among data.shared"],
        ),
    ],
)
def test_what_cannot_cross_is_named_with_its_reason(entries: dict, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as caught:
        check(entries, DataPlace(), tmp_path)
    for part in parts:
        assert part in str(caught.value)
