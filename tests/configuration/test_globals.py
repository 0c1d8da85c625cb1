"""Globals are checked before anything is read or written by them."""

import pytest

from spelling_transfer.configuration import ConfigurationError
from spelling_transfer.configuration.globals import check_globals


def check(**content):
    return check_globals(content, lambda: {"own"}, lambda _: "conf/base/globals.yml")


@pytest.mark.parametrize("value", [None, "", " ", 5, True, ["a"], {"a": 1}, "$NOT_SET/x", "~no-such-user/x", "a\nb"])
@pytest.mark.parametrize("name", ["storage_root", "models_root", "studies_root"])
def test_a_root_that_is_no_place_is_refused_by_name_value_and_file(name, value, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigurationError) as error:
        check(**{name: value})
    assert name in str(error.value)
    assert repr(value) in str(error.value)
    assert "conf/base/globals.yml" in str(error.value)


def test_home_and_variables_are_filled_in_and_urls_are_left(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    roots = {"storage_root": "~/spell", "models_root": "$HOME/models", "studies_root": "${HOME}/studies"}
    filled = {name: f"/home/somebody/{name}" for name in ("spell", "models", "studies")}
    assert list(check(**roots).values()) == list(filled.values())
    assert check(storage_root="s3://bucket/study")["storage_root"] == "s3://bucket/study"


@pytest.mark.parametrize("value", [None, 5, "", "..", "a/b", "~x"])
def test_a_model_profile_is_a_name(value):
    with pytest.raises(ConfigurationError, match="model_profile"):
        check(model_profile=value)


def test_an_unknown_name_is_refused_unless_a_file_asks_for_it():
    assert check(own=3) == {"own": 3}
    with pytest.raises(ConfigurationError, match=r"storage_rot: unknown .*Known: storage_root"):
        check(storage_rot="data")
