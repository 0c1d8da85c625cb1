"""What the commands share: the project is found from below, its environment chosen, a document whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spelling_transfer.commands.project import config_loader, enter_project, print_json, project_folder, write_document

if TYPE_CHECKING:
    from tests.conftest import ToyProject


def test_the_project_is_found_from_below_and_outside_any_it_is_the_current_folder(
    toy_project: ToyProject, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy_project.path / "conf" / "base")
    assert project_folder() == toy_project.path
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert project_folder() == elsewhere


def test_the_environment_is_the_one_given_then_the_variables_then_the_projects(
    toy_project: ToyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = enter_project()
    lengths = []
    for variable, given in ((None, None), ("big", None), ("local", "big")):
        monkeypatch.setenv("KEDRO_ENV", variable) if variable else monkeypatch.delenv("KEDRO_ENV", raising=False)
        lengths.append(config_loader(project, given)["parameters"]["selection"]["max_length"])
    assert lengths == [8, 10, 10]
    given = config_loader(project, "big", {"selection": {"max_length": 3}})
    assert given["parameters"]["selection"]["max_length"] == 3


def test_a_document_is_written_from_the_projects_folder_or_where_its_path_says(tmp_path: Path) -> None:
    assert write_document(tmp_path, Path("docs/new.md"), "text\n").read_text() == "text\n"
    assert write_document(tmp_path / "other", tmp_path / "here.md", "more\n") == tmp_path / "here.md"


def test_a_missing_number_is_null_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"low": float("nan"), "high": float("inf"), "n": 3, "at": Path("data")}])
    said = capsys.readouterr().out
    assert json.loads(said) == [{"low": None, "high": None, "n": 3, "at": "data"}]
    assert "NaN" not in said
