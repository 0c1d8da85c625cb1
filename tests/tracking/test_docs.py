"""What docs/tracking.md says is what there is."""

import re
import shlex
from pathlib import Path

import pytest

from spelling_transfer.commands.tune import tune
from spelling_transfer.tracking.rows import history, summary
from spelling_transfer.tracking.runs import TrackingSettings

from .studies import study, trial

DOCUMENT = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text()
COMMANDS = sorted(set(re.findall(r"kedro tune ([^`\n#]+)", DOCUMENT)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_kedro_tune_takes(command: str) -> None:
    arguments = shlex.split(command.replace("NAME", "name"))
    if not arguments[0].startswith("-"):
        subcommand = tune.commands[arguments[0]]
        assert subcommand.make_context(arguments[0], arguments[1:] or ["name"]).params["name"]
    else:
        assert tune.make_context("tune", arguments).params["mode"] in ("bayes", "sweep")


def test_every_setting_and_every_group_of_metrics_is_there() -> None:
    assert COMMANDS
    assert all(f"| `{name}` |" in DOCUMENT for name in TrackingSettings.model_fields)
    one = trial(0)
    logged = {name for row in history(study(one), one) for name in row.values} | set(summary(study(one), one))
    named = {name for name in logged if "/" in name and not name.startswith("train/") and not name.endswith("gain")}
    assert named
    assert [name for name in named if f"`{name}`" not in DOCUMENT] == []
