"""The page of the token analysis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from spelling_transfer.pages.numbers import POINTS
from spelling_transfer.pages.page import Card, Section, command_to_repeat, continued, links_from, render_page
from spelling_transfer.pages.tables import Table
from spelling_transfer.pages.tokens_figures import CLASS_LABELS, search_box
from spelling_transfer.tokenizer.words import WORD_FORMS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class TokenFindings:
    """What the token analysis found, as its nodes left it.

    Attributes:
        probe: ``letter_probe``; empty where the probe is switched off.
    """

    vocabulary: dict[str, Any]
    english: list[dict[str, Any]]
    subset: dict[str, Any]
    words: dict[str, Any]
    template: dict[str, Any]
    coverage: dict[str, Any]
    probe: dict[str, Any]

    def form(self, name: str) -> dict[str, Any]:
        """Returns the numbers of one form of the words."""
        return dict(next(form for form in self.words["forms"] if form["form"] == name))

    @property
    def rule(self) -> dict[str, Any]:
        """What is said of the rule in use."""
        return dict(next(row for row in self.english if row["in_use"]))

    @property
    def savings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the subset in use saves for the model in use and for the published one; the same twice without one."""
        rows = [row for row in self.coverage["savings"] if row["rule"] == self.subset["rule"]]
        return rows[0], rows[-1]


def render_token_page(
    results: TokenFindings, word_tokens: pd.DataFrame, plots: Mapping[str, Figure], *, env: str = ""
) -> str:
    """Returns the page.

    Args:
        results: What was found.
        word_tokens: Every word in every form.
        plots: Figures by name: ``token_classes``, ``token_lengths``, ``token_scripts``, ``tokens_per_word``,
            ``coverage``, ``probe``.
        env: The environment of the run; empty for the default.
    """
    sections = [
        Section("Look up a word", html=search_box(word_tokens)),
        *_vocabulary(results, plots),
        *_subset(results),
        *_words(results, plots),
        *_contexts(results),
        *_coverage(results, plots),
        *_template(results),
        *_probe(results, plots),
    ]
    return render_page(
        "What the tokens hide",
        sections,
        subtitle=f"Tokenizer {results.vocabulary['tokenizer']['sha256'][:12]}…",
        lead=_lead(results),
        pages=links_from("Tokens"),
        repeat=command_to_repeat("token_analysis", env),
    )


def _lead(results: TokenFindings) -> str:
    spaced = results.form("spaced")
    return (
        f"After a space, {spaced['single_token_share']:.0%} of {spaced['words']:,} words are a single token, which "
        f"shows a model none of their letters; on average a word has {spaced['mean_tokens']:.2f} tokens."
    )


def _vocabulary(results: TokenFindings, plots: Mapping[str, Figure]) -> Iterator[Section]:
    found = results.vocabulary
    heuristic = found["raw_string_heuristic"]
    examples = ", ".join(f"“{text}”" for text in heuristic["lost_examples"][:5])
    yield Section(
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
                f"of the {found['embedding_rows']:,} "
                + ("of the published embedding" if found["tokenizer"]["is_pinned"] else "ids of the tokenizer"),
            ),
        ],
        figure=plots["token_classes"],
        caption="Tokens by class of their bytes, with the share in the subset in use.",
    )
    yield Section(
        text="Looking for ASCII in the strings of the vocabulary file, instead of in the bytes, and leaving out "
        f"those that begin with “<”, as special tokens do, would keep {heuristic['kept']:,} tokens and lose "
        f"{heuristic['lost']:,} ({heuristic['lost_share']:.0%}) of the ASCII ones, among them every token that "
        f"begins a word after a space ({examples}).",
        figure=plots["token_lengths"],
        caption="Tokens of letters by their length.",
    )
    yield Section(figure=plots["token_scripts"], caption="Scripts by the Unicode property of a token's letters.")
    classes = pd.DataFrame(found["classes"])
    classes.insert(1, "in the figure", classes["token_class"].map(CLASS_LABELS))
    yield continued(classes, "Classes of tokens.", labels={"token_class": "class"})


def _subset(results: TokenFindings) -> Iterator[Section]:
    use = results.rule["rule"]
    rules = pd.DataFrame(results.english)[["rule", "tokens", "description"]]
    yield Section(
        "The English subset",
        text=f"The rule “{use}” is in use. Its hash, which training, evaluation and serving record, is "
        f"{results.subset['sha256']}. {len(results.subset['prompt_only'])} of its tokens occur in prompts "
        "only; no answer may contain them.",
        table=Table(rules, caption="Rules and what they keep (conf/base/study/token_analysis/rules.yml)."),
    )
    reasons = pd.DataFrame(results.rule["reasons"])
    reasons["first"] = reasons["first"].map(_visible, na_action="ignore")
    caption = (
        f"Why tokens are in or out of “{use}”, and the first token of each kind; ␣ is a space, ⇥ a tab, ⏎ a new line."
    )
    yield continued(reasons, caption)


