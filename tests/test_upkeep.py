"""What a forge shows and does beside the code: release notes, the citation, forms for issues, the CI matrix."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from release_notes import release_notes

from spelling_transfer import __version__

ROOT = Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
_CHANGES = """# Changes

## 0.2.0 (unreleased)

- One thing that takes
  two lines.
- Another.

## 0.1.0

- The first.

## 0.0.1
"""


def test_notes_are_those_of_one_version_and_the_newest_by_default() -> None:
    assert release_notes(_CHANGES) == "- One thing that takes two lines.\n- Another.\n"
    assert release_notes(_CHANGES, "0.1.0") == "- The first.\n"


def test_a_version_that_is_not_there_or_says_nothing_is_named() -> None:
    with pytest.raises(ValueError, match=r"no version '9'\. Known: 0\.2\.0, 0\.1\.0, 0\.0\.1"):
        release_notes(_CHANGES, "9")
    with pytest.raises(ValueError, match=r"says nothing about version 0\.0\.1"):
        release_notes(_CHANGES, "0.0.1")


def test_the_version_of_the_package_has_notes() -> None:
    text = release_notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)
    assert all(line.startswith("- ") for line in text.splitlines())


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)
    assert citation["version"] == __version__


@pytest.mark.parametrize("form", [form for form in FORMS if form.name != "config.yml"], ids=lambda form: form.name)
def test_a_form_has_what_the_forge_asks_for(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_matrix_covers_what_the_package_supports_and_runs_what_is_run_by_hand() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    checks = workflow["jobs"]["checks"]
    matrix = checks["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert {each["os"] for each in matrix["include"]} == {"macos-latest"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w/-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    programs = [word for step in steps for word in step.get("run", "").split() if word.startswith((".ci/", "scripts/"))]
    assert programs == [".ci/run", "scripts/test_lowest"]
    assert all(os.access(ROOT / program, os.X_OK) for program in programs)
    # What `.ci/run` may install as root alone is there before: the forge's users are none.
    needed = {"postgresql", "prometheus"}
    asked = re.findall(r"install_system_package (\w+)", (ROOT / ".ci/run").read_text(encoding="utf-8"))
    assert set(asked) - {"chromium", "python3"} == needed
    for command in ("apt-get install", "brew install"):
        (run,) = [step["run"] for step in checks["steps"] if command in step.get("run", "")]
        assert needed <= {word.split("@")[0] for word in run.split()}
