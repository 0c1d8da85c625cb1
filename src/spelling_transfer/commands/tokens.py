"""``kedro tokens``: what the tokenizer does to English words, as a whole or in parts."""

from __future__ import annotations

import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import (
    enter_project,
    json_option,
    load_catalog,
    print_json,
    run_pipeline,
    write_document,
)
from spelling_transfer.files import from_here

_PIPELINE, _PREPARATION = "token_analysis", "local_prep"
_DOCUMENT = "docs/qwen3_token_analysis.md"

_REPORTS = {
    "vocabulary": "vocabulary_stats",
    "english": "english_stats",
    "coverage": "subset_coverage",
    "words": "word_stats",
    "template": "template_cost",
    "probe": "letter_probe",
}
"""What is printed, by its name in the JSON, and the dataset that holds it."""

_ENGLISH = ("vocabulary", "english", "coverage")
_TEMPLATE = ("template",)


@click.command("tokens", context_settings=CONTEXT_SETTINGS)
@click.option("--english-only", is_flag=True, help="Only the English subset: its rules, its size, what it covers.")
@click.option(
    "--analyze-thinking", is_flag=True, help="Only the cost of the chat template: renders both modes and counts tokens."
)
@click.option("--word", "words", multiple=True, metavar="WORD", help="Only show this word in tokens; may be repeated.")
@click.option(
    "--docs",
    is_flag=False,
    flag_value=_DOCUMENT,
    default=None,
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Also write the findings as a document.  [if given without a value: {_DOCUMENT}]",
)
@json_option
@env_option
def tokens(
    english_only: bool,
    analyze_thinking: bool,
    words: tuple[str, ...],
    docs: Path | None,
    as_json: bool,
    env: str | None,
) -> None:
    """Analyse the tokenizer: vocabulary, English subset, words in tokens, template.

    Without options everything is analysed and a page with a search box is written. Words and examples are prepared
    first where no run has made them yet. Nothing is ever generated.

    \b
    Examples:
      kedro tokens
      kedro tokens --english-only --analyze-thinking
      kedro tokens --word=strawberry --word=bookkeeper --json
      kedro tokens --docs
    """  # noqa: D301
    parts = (*(_ENGLISH if english_only else ()), *(_TEMPLATE if analyze_thinking else ()))
    if words and (parts or docs):
        raise click.UsageError("--word cannot be combined with other options: it only looks up words.")
    if docs and parts:
        raise click.UsageError("--docs needs the whole analysis: leave out --english-only and --analyze-thinking.")
    with one_clear_error(env=env):
        if words:
            _show_words(words, env, as_json)
            return
        reports = analyse(parts or tuple(_REPORTS), env, docs)
        if as_json:
            print_json(reports)
        else:
            _print(reports)


def analyse(parts: tuple[str, ...], env: str | None, document: Path | None = None) -> dict[str, Any]:
    """Runs the parts of the analysis that are asked for and returns what they found.

    Args:
        parts: Keys of the result: vocabulary, english, coverage, words, template, probe.
        env: The environment; ``None`` is Kedro's default.
        document: Where to write the findings as a document.

    Returns:
        What each part found; for the whole analysis also ``page``, where the page is.
    """
    from kedro.framework.project import pipelines

    from spelling_transfer.pages.run_results import location

    project = enter_project()
    catalog = load_catalog(env)
    whole = set(parts) == set(_REPORTS)
    pipeline = pipelines[_PIPELINE]
    chosen = pipeline if whole else pipeline.to_outputs(*(_REPORTS[part] for part in parts))
    prepared = pipelines[_PREPARATION].all_outputs()
    if not all(catalog[name].exists() for name in sorted(chosen.inputs() & prepared)):
        _run(project, env, _PREPARATION, [])
    _run(project, env, _PIPELINE, [] if whole else [node.name for node in chosen.nodes])
    catalog = load_catalog(env)  # anew, as datasets keep what they have read
    reports: dict[str, Any] = {part: catalog.load(_REPORTS[part]) for part in parts}
    if whole:
        reports["page"] = location(catalog["token_analysis_page"])
    if document is not None:
        reports["document"] = str(write_document(project, document, catalog.load("token_findings")))
    return reports


def _run(project: Path, env: str | None, pipeline: str, node_names: list[str]) -> None:
    from rich.console import Console

    what = "Preparing words and examples" if pipeline == _PREPARATION else "Analysing the tokenizer"
    # What a run says at its end is not this command's result.
    with Console(stderr=True).status(f"{what} …"), redirect_stdout(sys.stderr):
        run_pipeline(project, env, pipeline, nodes=node_names)