def _words(results: TokenFindings, plots: Mapping[str, Figure]) -> Iterator[Section]:
    """Yields how words are cut, by form, frequency and length."""
    yield Section(
        "Words in tokens",
        text=f"{results.words['words']:,} words in four forms. A leading space changes the tokens: a word is a single "
        f"token in {results.form('spaced')['single_token_share']:.0%} of cases after a space, and in "
        f"{results.form('bare')['single_token_share']:.0%} without one.",
        figure=plots["tokens_per_word"],
        caption="Mean number of tokens of a word by its frequency.",
    )
    forms = pd.DataFrame(results.words["forms"]).drop(columns=["tokens", "description", "single_token"])
    shares = {column: ".1%" for column in forms.columns if column.endswith("_share")}
    yield continued(
        forms,
        "Plurals are counted where they are on the list; all forms but the bare one stand after a space. "
        "The last five columns are about words of more than one token: how token borders cross their letters, "
        "and how else they could be split into tokens.",
        formats={**shares, "mean_tokens": ".3f", "median_ways": ".0f"},
        labels={
            "splits_double_letter_share": "border in a double letter",
            "letters_in_several_tokens_share": "a letter in several tokens",
            "not_shortest_share": "a shorter split exists",
            "several_shortest_share": "several shortest splits",
            "median_ways": "ways to split (median)",
        },
    )
    for key, index, caption in (
        ("by_frequency", "band", "Mean tokens by frequency."),
        ("by_length", "length", "Mean tokens by number of letters."),
    ):
        rows = pd.DataFrame(results.words[key])
        means = rows.pivot(index=index, columns="form", values="mean_tokens")
        means = means.reindex(index=rows[index].unique(), columns=WORD_FORMS)
        yield continued(means.reset_index(), caption, formats=dict.fromkeys(WORD_FORMS, ".2f"))
    yield continued(
        _all_forms(results.words["multi_token_words"]),
        "The most frequent words of more than one token, in each form.",
        formats={"zipf_frequency": ".2f"},
        labels={"zipf_frequency": "Zipf", "letters_in_several_tokens": "letters in several tokens"},
    )
    yield continued(
        _all_forms(results.words["ambiguous_words"]),
        "Frequent words that could be written with fewer tokens than the tokenizer uses.",
        formats={"zipf_frequency": ".2f"},
        labels={
            "zipf_frequency": "Zipf",
            "n_tokens": "tokens",
            "fewest_tokens": "fewest possible",
            "shortest_ways": "ways with so few",
            "ways": "ways in all",
        },
    )


def _all_forms(rows_of: Mapping[str, list[dict[str, Any]]]) -> pd.DataFrame:
    return pd.DataFrame([{"form": form, **row} for form, rows in rows_of.items() for row in rows])


def _contexts(results: TokenFindings) -> Iterator[Section]:
    """Yields what the text around a word changes."""
    labels = {
        "spaced_share": "as after a space",
        "bare_share": "as alone",
        "other_share": "otherwise",
        "glued_share": "joined to what stands in front",
    }
    how: dict[str, Any] = {"formats": dict.fromkeys(labels, ".1%"), "labels": labels}
    yield Section(
        "The text around a word",
        text="The text directly before a word decides how it is split; the text after it does not.",
        table=Table(
            pd.DataFrame(results.words["contexts"]),
            "Words in texts: share that is split as after a space, as alone, or otherwise.",
            **how,
        ),
    )
    if results.words["templates"]:
        yield continued(pd.DataFrame(results.words["templates"]), "The same in the templates of the tasks.", **how)


