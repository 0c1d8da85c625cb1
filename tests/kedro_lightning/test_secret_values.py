"""Secrets as files, pastes and other stores give them."""

import pytest

from kedro_lightning import clean_secret, clean_variables


@pytest.mark.parametrize("given", ["key", "key\n", "key\r\n", " key ", "\tkey\n\n", "\ufeffkey", "\u200bkey"])
def test_what_surrounds_a_secret_is_no_part_of_it(given: str) -> None:
    assert clean_secret(given) == "key"


def test_a_certificate_keeps_its_lines_and_its_end() -> None:
    text = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"  # some readers need the last line break
    assert clean_secret(text) == text


def test_variables_that_are_not_set_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("KEY_A", "a\n")
    monkeypatch.delenv("KEY_B", raising=False)
    clean_variables("KEY_A", "KEY_B")
    assert os.environ["KEY_A"] == "a"
    assert "KEY_B" not in os.environ
