"""Layers of settings: the later one wins, and every value remembers its place."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spelling_transfer.configuration.layers import Layer, Setting, leaves, merge, nest, overlay, place_of

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple)
LAYERS = st.dictionaries(PATHS, st.integers(), max_size=6).map(
    lambda values: {
        path: Setting(value, "x")
        for path, value in values.items()
        # A value and a group of the same name are not in one file.
        if not any(path != other and path == other[: len(path)] for other in values)
    }
)


@settings(max_examples=50)
@given(LAYERS, LAYERS)
def test_the_later_layer_wins_and_the_rest_stays(below: Layer, above: Layer) -> None:
    both = overlay(below, above)
    assert {path: both[path] for path in above} == above
    for path in both.keys() - above.keys():
        assert both[path] == below[path]
    assert leaves(nest(both)) == {path: each.value for path, each in both.items()}


def layer(content: dict[str, Any], place: str) -> Layer:
    """Returns the settings of nested groups."""
    return {path: Setting(value, place) for path, value in leaves(content).items()}


def test_the_place_of_what_is_missing_is_the_last_that_said_anything_of_its_group() -> None:
    both = merge([layer({"a": {"b": 1, "c": [1, 2]}}, "first"), layer({"a": {"b": 2}}, "second")])
    assert place_of(both, ("a", "c", 1)) == "first"
    assert place_of(both, ("a", "missing")) == place_of(both, ("a", "b")) == "second"
    assert not place_of(both, ("other", "b"))
