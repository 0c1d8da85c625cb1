"""Which nodes go together to one machine, and which datasets cross machines."""

from __future__ import annotations

import json

import pytest
from kedro.pipeline import Pipeline, node, pipeline

from kedro_lightning.config import ComputeConfig
from kedro_lightning.errors import SettingsError
from kedro_lightning.node_jobs import datasets_across, kedro_run, make_node_jobs, params_variable, parents_outside
from kedro_lightning.variables import PARAMS_VARIABLE


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
    units = make_node_jobs(chain((), ("gpu",), ("gpu",), ()), config())
    assert [(unit.name, unit.tier, unit.nodes) for unit in units] == [("b", "t4", ("b",)), ("c", "t4", ("c",))]


def test_a_group_is_one_job_that_waits_for_all_it_needs() -> None:
    steps = chain((), ("gpu", "group-x"), ("gpu", "group-x"), ())
    (unit,) = make_node_jobs(steps, config())
    assert unit.nodes == ("b", "c")
    assert parents_outside(steps, unit) == {"a"}
    assert datasets_across(steps, unit) == (["bb"], ["dd"])


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
        make_node_jobs(chain(*tags), config())
    for part in parts:
        assert part in str(caught.value)


def test_a_node_without_a_studio_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"a have no Studio.*Tasks: other"):
        make_node_jobs(chain(("gpu",)), config(studios={"other": {"name": "other", "nodes": ["z.*"]}}))


def test_a_node_may_have_a_tier_of_its_own_or_stay_here() -> None:
    steps = chain(("gpu",), ("gpu",), ())
    settings = config(nodes={"a": {"tier": "a100"}, "c": {"tier": "a100"}})
    assert [(unit.name, unit.tier) for unit in make_node_jobs(steps, settings)] == [("a", "a100"), ("b", "t4")]
    assert [unit.name for unit in make_node_jobs(steps, settings, here=["a"])] == ["b"]
    with pytest.raises(ValueError, match=r"nodes\.a\.tier: there is no tier 'h100'"):
        config(nodes={"a": {"tier": "h100"}})


def test_a_run_elsewhere_has_the_same_environment_and_parameters() -> None:
    command = kedro_run(("a.b", "a.c"), "big")
    assert command[:4] == ["kedro", "run", "--nodes=a.b,a.c", "--runner=kedro_lightning.runner.JobRunner"]
    assert command[-1] == "--env=big"
    params = {"study": {"n_trials": 2, "space": [1, "a,b"]}, "on": True, "none": None, "line": "a\nb"}
    assert json.loads(params_variable(params)[PARAMS_VARIABLE]) == params
    assert params_variable({}) == {}


@pytest.mark.parametrize("value", [(1, 2), {1}, float("nan"), object()])
def test_a_value_that_would_not_come_back_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^a\.b$"):
        params_variable({"a": {"b": value}})
