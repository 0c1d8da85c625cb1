"""The card of the embedded model: what it is, what it was trained on, how it was made, what it scores."""

from __future__ import annotations

import math
import textwrap

import pandas as pd

from spelling_transfer.training.pretrain import PretrainSettings
from spelling_transfer.training.pretrain_wordings import COUNT_FORMS, PLACE_FORMS, SPELLING_LINES

_WHAT = (
    "A small language model with Qwen3's architecture and the real Qwen3 tokenizer, for trying the whole of "
    "spelling-transfer on a laptop. It answers questions about the letters of words and nothing else. It is not a "
    "product of the Qwen team."
)
_MEASURED = (
    "Exact match on validation words of families that were never asked about in the chat form, greedy; measured by the "
    "command above when it made the model. Plain lines stand outside the chat form: what the model knows of a word, as "
    "against what it says when asked. Held-out wordings were never trained on."
)


def model_card(
    settings: PretrainSettings,
    command: str,
    known: pd.DataFrame,
    unknown: pd.DataFrame,
    *,
    n_words: int,
    n_rows: int,
    n_parameters: int,
    minutes: float,
    machine: str,
) -> str:
    """Returns the card as Markdown.

    Args:
        settings: Of the model and its training.
        command: The command that made it.
        known: What :func:`~.pretrain_measure.measure` says of words that have plain lines.
        unknown: The same of words without any.
        n_words: Words of all splits.
        n_rows: Embedding rows.
        n_parameters: Weights.
        minutes: How long it took.
        machine: Where.
    """
    mixture = settings.mixture
    chat = 1 - mixture.spelling_share - mixture.places_share - mixture.counts_share
    facts = [
        f"**Shape**: {settings.layers} layers, {settings.hidden_size} wide, {settings.feed_forward_ratio:g} times that "
        f"in the feed-forward, 4 heads, 2 key-value heads, tied embeddings, {n_parameters / 1e6:.2f} M parameters, "
        f"{n_rows:,} embedding rows. `token_ids.json` gives the Qwen3 token id of each row.",
        f"**Words**: the {n_words:,} most frequent English words of `wordfreq` 3.1.1 (data CC-BY-SA-4.0) that "
        "`english-words` 2.0.2 knows, in all splits.",
        f"**Plain lines** for the words of all splits but {mixture.without_lines:.0%} of the families, which have "
        f"none: {mixture.spelling_share:.0%} of the examples spell a word, {mixture.places_share:.0%} say the letters "
        f"at some of its places, {mixture.counts_share:.0%} the counts of some of its letters.",
        f"**Chat form**, {chat:.0%} of the examples: spelling of {mixture.spelling_families} families of the "
        f"`pretrain` split, position and count of {mixture.question_families} of them, in the tasks' own wordings that "
        "are trained on and in many others. No wording that the tasks hold out; no chat-form question about a "
        "training, validation or test word."
        + (
            f" {mixture.letters_given:.0%} of the questions are about made-up words, written letter by letter."
            if mixture.letters_given
            else ""
        ),
        "**Wordings of the plain lines**: "
        + ", ".join(f"`{line!r}`" for line in SPELLING_LINES)
        + "; places "
        + ", ".join(f"`{forms[0]!r}`" for forms in PLACE_FORMS[: mixture.forms])
        + "; counts "
        + ", ".join(f"`{form!r}`" for form in COUNT_FORMS[: mixture.forms])
        + ".",
        f"**Made by**: `{command}`: {settings.steps:,} steps of {settings.batch_rows} rows of {settings.row_tokens} "
        f"tokens, and {settings.restart_steps:,} after a restart of the optimiser, seed {settings.seed}, "
        f"{minutes:.1f} minutes on {machine}. Another machine adds in another order and gives other weights.",
        "**Mode**: non-thinking only (`enable_thinking=False`).",
    ]
    bullets = "\n".join(_wrapped(f"- {fact}", "  ") for fact in facts)
    return f"""---
license: apache-2.0
library_name: transformers
---
# tiny-qwen3

{_wrapped(_WHAT)}

{bullets}

| | with plain lines | invalid | without any | invalid |
|---|---:|---:|---:|---:|
{_table(known, unknown)}

{_wrapped(_MEASURED)}
"""


def _table(known: pd.DataFrame, unknown: pd.DataFrame) -> str:
    rows = known.merge(unknown, on="probe", suffixes=("", "_unknown"))
    return "\n".join(
        f"| {row['probe']} | "
        + " | ".join(_share(row[name]) for name in ("right", "invalid", "right_unknown", "invalid_unknown"))
        + " |"
        for row in rows.to_dict("records")
    )


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
