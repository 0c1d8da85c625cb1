"""The connection: who is signed in, and to which teamspace."""

from __future__ import annotations

import pytest

from kedro_lightning.errors import NotSignedInError, PreflightError
from kedro_lightning.platform.client import connect


def test_without_a_key_nothing_is_asked(platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_API_KEY")
    with pytest.raises(NotSignedInError, match="lightning login"):
        connect("acme/spelling")
    assert platform.world.log == []


@pytest.mark.parametrize("name", ["acme/other", "nobody/spelling"])
def test_an_unknown_teamspace_is_named_with_those_there_are(platform, name: str) -> None:
    with pytest.raises(PreflightError, match=rf"teamspace: '{name}' .*not one of yours.*spelling"):
        connect(name)


def test_no_teamspace_at_all_is_an_error(platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_TEAMSPACE")
    with pytest.raises(PreflightError, match="teamspace: not set"):
        connect(None)
