"""Every document: its links lead somewhere, its Python runs, its commands have their options, its figures a source.

Commands are run by the tests of their pages: tutorial (test_first_run), how to (test_wheel), and each test_docs.
"""

from __future__ import annotations

import json
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


def test_every_column_has_a_heading() -> None:
    headings = re.compile(r"^(\|.*\|)\n\|[-:| ]+\|$", re.MULTILINE)
    found = {document.name: headings.findall(document.read_text(encoding="utf-8")) for document in DOCUMENTS}
    assert sum(map(len, found.values())) > 30
    assert [(name, line) for name, lines in found.items() for line in lines if re.search(r"\| *\|", line)] == []


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


_SOURCE = re.compile(r"\b20\d\d-\d\d-\d\d\b|benchmarks/results/\w+\.json")


def without_source(text: str) -> list[str]:
    """Returns the sections that name a benchmark's script, and neither a committed result nor a date."""
    prose = re.sub(r"```.*?```", lambda block: block[0].replace("\n#", "\n "), text, flags=re.DOTALL)
    sections = re.split(r"^(?=#+ )", prose, flags=re.MULTILINE)
    return [
        part.splitlines()[0] for part in sections if re.search(r"benchmarks/\w+\.py", part) and not _SOURCE.search(part)
    ]


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=name_of)
def test_what_a_benchmark_measured_is_in_a_file_or_has_its_date(document: Path) -> None:
    assert without_source(document.read_text(encoding="utf-8")) == []


def test_a_figure_without_a_source_is_found() -> None:
    named = "## Speed\n```bash\n# two cores\npython benchmarks/training.py\n```\n7.4 a second\n"
    assert without_source(f"# A page\n2026-11-22\n{named}## Other\n2026-11-22\n") == ["## Speed"]
    assert without_source(f"{named}On 2026-11-22, two cores.\n") == []


def study_answer(page: str) -> str:
    """Returns the gain in position of the study with three seeds, as a page says it."""
    found = re.search(r"position:?,? \+([\d.]+) points", page)
    assert found is not None
    return found[1]


def test_the_readme_says_what_was_measured() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    timed = json.loads((ROOT / "benchmarks/results/busy.json").read_text())
    idle, busy = (sum(part[f"{load} seconds"] for part in timed) / 60 for load in ("idle", "busy"))
    assert f"take {idle:.1f} minutes on two idle cores, and {busy:.1f} beside another process" in readme
    card = (ROOT / "data/01_raw/models/tiny-qwen3/README.md").read_text(encoding="utf-8")
    scores = {name: float(score) for name, score in re.findall(r"^\| ([a-z ]+) \| ([\d.]+) \|", card, re.MULTILINE)}
    assert (
        f"at least {int(100 * min(scores[f'plain {what}'] for what in ('spelling', 'place', 'count')))}% right"
        in readme
    )
    in_chat = ", ".join(f"{scores[task]:.0%} ({task})" for task in ("spelling", "position"))
    assert f"{in_chat} and {scores['count']:.0%} (count)" in readme


def test_every_page_has_the_answer_of_the_study() -> None:
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/tuning_results.md")]
    assert study_answer(pages[0]) == study_answer(pages[1])
    tutorial = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    assert f"With three seeds the first number is +{study_answer(pages[1])} points" in tutorial