def _show_words(words: tuple[str, ...], env: str | None, as_json: bool) -> None:
    import pandas as pd

    from spelling_transfer.tokenizer.byte_level import decode_vocabulary
    from spelling_transfer.tokenizer.words import FORM_DESCRIPTIONS, LONGEST_WORD, analyse_words
    from spelling_transfer.words.word_list import clean_words

    kept, dropped = clean_words(words, min_length=1, max_length=LONGEST_WORD, name="--word")
    if dropped.counts:
        click.secho(f"Left out: {dropped}.", err=True, fg="yellow")
    tokenizer = load_catalog(env).load("tokenizer")
    vocabulary = decode_vocabulary(tokenizer.tokenizer)
    frame = pd.DataFrame({"word": kept, "zipf_frequency": 0.0, "length": [len(word) for word in kept]})
    table = analyse_words(frame, tokenizer, vocabulary)
    columns = [
        "word",
        "form",
        "text",
        "pieces",
        "ids",
        "n_tokens",
        "letters_in_several_tokens",
        "fewest_tokens",
        "ways",
    ]
    rows = table.sort_values("word", key=lambda names: names.map(kept.index), kind="stable")[columns].to_dict("records")
    rows = [{**row, "ids": row["ids"].tolist()} for row in rows]
    if as_json:
        print_json(rows)
        return
    shown = []
    for row in rows:
        ids = " ".join(map(str, row["ids"]))
        shown.append([f"“{row['text']}”", FORM_DESCRIPTIONS[row["form"]], row["n_tokens"], row["pieces"], ids])
    _print_table(["written", "form", "tokens", "cut as", "ids"], shown)


def _print(reports: dict[str, Any]) -> None:
    if "vocabulary" in reports:
        found = reports["vocabulary"]
        for statement in found["tokenizer"]["statements"]:
            click.echo(statement)
        names = {
            "base_tokens": "base tokens",
            "added_tokens": "added tokens",
            "valid_utf8": "valid UTF-8",
            "ascii": "pure ASCII",
            "letters": "letters, with or without a space in front",
            "letters_bare": "  without a space",
            "letters_spaced": "  after a space",
            "rows_without_token": f"rows without a token, of {found['embedding_rows']:,}",
        }
        _print_table(["vocabulary", "tokens"], [[text, found[name]] for name, text in names.items()])
        heuristic = found["raw_string_heuristic"]
        click.echo(
            "Looking for ASCII in the strings instead of the bytes, and leaving out those that begin with '<', would "
            f"lose {heuristic['lost']:,} tokens "
            f"({heuristic['lost_share']:.0%} of the ASCII ones).\n"
        )
    if "english" in reports:
        rows = [[row["rule"] + (" (in use)" if row["in_use"] else ""), row["tokens"]] for row in reports["english"]]
        _print_table(["rule", "tokens"], rows)
    if "coverage" in reports:
        _print_coverage(reports["coverage"], next(row["rule"] for row in reports["english"] if row["in_use"]))
    if "words" in reports:
        rows = [
            [
                row["form"],
                row["description"],
                row["words"],
                f"{row['mean_tokens']:.2f}",
                f"{row['single_token_share']:.1%}",
            ]
            for row in reports["words"]["forms"]
        ]
        _print_table(["form", "what it is", "words", "tokens a word", "a single token"], rows)
    if "template" in reports:
        cost = reports["template"]
        rows = [
            [name, cost[key]["mean_tokens"], cost[key]["min_tokens"], cost[key]["max_tokens"]]
            for key, name in (("non_thinking", "non-thinking, in use"), ("other_mode", "thinking, counted only"))
        ]
        _print_table(["template", "mean tokens", "least", "most"], rows)
        extra = ", ".join(f"{row['per_prompt']:g} × {row['text']!r} ({row['token_id']})" for row in cost["extra"])
        click.echo(f"{cost['extra_tokens']:g} tokens more in the non-thinking prompt: {extra or 'none'}.\n")
    if reports.get("probe"):
        rows = [
            [row["target"], *(f"{row[key]:.1%}" for key in ("score", "control", "gain"))]
            for row in reports["probe"]["targets"]
        ]
        _print_table([f"read from the embedding of {reports['probe']['model']}", "right", "control", "above"], rows)
    for name in ("page", "document"):
        if name in reports:
            click.echo(f"{name:<9} {from_here(reports[name])}")


def _print_coverage(coverage: dict[str, Any], rule: str) -> None:
    rows = [
        [row["corpus"], row["texts"], row["distinct"], row["missing"], f"{row['lost_texts_share']:.2%}"]
        for row in coverage["coverage"]
        if row["rule"] == rule
    ]
    _print_table([f"what {rule} covers", "texts", "different tokens", "missing", "texts with a missing one"], rows)
    for row in (row for row in coverage["savings"] if row["rule"] == rule):
        click.echo(
            f"{row['model']}, trimmed to it: {row['saved_mb']:,.0f} MB and {row['work_saved_share']:.1%} of the work "
            "for each generated token saved (computed from its shape)."
        )
    click.echo()


def _print_table(headings: list[str], rows: list[list[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        is_number = bool(rows) and isinstance(rows[0][place], (int, float))
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{value:,}" if isinstance(value, int) else str(value)) for value in row))
    # Where the output is no terminal, a narrow default width would only break the lines.
    width = None if Console().is_terminal else max(shutil.get_terminal_size().columns, 120)
    Console(highlight=False, width=width).print(table, "")
