"""What a command shows is ours: other libraries' warnings are not, unless they are asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_LIBRARY = """
    import logging
    import warnings


    def work():
        warnings.warn("theirs: old-fashioned", FutureWarning)
        logging.getLogger("talkative").warning("theirs: logged")
        logging.getLogger("kedro_viz.somewhere").warning("theirs: of the graph")
    """
_NODES = """
    import logging

    import talkative


    def speak() -> dict:
        talkative.work()
        logging.getLogger("spelling_transfer.somewhere").info("ours: logged")
        logging.getLogger("talkative").error("theirs: an error")
        return {"words": 2}
    """
_PIPELINE = """
    from kedro.pipeline import node, pipeline

    from toy import nodes


    def register_pipelines():
        both = pipeline([node(nodes.speak, None, "counts", name="speak")])
        return {"report": both, "__default__": both}
    """


@pytest.fixture
def project(toy_project):
    toy_project.write("src/talkative.py", _LIBRARY)
    toy_project.write("src/toy/nodes.py", _NODES)
    toy_project.write("src/toy/pipeline_registry.py", _PIPELINE)
    toy_project.write("conf/base/parameters/prep.yml", "")
    shutil.copy(ROOT / "conf" / "logging.yml", toy_project.path / "conf")
    shutil.copy(ROOT / ".kedro.yml", toy_project.path)
    return toy_project


def said(project, *arguments: str, **environment: str) -> str:
    """Returns what a command prints on standard error, as a process of its own."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("kedro")), *arguments],
        cwd=project.path, capture_output=True, text=True, env={**variables, **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_part_of_a_run_says_what_we_say_and_what_has_failed(project):
    assert said(project, "run", "--pipelines=report").splitlines() == ["INFO: ours: logged", "ERROR: theirs: an error"]


def test_verbose_brings_the_others_back(project):
    text = said(project, "run", "--pipelines=report", "--verbose")
    for each in ("theirs: old-fashioned", "theirs: logged", "theirs: of the graph", "ours: logged"):
        assert each in text


def test_who_asks_python_for_warnings_gets_them(project):
    assert "theirs: old-fashioned" in said(project, "run", PYTHONWARNINGS="default")


def test_the_help_has_no_stray_lines(project):
    text = subprocess.run(
        [str(Path(sys.executable).with_name("kedro")), "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "\n  Commands of the" not in text
    assert max(map(len, text.splitlines())) <= 80
