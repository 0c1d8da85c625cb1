"""What ``import spelling_transfer as st`` gives: cheap to import, documented, every example of docs/api.md works."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spelling_transfer as st

DOCUMENT = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```pycon\n(.*?)```", DOCUMENT, re.DOTALL | re.MULTILINE))


def test_every_name_is_there_and_in_the_document() -> None:
    assert dir(st) == sorted(st.__all__)
    assert all(callable(getattr(st, name)) for name in st.__all__)
    table = DOCUMENT[: DOCUMENT.index("## ")]
    assert {name for name in re.findall(r"`(\w+)`", table) if name != "__all__"} == set(st.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing_like_this'"):
        st.nothing_like_this  # noqa: B018


def test_the_import_brings_nothing_along() -> None:
    code = (
        "import sys, spelling_transfer; "
        "print([name for name in ('pandas', 'numpy', 'torch', 'kedro', 'pydantic') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_gives_what_it_shows(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no project around it
    example = doctest.DocTestParser().get_doctest(EXAMPLES[heading], {}, heading, "docs/api.md", 0)
    written: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(example, out=written.append)
    assert not runner.failures, "".join(written)


def test_every_section_has_one() -> None:
    assert list(EXAMPLES) == re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE)
