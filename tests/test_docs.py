"""Every document: its links lead somewhere, its Python runs, and the commands it shows have the options it shows.

Commands are run by the tests of their pages: tutorial (test_first_run), how to (test_wheel), and each test_docs.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from kedro.framework.cli.cli import KedroCLI

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_KEDRO = re.compile(r"(?:^\s*(?:\$ )?|`|&& )(kedro [^`\n#|;&]+)", re.MULTILINE)


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


# Files of a project that `kedro new` makes are run in one by the tests of the plugins.
PYTHON = [
    (name_of(document), block)
    for document in DOCUMENTS
    for block in re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    if not block.startswith("# src/fresh/")
]


def commands_of(text: str) -> list[str]:
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"(?<!`)`kedro [^`]+`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [match for part in [*fenced, *inline] for match in _KEDRO.findall(part.replace("\\\n", " "))]
    return sorted({" ".join(match.split()) for match in found})


def anchors_of(document: Path) -> set[str]:
    """The names that headings get on the pages of a forge."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def kedro() -> click.Command:
    return KedroCLI(ROOT)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_its_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", document.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file = document.parent / target if target else document
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


@pytest.mark.parametrize(("name", "block"), PYTHON, ids=[name for name, _ in PYTHON])
def test_its_python_runs(name: str, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    defined: dict[str, object] = {}
    exec(compile(block, name, "exec"), defined)
    assert len(defined) > 1


def complaint(line: str, kedro: click.Command) -> str | None:
    """Returns what is wrong with a command line, without running it."""
    command, words = kedro, shlex.split(line)[1:]
    while words and re.match(r"[a-z]", words[0]) and hasattr(command, "get_command"):
        inner = command.get_command(click.Context(command), words[0])
        if inner is None:
            return f"{line}: no command {words[0]}"
        # What stands for a command until it is used gives the real one here.
        command = inner.make_context(words.pop(0), [], resilient_parsing=True).command
    parameters = command.get_params(click.Context(command))
    known = {option for each in parameters for option in [*each.opts, *each.secondary_opts]}
    options = {word.partition("=")[0].rstrip(".,:") for word in words if re.match(r"--?[a-z]", word)}
    return f"{line}: no option {', '.join(sorted(options - known))}" if options - known else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_its_commands_are_there_with_their_options(document: Path, kedro: click.Command) -> None:
    lines = commands_of(document.read_text(encoding="utf-8"))
    assert list(filter(None, (complaint(line, kedro) for line in lines))) == []


def test_commands_are_found_and_wrong_ones_are_named(kedro: click.Command) -> None:
    block = "```bash\npip install -e . && kedro run\nkedro tune \\\n  --trials 2  # few\n```\n"
    found = commands_of(f"See `kedro run --env=mac`.\n{block}")
    assert found == ["kedro run", "kedro run --env=mac", "kedro tune --trials 2"]
    assert complaint("kedro tune --trails 2", kedro) == "kedro tune --trails 2: no option --trails"
    assert complaint("kedro compute plain", kedro) == "kedro compute plain: no command plain"


def test_the_glossary_holds_twenty_terms_at_most_in_order() -> None:
    terms = re.findall(
        r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert terms == sorted(terms)
    assert 10 < len(terms) <= 20
