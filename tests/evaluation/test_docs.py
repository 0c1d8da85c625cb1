"""The page on evaluation: its worked examples give what it shows."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from spelling_transfer.evaluation.errors import KINDS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
EXAMPLES = re.findall(r"```pycon\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_a_worked_example_gives_what_it_shows(number: int) -> None:
    example = doctest.DocTestParser().get_doctest(EXAMPLES[number], {}, f"example {number}", "docs/evaluation.md", 0)
    written: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example, out=written.append)
    assert not runner.failures, "".join(written)


def test_every_kind_of_error_is_explained() -> None:
    section = DOCUMENT.split("## Errors\n")[1].split("\n## ")[0]
    assert set(KINDS) <= set(re.findall(r"`([^`]+)`", section))
