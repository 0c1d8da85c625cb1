"""What the pages on Studios say is what there is; the scripts do what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from kedro_lightning.cli import compute
from kedro_lightning.config import (
    Budget,
    CodeSettings,
    ComputeConfig,
    DataPlace,
    DeploymentSettings,
    Environment,
    NodeHint,
    StudioSettings,
    Tier,
    TrialSettings,
)
from kedro_lightning.studio_setup import load_steps

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lightning_studio_setup.md").read_text()
MODELS = [ComputeConfig, Tier, Budget, Environment, StudioSettings, NodeHint, DataPlace, CodeSettings]
MODELS += [TrialSettings, DeploymentSettings]


def test_every_setting_is_on_the_page_and_described_in_the_code() -> None:
    names = {name for model in MODELS for name in model.model_fields}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []
    leaves = [field for model in MODELS[1:] for field in model.model_fields.values()]
    assert all(field.description for field in leaves)


def test_every_command_on_the_page_exists() -> None:
    commands = set(re.findall(r"kedro compute ([a-z]+(?: (?:create|list|switch|secrets|start|stop))?)", PAGE))
    assert {"plan", "status", "logs", "cost", "studios create", "studios switch"} <= commands
    for command in commands:
        shown = CliRunner().invoke(compute, [*command.split(), "--help"])
        assert shown.exit_code == 0, command


def test_every_step_of_the_set_up_is_on_the_page() -> None:
    for name in load_steps(Environment().plugins):
        assert f"| `{name}` |" in PAGE


def test_one_command_sets_up_all_studios(toy) -> None:
    (toy.path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup_studios", toy.path / "scripts")
    (toy.path / "conf" / "qwen3_4b").mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SHARED": str(toy.shared), "PYTHONPATH": ""}
    done = subprocess.run(
        [str(toy.path / "scripts/setup_studios")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "toy-training: as declared" in done.stdout
    assert "asleep" in done.stdout
    (studio,) = toy.platform.world.studios.values()
    assert any("monitor.py" in place for place in toy.platform.world.blobs)
    assert studio["_in_use"] is None
