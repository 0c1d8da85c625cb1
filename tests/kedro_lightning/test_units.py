"""Which nodes go together to one machine, and which datasets cross machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node, pipeline

from kedro_lightning.config import ComputeConfig, DataPlace
from kedro_lightning.errors import PreflightError, SettingsError
from kedro_lightning.places import check_places, crossing
from kedro_lightning.units import make_units, outside_needs


def config(**changes) -> ComputeConfig:
    return ComputeConfig.model_validate(
        {
            "tags": {"gpu": "t4", "big": "a100"},
            "tiers": {"t4": {"machines": ["T4"]}, "a100": {"machines": ["A100"]}},
            "studios": {"all": {"name": "all", "nodes": ["*"]}},
            **changes,
        }
    )


def step(name: str, inputs: str, outputs: str, *tags: str):
    return node(lambda x: x, inputs, outputs, name=name, tags=list(tags))


def chain(*tags: tuple[str, ...]) -> Pipeline:
    """a -> b -> c -> d, with the tags of each."""
    names = "abcde"
    return pipeline([step(names[i], names[i] * 2, names[i + 1] * 2, *tags[i]) for i in range(len(tags))])


def test_each_tagged_node_is_a_job_of_its_own() -> None:
    units = make_units(chain((), ("gpu",), ("gpu",), ()), config())
    assert [(unit.name, unit.tier, unit.nodes) for unit in units] == [("b", "t4", ("b",)), ("c", "t4", ("c",))]


def test_a_group_is_one_job_that_waits_for_all_it_needs() -> None:
    steps = chain((), ("gpu", "group-x"), ("gpu", "group-x"), ())
    (unit,) = make_units(steps, config())
    assert unit.nodes == ("b", "c")
    assert outside_needs(steps, unit) == {"a"}
    assert crossing(steps, unit) == (["bb"], ["dd"])


@pytest.mark.parametrize(
    ("tags", "parts"),
    [
        ((("gpu", "big"),), ["'a'", "2 tags", "big -> a100", "gpu -> t4"]),
        ((("gpu", "group-x"), (), ("gpu", "group-x")), ["'group-x'", "b would have to run in the middle"]),
        ((("gpu", "group-x"), ("big", "group-x")), ["'group-x'", "several tiers: a100, t4"]),
        ((("gpu", "group-x", "group-y"),), ["'a'", "2 groups: group-x, group-y"]),
    ],
)
def test_what_cannot_be_one_job_is_an_error(tags, parts: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        make_units(chain(*tags), config())
    for part in parts:
        assert part in str(caught.value)


def test_a_node_without_a_studio_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"a have no Studio.*Tasks: other"):
        make_units(chain(("gpu",)), config(studios={"other": {"name": "other", "nodes": ["z.*"]}}))


def entry(path: str, **more) -> dict:
    return {"type": "json.JSONDataset", "filepath": path, **more}


def check(entries: dict, data: DataPlace, project: Path) -> None:
    steps = pipeline([step("a", "given", "made", "gpu"), step("b", "made", "end")])
    catalog = DataCatalog.from_config(entries)
    check_places(steps, make_units(steps, config()), catalog, config(data=data), project)


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


def test_a_node_may_have_a_tier_of_its_own_or_stay_here() -> None:
    steps = chain(("gpu",), ("gpu",), ())
    settings = config(nodes={"a": {"tier": "a100"}, "c": {"tier": "a100"}})
    assert [(unit.name, unit.tier) for unit in make_units(steps, settings)] == [("a", "a100"), ("b", "t4")]
    assert [unit.name for unit in make_units(steps, settings, here=["a"])] == ["b"]
    with pytest.raises(ValueError, match=r"nodes\.a\.tier: there is no tier 'h100'"):
        config(nodes={"a": {"tier": "h100"}})
