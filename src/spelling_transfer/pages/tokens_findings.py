"""The findings as a document: its numbers are put in here, never typed."""

from __future__ import annotations

from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from spelling_transfer.pages.tokens_results import Results

_SHOWN = ("strawberry", "enough", "told", "june")


def write_findings(results: Results, word_tokens: pd.DataFrame) -> str:
    """Returns ``docs/qwen3_token_analysis.md`` with the numbers of this run."""
    environment = Environment(
        loader=PackageLoader("spelling_transfer.pages"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (the result is Markdown, not HTML)
    )
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f}%"
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["code"] = _code
    shown = word_tokens[word_tokens["word"].isin(_SHOWN)]
    return environment.get_template("qwen3_token_analysis.md.j2").render(
        results=results,
        vocabulary=results.vocabulary,
        words=results.words,
        subset=results.subset,
        template=results.template,
        probe=results.probe,
        forms={form["form"]: form for form in results.words["forms"]},
        saving=results.savings[0],
        reference=results.savings[1],
        coverage=[row for row in results.coverage["coverage"] if row["rule"] == results.subset["rule"]],
        scripts=list(results.vocabulary["scripts"].items())[:12],
        examples={word: _row(shown, word) for word in _SHOWN if (shown["word"] == word).any()},
    )


def _row(word_tokens: pd.DataFrame, word: str) -> dict[str, Any]:
    rows = word_tokens[word_tokens["word"] == word].set_index("form")["pieces"]
    return {str(form): _code(pieces) for form, pieces in rows.items()}


def _code(text: str) -> str:
    """Returns a text as inline code for Markdown: a leading space becomes ␣, a bar ·, a newline its escape."""
    shown = text.replace("\n", "\\n").replace("|", "·")
    return f"`{'␣' + shown[1:] if shown.startswith(' ') else shown}`"
