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


@settings(deadline=None, max_examples=50)
@given(LAYERS, LAYERS)
def test_the_later_layer_wins_and_the_rest_stays(below: Layer, above: Layer) -> None:
    both = overlay(below, above)
    assert {path: both[path] for path in above} == above
    for path in both.keys() - above.keys():
        assert both[path] == below[path]
    assert leaves(nest(both)) == {path: each.value for path, each in both.items()}


def layer(content: dict[str, Any], place: str, extended: dict[str, Any] | None = None) -> Layer:
    """Returns the settings of nested groups; those of ``extended`` as if each group extended a file."""
    brought = {path: Setting(value, place, "", path[:1]) for path, value in leaves(extended or {}).items()}
    return brought | {path: Setting(value, place) for path, value in leaves(content).items()}


def test_a_search_space_is_replaced_whole() -> None:
    below = layer({"study": {"seed": 1, "space": {"a": 1, "b": 2}}}, "below")
    above = layer({"study": {"space": {"c": 3}}}, "above")
    assert nest(merge([below, above])) == {"study": {"seed": 1, "space": {"c": 3}}}
    assert nest(merge([below, layer({"study": {"space": {}}}, "above")])) == {"study": {"seed": 1, "space": {}}}


def test_what_is_extended_takes_the_place_of_what_was_extended_and_of_nothing_else() -> None:
    below = layer({"trial": {"seed": 1}}, "below", extended={"trial": {"r": 4, "alpha": 8}, "study": {"words": 5}})
    above = layer({"study": {"seed": 2}}, "above", extended={"trial": {"r": 16}})
    assert nest(merge([below, above])) == {"trial": {"seed": 1, "r": 16}, "study": {"words": 5, "seed": 2}}


def test_the_place_of_what_is_missing_is_the_last_that_said_anything_of_its_group() -> None:
    both = merge([layer({"a": {"b": 1, "c": [1, 2]}}, "first"), layer({"a": {"b": 2}}, "second")])
    assert place_of(both, ("a", "c", 1)) == "first"
    assert place_of(both, ("a", "missing")) == place_of(both, ("a", "b")) == "second"
    assert not place_of(both, ("other", "b"))
