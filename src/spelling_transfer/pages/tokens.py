"""The page of the token analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from spelling_transfer.pages.page import Card, Section, Table, render_page
from spelling_transfer.pages.tokens_results import Results
from spelling_transfer.pages.tokens_search import search_box
from spelling_transfer.pages.tokens_words import context_sections, word_sections

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def render_token_page(results: Results, word_tokens: pd.DataFrame, plots: Mapping[str, Figure]) -> str:
    """Returns the page.

    Args:
        results: What was found.
        word_tokens: Every word in every form.
        plots: Figures by name: ``token_classes``, ``token_lengths``, ``token_scripts``, ``tokens_per_word``,
            ``coverage``, ``probe``.
    """
    sections = [
        Section("Look up a word", html=search_box(word_tokens)),
        *_vocabulary(results, plots),
        *_subset(results),
        *word_sections(results, plots),
        *context_sections(results),
        *_coverage(results, plots),
        *_template(results),
        *_probe(results, plots),
    ]
    return render_page(
        "What the tokens hide", sections, subtitle=f"Tokenizer {results.vocabulary['tokenizer']['sha256'][:12]}…"
    )


def _vocabulary(results: Results, plots: Mapping[str, Figure]) -> list[Section]:
    found = results.vocabulary
    heuristic = found["raw_string_heuristic"]
    examples = ", ".join(f"“{text}”" for text in heuristic["lost_examples"][:5])
    return [
        Section(
            "The vocabulary",
            text=found["tokenizer"]["statements"],
            cards=[
                Card("Base tokens", f"{found['base_tokens']:,}", f"and {found['added_tokens']} added ones"),
                Card("Valid UTF-8", f"{found['valid_utf8']:,}", "the rest are parts of characters"),
                Card("Pure ASCII", f"{found['ascii']:,}"),
                Card(
                    "Letters a to z",
                    f"{found['letters']:,}",
                    f"{found['letters_bare']:,} bare, {found['letters_spaced']:,} after a space",
                ),
                Card(
                    "Rows without a token",
                    f"{found['rows_without_token']:,}",
                    f"of the {found['embedding_rows']:,} of the published embedding",
                ),
            ],
            figure=plots["token_classes"],
            caption="Tokens by what their bytes are, and how many of them are in the subset in use.",
        ),
        Section(
            text=(
                "Looking for ASCII in the strings of the vocabulary file, instead of in the bytes, would keep "
                f"{heuristic['kept']:,} tokens and lose {heuristic['lost']:,} ({heuristic['lost_share']:.0%}) of the "
                f"ASCII ones, among them every token that begins a word after a space ({examples})."
            ),
            figure=plots["token_lengths"],
            caption="Tokens of letters by their length.",
        ),
        Section(figure=plots["token_scripts"], caption="Scripts by the Unicode property of a token's letters."),
        Section(
            table=Table(pd.DataFrame(found["classes"]), labels={"token_class": "class"}, caption="Classes of tokens."),
        ),
    ]


def _subset(results: Results) -> list[Section]:
    use = results.rule["rule"]
    reasons = pd.DataFrame(results.rule["reasons"])
    rules = pd.DataFrame(results.english)[["rule", "tokens", "description"]]
    return [
        Section(
            "The English subset",
            text=(
                f"The rule “{use}” is in use. Its hash, which training, evaluation and serving record, is "
                f"{results.subset['sha256']}. {len(results.subset['prompt_only'])} of its tokens stand in prompts "
                "only; no answer may hold them."
            ),
            table=Table(rules, caption="Rules and what they keep (conf/base/study/token_analysis/rules.yml)."),
        ),
        Section(table=Table(reasons, caption=f"Why tokens are in or out of “{use}”.")),
    ]


def _coverage(results: Results, plots: Mapping[str, Figure]) -> list[Section]:
    coverage = pd.DataFrame(results.coverage["coverage"])
    missing = pd.DataFrame(
        [
            {"corpus": row["corpus"], "rule": row["rule"], **example, "text": _visible(example["text"])}
            for row in results.coverage["coverage"]
            for example in row["examples"]
        ]
    )
    saved, reference = results.savings
    savings = pd.DataFrame(results.coverage["savings"])
    sections = [
        Section(
            "What the subset covers and saves",
            text=(
                f"Trimmed to the subset in use, {reference['model']} would need {reference['saved_mb']:,.0f} MB less "
                f"and {reference['work_saved_share']:.1%} less work for each generated token; {saved['model']} "
                f"{saved['saved_mb']:,.0f} MB and {saved['work_saved_share']:.1%}. These are computed from the shapes "
                "of the models, with the whole vocabulary as the start; nothing was run for them."
            ),
            figure=plots["coverage"],
            caption=(
                "Texts with at least one token outside a subset: a trimmed model cannot read them, a mask cannot write "
                "them. The rules without prompt tokens cannot write a prompt at all."
            ),
        ),
        Section(
            table=Table(
                coverage.drop(columns=["examples"]),
                formats={"covered_tokens_share": ".2%", "lost_texts_share": ".2%"},
                caption="Coverage by kind of text.",
            )
        ),
    ]
    if len(missing):
        sections.append(Section(table=Table(missing, caption="Missing tokens, the most frequent first.")))
    sections.append(
        Section(
            table=Table(
                savings,
                formats={"head_share": ".1%", "work_saved_share": ".1%"},
                caption="Embedding and head with the whole vocabulary and with each subset, computed from the shape.",
            )
        )
    )
    if results.coverage["measured"]:
        sections.append(
            Section(
                table=Table(
                    pd.DataFrame(results.coverage["measured"]),
                    caption="Time of the head alone on the machine of this run, best of three products.",
                )
            )
        )
    return sections


def _visible(text: str) -> str:
    """Returns a token's text with blanks that can be seen."""
    marked = text.replace("\n", "⏎").replace("\t", "⇥")
    return marked.replace(" ", "␣") if not marked.strip() else "␣" * marked.startswith(" ") + marked.lstrip(" ")


