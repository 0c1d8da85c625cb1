"""The packages of a run, compared between machines."""

from __future__ import annotations

import json
from pathlib import Path

from kedro_lightning.packages import PACKAGES_FILE, differences, differences_from_the_run, package_versions

ROOT = Path(__file__).parents[2]


def test_other_packages_are_named(tmp_path: Path) -> None:
    here = package_versions(ROOT)
    assert "kedro" in here
    assert "+" not in here["torch"]
    assert differences(here, here) == []
    assert differences({**here, "kedro": "0.1"}, here) == [f"kedro: 0.1 there, {here['kedro']} here"]
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert differences_from_the_run(tmp_path) == []  # nothing says what the run has
    (tmp_path / PACKAGES_FILE).parent.mkdir()
    (tmp_path / PACKAGES_FILE).write_text(json.dumps({**here, "kedro": "0.1"}))
    assert differences_from_the_run(tmp_path) == [f"kedro: {here['kedro']} here, 0.1 where the run was started"]


def test_a_project_that_is_not_installed_has_no_packages_to_compare(tmp_path: Path) -> None:
    assert package_versions(tmp_path) == {}
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'no-such-distribution'\n")
    assert package_versions(tmp_path) == {}
