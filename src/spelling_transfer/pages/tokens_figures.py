"""Figures of the token analysis, and the search box: type a word, see its tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spelling_transfer.pages.page import script_json, templates
from spelling_transfer.pages.style import COLOURS, new_figure, style_figure
from spelling_transfer.tokenizer.words import FORM_DESCRIPTIONS, WORD_FORMS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CLASS_LABELS = {
    "letters": "letters",
    "non_ascii": "outside ASCII",
    "code": "letters joined to a sign",
    "punctuation": "punctuation",
    "partial": "parts of characters",
    "whitespace": "white space",
    "control": "control characters",
    "special": "special tokens",
    "digits": "digits",
}
_GREY = "#9aa4ae"
_BAND_WIDTH = 0.25


def plot_classes(english_stats: list[dict[str, Any]]) -> Figure:
    """Draws how many tokens of each class the vocabulary has and how many of them the subset in use takes."""
    rule = next(row for row in english_stats if row["in_use"])
    rows = sorted(rule["classes"], key=lambda row: row["inside"] + row["outside"])
    labels = [CLASS_LABELS.get(row["token_class"], row["token_class"]) for row in rows]
    parts = (("inside", f"in the subset “{rule['rule']}”", COLOURS[0]), ("outside", "left out", _GREY))
    figure = new_figure()
    for key, name, colour in parts:
        figure.add_bar(
            name=name,
            x=[row[key] for row in rows],
            y=labels,
            orientation="h",
            marker_color=colour,
            hovertemplate=f"%{{y}}: %{{x:,}} tokens {name}<extra></extra>",
        )
    figure.update_layout(barmode="stack", xaxis_title="tokens", yaxis_title="", legend_traceorder="normal")
    return style_figure(figure, height_pixels=400)


def plot_lengths(vocabulary_stats: dict[str, Any]) -> Figure:
    """Draws how many letters the letter tokens have, with and without a space in front."""
    rows = [row for row in vocabulary_stats["letter_lengths"] if row["letters"] <= 20]
    lengths = [row["letters"] for row in rows]
    figure = new_figure()
    for key, name, colour in (("spaced", "after a space", COLOURS[0]), ("bare", "without a space", COLOURS[1])):
        figure.add_bar(
            name=name,
            x=lengths,
            y=[row[key] for row in rows],
            marker_color=colour,
            hovertemplate=f"%{{x}} letters, {name}: %{{y:,}} tokens<extra></extra>",
        )
    figure.update_layout(barmode="group", xaxis={"title": "letters of the token", "dtick": 1}, yaxis_title="tokens")
    return style_figure(figure, height_pixels=380)


def plot_scripts(vocabulary_stats: dict[str, Any]) -> Figure:
    """Draws a map of the scripts: an area for each, as large as its share of the tokens."""
    scripts = {name.replace("_", " "): count for name, count in vocabulary_stats["scripts"].items()}
    named = {"Common": "no script (digits, signs)", "Partial": "parts of characters", "Mixed": "several scripts"}
    labels = [named.get(name, name) for name in scripts]
    figure = new_figure().add_treemap(
        labels=labels,
        parents=[""] * len(labels),
        values=list(scripts.values()),
        texttemplate="%{label}<br>%{value:,}",
        hovertemplate="%{label}: %{value:,} tokens (%{percentRoot:.1%})<extra></extra>",
        marker={"colors": [COLOURS[place % len(COLOURS)] for place in range(len(labels))]},
        tiling={"pad": 2},
    )
    return style_figure(figure, height_pixels=440).update_layout(margin={"l": 0, "r": 0, "t": 8, "b": 0})


def plot_tokens_per_word(word_tokens: pd.DataFrame) -> Figure:
    """Draws the mean number of tokens of a word against its frequency, a line for each form."""
    listed = word_tokens[word_tokens["is_listed"]]
    place = np.floor(listed["zipf_frequency"] / _BAND_WIDTH) * _BAND_WIDTH + _BAND_WIDTH / 2
    table = listed.groupby([listed["form"], place], observed=True)["n_tokens"].agg(["mean", "size"])
    table = table[table["size"] >= 10]  # the mean of a few words says nothing
    figure = new_figure()
    for form, colour in zip(WORD_FORMS, COLOURS, strict=False):
        if form not in table.index.get_level_values(0):
            continue
        rows = table.loc[form]
        figure.add_scatter(
            name=form,
            x=rows.index.tolist(),
            y=rows["mean"].round(3).tolist(),
            customdata=rows["size"].tolist(),
            mode="lines+markers",
            line={"color": colour},
            hovertemplate=f"{form}, Zipf %{{x:.2f}}: %{{y:.2f}} tokens (%{{customdata:,}} words)<extra></extra>",
        )
    figure.update_layout(
        xaxis_title="Zipf frequency (3: once in a million words, 6: once in a thousand)",
        yaxis={"title": "tokens a word", "rangemode": "tozero"},
    )
    return style_figure(figure, height_pixels=400)


def plot_coverage(subset_coverage: dict[str, Any]) -> Figure:
    """Draws the share of texts that each subset cannot write."""
    rows = pd.DataFrame(subset_coverage["coverage"])
    figure = new_figure()
    for rule, colour in zip(rows["rule"].unique(), COLOURS, strict=False):
        part = rows[rows["rule"] == rule]
        figure.add_bar(
            name=rule,
            x=part["corpus"].tolist(),
            y=part["lost_texts_share"].tolist(),
            customdata=part[["lost_texts", "texts", "missing"]].to_numpy().tolist(),
            marker_color=colour,
            hovertemplate=f"%{{x}}, {rule}: %{{customdata[0]:,}} of %{{customdata[1]:,}} texts need a missing token; "
            "%{customdata[2]:,} different tokens are missing<extra></extra>",
        )
    figure.update_layout(
        barmode="group",
        xaxis_title="",
        yaxis={"title": "texts with a missing token", "tickformat": ".0%", "range": [0, 1]},
    )
    return style_figure(figure, height_pixels=380)


def plot_probe(letter_probe: dict[str, Any]) -> Figure:
    """Draws how well letters can be read from the embedding, beside the control with shuffled labels."""
    rows = letter_probe.get("targets", [])
    targets = [row["target"] for row in rows]
    error = {
        "type": "data",
        "symmetric": False,
        "array": [row["score_high"] - row["score"] for row in rows],
        "arrayminus": [row["score"] - row["score_low"] for row in rows],
    }
    figure = new_figure()
    figure.add_bar(name="probe", x=targets, y=[row["score"] for row in rows], error_y=error, marker_color=COLOURS[0])
    for name, key, colour in (("shuffled labels", "control", _GREY), ("most frequent answer", "majority", COLOURS[4])):
        figure.add_bar(name=name, x=targets, y=[row[key] for row in rows], marker_color=colour)
    figure.update_traces(hovertemplate="%{x}: %{y:.1%}<extra>%{fullData.name}</extra>")
    figure.update_layout(barmode="group", yaxis={"title": "share right", "tickformat": ".0%", "range": [0, 1]})
    if not rows:
        figure.add_annotation(text="The probe is switched off.", showarrow=False)
    return style_figure(figure, height_pixels=380)


def search_box(word_tokens: pd.DataFrame) -> str:
    """Returns a search box as HTML with its script and data: type a word, see its tokens, without a server.

    Args:
        word_tokens: The table of :func:`~spelling_transfer.tokenizer.words.analyse_words`.
    """
    data = json.dumps(search_data(word_tokens), ensure_ascii=False, separators=(",", ":"))
    return templates().get_template("search.html.j2").render(data=script_json(data))


def search_data(word_tokens: pd.DataFrame) -> dict[str, Any]:
    """Returns what the script needs, packed: all words of all forms, and each token once.

    Returns:
        ``tokens``: ``[id, text]`` of every token in use; ``words``: all words, with blanks between; ``forms``: for each
        form its name, its description and ``tokens``, a string with a word's tokens as places in ``tokens`` (base 36,
        with dots between tokens and blanks between words); ``plurals``: the plurals as written, with blanks between.
    """
    ids = np.concatenate([np.empty(0, dtype=np.int64), *word_tokens["ids"].to_numpy()]).astype(np.int64)
    used, first = np.unique(ids, return_index=True)
    # No letter is a bar, so the pieces of a text are its tokens' texts, one for each id.
    pieces = "|".join(word_tokens["pieces"]).split("|")
    names = {token: np.base_repr(place, 36).lower() for place, token in enumerate(used.tolist())}
    forms = []
    for form in WORD_FORMS:
        rows = word_tokens.loc[word_tokens["form"] == form, "ids"]
        packed = " ".join(".".join([names[token] for token in row]) for row in map(list, rows))
        forms.append({"form": form, "description": FORM_DESCRIPTIONS[form], "tokens": packed})
    plurals = word_tokens.loc[word_tokens["form"] == "plural", "text"].str.strip()
    return {
        "tokens": [[token, pieces[at]] for token, at in zip(used.tolist(), first.tolist(), strict=True)],
        "words": " ".join(word_tokens.loc[word_tokens["form"] == WORD_FORMS[0], "word"]),
        "plurals": " ".join(plurals),
        "forms": forms,
    }
