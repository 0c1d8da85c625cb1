"""Settings of the tracking, and what is used of wandb."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from spelling_transfer.tracking import TrackingSettings
from spelling_transfer.tracking.runs import asked_mode, is_signed_in

PARAMETERS = Path(__file__).parents[2] / "conf" / "base" / "parameters" / "tracking.yml"


def test_the_shipped_settings_are_the_defaults() -> None:
    assert TrackingSettings(**yaml.safe_load(PARAMETERS.read_text())["tracking"]) == TrackingSettings()
    assert TrackingSettings().project == "llm-spelling-transfer-learning"


@pytest.mark.parametrize(
    "wrong",
    [
        *({"mode": "on"}, {"project": "a/b"}, {"project": ""}, {"entity": "a b"}, {"api_key": "x"}),
        *({"project": "x" * 129}, {"entity": "x" * 129}),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TrackingSettings(**wrong)


def test_a_key_is_found_where_wandb_keeps_it(nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.sdk.lib import wbauth

    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    assert not is_signed_in("https://wandb.example")
    netrc.write_text(f"machine wandb.example login user password {'0' * 40}\n")
    netrc.chmod(0o600)
    assert wbauth.read_netrc_auth(host="https://wandb.example") == "0" * 40
    assert is_signed_in("https://wandb.example")
    assert not is_signed_in("https://elsewhere.example")


def test_what_was_asked_of_wandb_itself_is_obeyed(
    nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    wandb.teardown()  # its settings are read once
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    (Path(os.environ["WANDB_CONFIG_DIR"]) / "settings").write_text("[default]\nmode = offline\n")  # `wandb offline`
    assert asked_mode(TrackingSettings()) == "offline"
    assert asked_mode(TrackingSettings(mode="online")) == "online"
    for variable, mode in {"online": "online", "dryrun": "offline", "disabled": "disabled"}.items():
        monkeypatch.setenv("WANDB_MODE", variable)
        assert asked_mode(TrackingSettings()) == mode
    wandb.teardown()


def test_nothing_heavy_is_imported_before_a_study_runs() -> None:
    code = (
        "import sys, spelling_transfer.tracking.watch; "
        "print([name for name in ('wandb', 'torch', 'optuna', 'sqlalchemy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
