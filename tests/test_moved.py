"""Old names, in imports and in configurations, are answered with the new one."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from spelling_transfer.moved import MOVED, MovedError

if TYPE_CHECKING:
    from tests.conftest import ToyProject


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_the_new_name_is_there_and_the_old_one_is_not(old: str, new: str) -> None:
    assert find_spec(new) is not None
    with pytest.raises(MovedError, match=re.escape(f"it is {new} now.")):
        importlib.import_module(old)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("import spelling_transfer.compute.runner", "spelling_transfer.compute: .* it is kedro_lightning now"),
        ("from spelling_transfer import policy", "spelling_transfer.policy: .* it is kedro_non_thinking now"),
        ("from spelling_transfer.tasks.words import x", r"tasks\.words: .* it is spelling_transfer\.words now"),
        ("from spelling_transfer.reporting.page import x", r"reporting: .* it is spelling_transfer\.pages now"),
    ],
)
def test_an_import_of_an_old_name_fails_with_the_new_one(statement: str, message: str) -> None:
    with pytest.raises(ImportError, match=message):
        exec(statement)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("spelling_transfer.never_was")


OLD_RUNNER = "spelling_transfer.compute.runner.StudioRunner"


def test_a_runner_of_an_old_name(toy_project: ToyProject) -> None:
    toy_project.write(".kedro.yml", f"run: {{runner: {OLD_RUNNER}}}\n")
    result = toy_project.kedro("run")
    assert result.exit_code == 1
    assert ".kedro.yml: run.runner: " in result.stderr
    assert "it is kedro_lightning now" in result.stderr
    result = toy_project.kedro("run", f"--runner={OLD_RUNNER}")
    assert result.exit_code == 2
    assert "it is kedro_lightning now" in " ".join(result.stderr.split())


def test_a_catalog_entry_of_an_old_name(toy_project: ToyProject) -> None:
    toy_project.write(
        "conf/base/catalog/report.yml",
        "counts: {type: spelling_transfer.storage.stores.JSONDataset, filepath: data/counts.json}\n",
    )
    result = toy_project.kedro("run")
    assert result.exit_code == 1, result.output
    assert result.stderr.count("Error:") == 1
    assert "dataset 'counts'" in result.stderr
    assert result.stderr.count("it is spelling_transfer.storage now") == 1


def test_settings_of_a_project_that_import_an_old_name(toy_project: ToyProject) -> None:
    toy_project.write(
        "src/toy/settings.py",
        "from spelling_transfer.settings import *\nfrom spelling_transfer.policy.hook import policy_hook\n",
    )
    command = [sys.executable, "-m", "kedro", "run"]
    done = subprocess.run(command, cwd=toy_project.path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "spelling_transfer.policy: there is no such module any more; it is kedro_non_thinking now" in done.stderr