def _coverage(results: TokenFindings, plots: Mapping[str, Figure]) -> Iterator[Section]:
    found = results.coverage
    saved, reference = results.savings
    beside = f"; {saved['model']} {saved['saved_mb']:,.0f} MB and {saved['work_saved_share']:.1%}"
    beside = "" if saved is reference else beside
    yield Section(
        "What the subset covers and saves",
        text=f"Trimmed to the subset in use, {reference['model']} would need {reference['saved_mb']:,.0f} MB less "
        f"and {reference['work_saved_share']:.1%} less work for each generated token{beside}. These are computed from "
        "the shapes of the models, compared with the full vocabulary, not measured.",
        figure=plots["coverage"],
        caption="Texts with at least one token outside a subset: a trimmed model cannot read them, a masked one cannot "
        "write them. The rules without prompt tokens cannot encode a prompt at all.",
    )
    yield continued(
        pd.DataFrame(found["coverage"]).drop(columns=["examples"]),
        "Coverage by kind of text: the number of tokens, of different tokens, and of different tokens that a subset "
        "lacks. A text with a missing token counts as lost.",
        formats={"covered_tokens_share": ".2%", "lost_texts_share": ".2%"},
        labels={"distinct": "different tokens", "missing": "of them missing"},
    )
    missing = [
        {"corpus": row["corpus"], "rule": row["rule"], **example, "text": _visible(example["text"])}
        for row in found["coverage"]
        for example in row["examples"]
    ]
    if missing:
        yield continued(pd.DataFrame(missing), "Missing tokens, the most frequent first.")
    yield continued(
        pd.DataFrame(found["savings"]),
        "Embedding and head with the whole vocabulary and with each subset, computed from the shape. Rows: tokens that "
        "the embedding has. Logits: what the head gives for each token of the vocabulary. FLOP: multiplications and "
        "additions.",
        formats={
            "head_share": ".1%",
            "work_saved_share": ".1%",
            **{name: ",.0f" for name in found["savings"][0] if "_mb" in name},
        },
        labels={
            name: name.replace("_", " ").replace(" mb", ", MB").replace("flops", "FLOP") for name in found["savings"][0]
        },
    )
    if found["measured"]:
        caption = "Time of the head alone on the machine of this run, best of three products."
        yield continued(
            pd.DataFrame(found["measured"]),
            caption,
            formats={"head_ms": ".1f", "subset_head_ms": ".1f"},
            labels={"head_ms": "head, ms", "subset_head_ms": "head of the subset, ms"},
        )


def _visible(text: str) -> str:
    """Returns a token's text with blanks that can be seen."""
    marked = text.replace("\n", "⏎").replace("\t", "⇥")
    return marked.replace(" ", "␣") if not marked.strip() else "␣" * marked.startswith(" ") + marked.lstrip(" ")


def _template(results: TokenFindings) -> Iterator[Section]:
    cost = results.template
    extra = ", ".join(f"{row['per_prompt']:g} × “{_visible(row['text'])}” ({row['token_id']})" for row in cost["extra"])
    found = (
        f"The non-thinking prompt has {cost['extra_tokens']:g} tokens more"
        f"{' in every prompt' if cost['extra_is_constant'] else ' on average'}: {extra}. They are the empty block that "
        "keeps the model from thinking. The cost of thinking itself is not measured."
    )
    yield Section(
        "What the template costs",
        text=f"The same {cost['questions']:,} questions, rendered in both modes of the template and counted, never "
        f"answered. {found if extra else 'The prompts are the same: this template has one mode.'}",
        table=Table(
            pd.DataFrame(
                [
                    {"rendering": name, **cost[key], "question_tokens": cost["question_tokens"]}
                    for key, name in (
                        ("non_thinking", "non-thinking, in use"),
                        ("other_mode", "thinking, counted only"),
                    )
                ]
            ),
            "Tokens of a whole prompt, and the mean of those that are the question's own.",
            formats={"mean_tokens": ".1f", "question_tokens": ".1f"},
        ),
    )


def _probe(results: TokenFindings, plots: Mapping[str, Figure]) -> Iterator[Section]:
    if not (probe := results.probe):
        yield Section("What an embedding reveals", text="The probe was switched off (letter_probe.enabled).")
        return
    yield Section(
        "What an embedding reveals",
        text=f"A linear probe reads the letters of {probe['tokens']:,} tokens from the embedding of "
        f"{probe['model']}, before any training; cross-validated in {probe['folds']} parts, with tokens of "
        "the same letters in one part. What it reads beyond the control with shuffled labels is known to the model.",
        figure=plots["probe"],
        caption="Share right with 95% intervals. For the letter set: share of a token's letters that are found.",
    )
    shares, gains = ["score", "score_low", "score_high", "control", "majority"], ["gain", "gain_low", "gain_high"]
    yield continued(
        pd.DataFrame(probe["targets"])[["target", *shares, *gains]],
        "Above control: the score less that with shuffled labels, in percentage points. The bounds are 95% bootstrap "
        "intervals over groups of tokens with the same letters.",
        formats={**dict.fromkeys(shares, ".1%"), **dict.fromkeys(gains, POINTS)},
        labels={"gain": "above control", "control": "shuffled labels", "majority": "most frequent answer"},
    )
