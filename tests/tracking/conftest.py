"""A W&B server on loopback, and nobody, or somebody, who is signed in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spelling_transfer.tracking import runs, sweep, watch

from .fake_wandb import FakeWandb, fake_wandb

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def files_of_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What wandb writes goes to the test's folder, not to this checkout's."""
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody is signed in, and wandb finds no settings of this machine."""
    home = tmp_path_factory.mktemp("home")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(home / ".netrc" if name == "NETRC" else home))


@pytest.fixture
def server(nobody: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    """A server, and somebody who is signed in."""
    import wandb

    wandb.teardown()  # its settings are read once, and name the server of an earlier test
    with fake_wandb() as fake:
        monkeypatch.setenv("WANDB_BASE_URL", fake.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        for module in (runs, sweep, watch):
            monkeypatch.setattr(module, "NETWORK_SECONDS", 90.0)  # a busy machine is no failure
        yield fake
        fake.silent.clear()
        wandb.teardown()
