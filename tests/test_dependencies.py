"""The page on dependencies and pyproject.toml say the same."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def test_each_dependency_has_a_reason_and_a_licence_and_no_other_is_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    rows = re.findall(r"^\| ([\w.-]+) \| (.{5,}) \| (.{3,}) \|$", page, re.MULTILINE)
    assert {name for name, _, _ in rows} - {"package"} == {Requirement(line).name for line in lines}