def _template(results: Results) -> list[Section]:
    cost = results.template
    extra = ", ".join(f"{row['per_prompt']:g} × {row['text']!r} ({row['token_id']})" for row in cost["extra"])
    return [
        Section(
            "What the template costs",
            text=(
                f"The same {cost['questions']:,} questions, rendered in both modes of the template and counted, never "
                f"answered. The non-thinking prompt has {cost['extra_tokens']:g} tokens more"
                f"{' in every prompt' if cost['extra_is_constant'] else ' on average'}: {extra or 'none'}. They are "
                "the empty block that keeps the model from thinking; what thinking itself would cost is not measured."
            ),
            table=pd.DataFrame(
                [
                    {"rendering": name, **cost[key], "question_tokens": cost["question_tokens"]}
                    for key, name in (
                        ("non_thinking", "non-thinking, in use"),
                        ("other_mode", "thinking, counted only"),
                    )
                ]
            ),
        )
    ]


def _probe(results: Results, plots: Mapping[str, Figure]) -> list[Section]:
    if not results.probe:
        return [Section("What an embedding reveals", text="The probe was switched off (letter_probe.enabled).")]
    probe: dict[str, Any] = results.probe
    columns = ["target", "score", "score_low", "score_high", "control", "majority", "gain", "gain_low", "gain_high"]
    return [
        Section(
            "What an embedding reveals",
            text=(
                f"A linear probe reads the letters of {probe['tokens']:,} tokens from the embedding of "
                f"{probe['model']}, before any fine-tuning; cross-validated in {probe['folds']} parts, with tokens of "
                "the same letters in one part. What it reads beyond the control with shuffled labels, the model knows."
            ),
            figure=plots["probe"],
            caption="Share right with 95% intervals. For the letter set: share of a token's letters that are found.",
        ),
        Section(
            table=Table(
                pd.DataFrame(probe["targets"])[columns],
                formats=dict.fromkeys(columns[1:], ".1%"),
                labels={"gain": "above control"},
                caption="The bounds are 95% bootstrap intervals over groups of tokens with the same letters.",
            )
        ),
    ]
