"""The page of an evaluation: the answer, what was done, and everything that it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from spelling_transfer.evaluation.marking import of_first_seed
from spelling_transfer.evaluation.plotted import ALL, FLOORS
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.pages.findings import describe_comparison, floor_note, is_score, told_rows
from spelling_transfer.pages.names import ENDPOINT_NAMES, STRATUM_NAMES, arm_name, value_name
from spelling_transfer.pages.numbers import POINTS, count_of, in_points, level, percent
from spelling_transfer.pages.page import Card, Section, command_to_repeat, links_from, render_page
from spelling_transfer.pages.tables import Table
from spelling_transfer.pages.verdict import describe_verdict, gates_table, secondary_table
from spelling_transfer.statistics.scores import SPELLING_BONUS
from spelling_transfer.tasks.arms import BASE, SPELLING_ARM

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TONES: Mapping[str, Literal["neutral", "good", "bad"]] = {"up": "good", "down": "bad", "unclear": "neutral"}
_SHARE = ".1%"
_NO_SHARE = "a weighted sum of the tasks, not a share; the verdict does not use it"
_SAMPLES_PER_KIND = 8
_GROUP_NAMES = {"asked": "letter or place", "endpoint": "words", "n_tokens": "tokens", "template_held_out": "wording"}
_WORD_SETS = {"token_held_out": ENDPOINT_NAMES["unseen_tokens"], "random": ENDPOINT_NAMES["made_up"]}
_ENDS = ("difference", "low", "high")

# A figure that is given is drawn, in this order: name, heading, text, caption.
_FIGURES = (
    (
        "arms",
        "Arms side by side",
        "Each arm against the form control (filled) and against the base (hollow), on the same questions. Transfer "
        "shows as a spelling arm right of zero in position or count against both, if the direct arm (the ceiling) is "
        "right of zero too.",
        "Differences in exact match, in percentage points, with unadjusted {level} intervals. The verdict uses "
        "held-out families. The other rows are words of which spelling alone was trained, held-out words whose tokens "
        "occur in no trained word, words whose spelling the base never saw, and random letters.",
    ),
    (
        "dose",
        "Dose and response",
        "Top: exact match on validation words by training step; whiskers show the lowest and the highest seed. Bottom: "
        "gain in position and count against gain in spelling. If the line of the spelling arm rises to the right, they "
        "improve with spelling.",
        "Every line begins at the base. The verdict uses other words.",
    ),
    (
        "strata",
        "Kinds of questions",
        "The spelling arm against form control (filled) and base (hollow) on each kind of question about words of "
        "held-out families. Letters in the token: the length of the token that holds the letter asked for.",
        "Differences in exact match, in percentage points, with {level} intervals. These comparisons are exploratory. "
        "Kinds with fewer than ten families are listed under “What was left out”.",
    ),
    (
        "errors",
        "What the arms get wrong",
        "Every answer on words of held-out families: right, near, far, or none.",
        "Shares of an arm's answers to a task, over all its seeds.",
    ),
)


@dataclass(frozen=True)
class EvaluationResults:
    """What an evaluation left, as its page needs it."""

    marked: pd.DataFrame
    scores: pd.DataFrame
    comparison: pd.DataFrame
    control: pd.DataFrame
    verdict: Mapping[str, Any]
    effects: pd.DataFrame
    floors: pd.DataFrame
    left_out: Mapping[str, Mapping[str, Any]]


def comparison_cards(comparison: pd.DataFrame, floors: pd.DataFrame | None = None) -> list[Card]:
    """Returns a card a core task: from which score to which, the difference, and whether guessing does as well."""
    return [
        Card(
            label=f"transfer score ({row['value']} focus)" if is_score(row) else f"{row['task']}: base → spelling arm",
            value=f"{percent(row['reference_score'])} → {percent(row['arm_score'])}",
            note=in_points(row),
            tone=_TONES[str(row["verdict"])],
            floor=_NO_SHARE if is_score(row) else floor_note(row, floors),
        )
        for row in told_rows(comparison)
    ]


def comparison_table(comparison: pd.DataFrame) -> Table:
    """Returns the whole comparison as a table."""
    rows = comparison[comparison["measure"] == "exact_match"]
    kinds = rows["value"].astype(str).replace(_WORD_SETS).str.replace("_", " ").where(rows["group"] != "all", "all")
    shares, counts, tests = ("reference_score", "arm_score"), ("only_reference", "only_arm"), ("p_value", "p_adjusted")
    columns = ["task", "questions", "n", *shares, *_ENDS, *counts, *tests, "gap_closed"]
    formats = {
        **dict.fromkeys((*shares, "gap_closed"), _SHARE),
        **dict.fromkeys(_ENDS, POINTS),
        **dict.fromkeys(counts, ".0f"),
        **dict.fromkeys(tests, ".2g"),
    }
    labels = {"reference_score": "base", "arm_score": "spelling arm", "p_value": "p", "p_adjusted": "p, adjusted"}
    labels |= {"only_reference": "only base right", "only_arm": "only arm right"}
    caption = (
        "Differences are in percentage points; low and high are the ends of their intervals. p tests for no "
        "difference; it is adjusted for position and count as a whole together (Holm), not for spelling as a whole, "
        "the treatment, and for all other rows together (Benjamini and Hochberg). Gap closed: the share of the base's "
        "errors that are gone."
    )
    return Table(rows.assign(questions=kinds)[columns], caption=caption, formats=formats, labels=labels)


def control_table(control: pd.DataFrame) -> Table:
    """Returns the comparison with the form control as a table: whole tasks and the transfer score."""
    rows = control[(control["group"] == "all") & (control["measure"] == "exact_match")]
    score = control[control["measure"] == "transfer_score"]
    rows = pd.concat([rows, score.assign(task="transfer score")])
    frame = rows[["task", "n", "reference_score", "arm_score", "difference", "low", "high", "verdict"]]
    return Table(
        frame,
        caption="Difference: spelling arm minus form control, paired by question, in percentage points. Low and high "
        "are the ends of its interval. The transfer score is a weighted sum, not a share: its maximum is the weights "
        f"of position and count plus {SPELLING_BONUS:.0%} for spelling (120% with 0.5 and 0.5).",
        formats={**dict.fromkeys(("reference_score", "arm_score"), _SHARE), **dict.fromkeys(_ENDS, POINTS)},
        labels={"reference_score": "form control", "arm_score": "spelling arm"},
    )


def render_evaluation_page(
    results: EvaluationResults,
    figures: Mapping[str, Figure],
    settings: EvaluationSettings,
    further: Sequence[Section] = (),
    *,
    env: str = "",
) -> str:
    """Returns the page as HTML.

    Args:
        results: What the evaluation left.
        figures: ``scores``, and any of ``arms``, ``dose``, ``strata``, ``errors``.
        settings: How the evaluation was made.
        further: Sections of other modules, before the method.
        env: The environment of the run; empty for the default.
    """
    comparison, control, verdict = results.comparison, results.control, results.verdict
    said = describe_comparison(
        comparison,
        control,
        verdict,
        confidence=settings.confidence,
        floors=results.floors,
        effects=results.effects,
    )
    n_of_verdict = len(describe_verdict(verdict, results.effects)) + 1
    sections = [
        Section(text=said[1], cards=[*comparison_cards(comparison, results.floors), _cost(results)]),
        Section("About the answer", text=said[2:n_of_verdict]),
        Section(
            "Gates",
            text="Without a treatment that worked and a ceiling, neither a gain nor its absence would be an answer.",
            table=gates_table(verdict),
        ),
    ]
    for name, heading, text, caption in _FIGURES:
        if name in figures:
            below = caption.format(level=level(settings.confidence))
            sections.append(Section(heading, text=text, figure=figures[name], caption=below, alt=f"{heading}. {below}"))
    sections += [
        *_left_out(results.left_out, results.effects),
        Section(
            "Scores",
            text=said[n_of_verdict:],
            figure=figures["scores"],
            caption=f"Exact match on words of held-out families, with {level(settings.confidence)} Wilson intervals. "
            "The line is the majority answer: what always giving the most frequent right answer would score.",
            alt="Bars of exact match by task for each arm. The numbers are in the tables below.",
            table=_floors_table(results.floors),
        ),
        Section(
            "From base to spelling arm",
            text=f"A change is clear if its {level(settings.confidence)} interval excludes zero and its adjusted test "
            "excludes chance.",
            table=comparison_table(comparison),
        ),
    ]
    if len(control):
        sections.append(
            Section(
                "Adjusted for the form control",
                text="The form control was trained for the same steps on the same prompts, with the base's own "
                "answers: it learns the form of question and answer but no letters. A difference from it is not "
                "explained by the form.",
                table=control_table(control),
            )
        )
    if (secondary := secondary_table(verdict)) is not None:
        sections.append(Section("Exploratory comparisons", table=secondary))
    sections += [
        Section("Every comparison", table=_effects_table(results.effects)),
        Section("Every score", table=_scores_table(results.scores)),
        Section(
            "Sample answers",
            text="The first of each kind, in the order in which the questions were drawn.",
            table=_answers_table(results.marked),
        ),
        *further,
        Section("How this was measured", text=_method(settings)),
    ]
    return render_page(
        "Does spelling carry over?",
        sections,
        subtitle="Evaluation on words of held-out families",
        lead=said[0],
        pages=links_from("Evaluation"),
        repeat=command_to_repeat("evaluation", env),
    )


def _cost(results: EvaluationResults) -> Card:
    runs = results.scores[["arm", "seed"]].drop_duplicates()
    asked = results.marked["example_id"].nunique()
    trained = int((runs["seed"] >= 0).sum())
    return Card(
        "evaluated",
        f"{len(results.marked):,} answers",
        f"to {asked:,} questions, by the base and {count_of(trained, 'adapter')}",
        floor="times are on the pages of the run and of the tuning",
    )


def _left_out(left_out: Mapping[str, Mapping[str, Any]], effects: pd.DataFrame) -> Iterator[Section]:
    few = effects[effects["difference"].isna()].drop_duplicates(["endpoint", "stratum", "value", "task"])
    rows = [{"what": f"{arm_name(arm)} ({arm})", "why": why} for arm, why in left_out["arms"].items()]
    rows += [
        {"what": ENDPOINT_NAMES[endpoint], "why": f"no question of {'; '.join(map(_kind, names))}"}
        for endpoint, names in left_out["strata"].items()
    ]
    rows += [
        {
            "what": f"{ENDPOINT_NAMES[row['endpoint']]}, {row['task']}{_stratum(row)}",
            "why": f"too few word families to compare: {row['families']}",
        }
        for row in few.to_dict("records")
    ]
    yield Section(
        "What was left out",
        text="What is listed here is neither replaced nor included in any mean." if rows else "Nothing.",
        table=pd.DataFrame(rows) if rows else None,
    )


def _kind(name: str) -> str:
    """Returns what the page calls a kind of question, by its name in the list of those without one."""
    task, _, kind = name.partition(": ")
    stratum, _, value = kind.partition(" ")
    return f"{task}{_stratum({'stratum': stratum, 'value': value})}"


def _stratum(row: Mapping[Any, Any]) -> str:
    if row["stratum"] == ALL:
        return ""
    return f", {STRATUM_NAMES[row['stratum']]}: {value_name(str(row['value']))}"


def _floors_table(floors: pd.DataFrame) -> Table:
    frame = floors.assign(answerer=floors["answerer"].map(FLOORS))
    wide = frame.pivot(index="task", columns="answerer", values="score").reindex(
        index=floors["task"].unique(), columns=[name for name in FLOORS.values() if name in set(frame["answerer"])]
    )
    return Table(
        wide.reset_index(),
        caption="Floors: scores reached without knowing how a word is spelled. A model that is not above all of them "
        "cannot do the task.",
        formats=dict.fromkeys(wide.columns, _SHARE),
    )


def _effects_table(effects: pd.DataFrame) -> Table:
    frame = effects.assign(
        endpoint=effects["endpoint"].map(ENDPOINT_NAMES),
        kind=[_stratum(row).removeprefix(", ") or "all" for row in effects.to_dict("records")],
        **{name: effects[name].map(arm_name) for name in ("arm", "reference")},
    )
    shares, tests = ("reference_score", "arm_score"), ("p_value", "p_adjusted")
    return Table(
        frame[["endpoint", "kind", "task", "arm", "reference", "n", *shares, *_ENDS, *tests, "clear"]],
        caption="Every arm against base and form control, paired by question, over all seeds; differences in "
        "percentage points. p is adjusted for all rows together (Benjamini and Hochberg), except in the rows that the "
        "verdict uses: there for position and count together (Holm), and not for spelling, the treatment.",
        formats={**dict.fromkeys(shares, _SHARE), **dict.fromkeys(_ENDS, POINTS), **dict.fromkeys(tests, ".2g")},
        labels={"endpoint": "words", "reference": "against", "reference_score": "reference score", "arm_score": "score"}
        | {"p_value": "p", "p_adjusted": "p, adjusted"},
    )


def _scores_table(scores: pd.DataFrame) -> Table:
    frame = scores.assign(
        arm=scores["arm"].map(arm_name),
        seed=scores["seed"].where(scores["seed"] >= 0),
        group=scores["group"].replace(_GROUP_NAMES).str.replace("_", " "),
        value=scores["value"].astype(str).replace({**_WORD_SETS, **ENDPOINT_NAMES}).str.replace("_", " "),
    )
    shares = ("exact_match", "low", "high", "lenient", "invalid_rate", "majority", "similarity", "copied")
    return Table(
        frame,
        caption="Exact match counts an answer only if it is the right one and nothing else. Lenient reads the answer "
        "out of a longer text; invalid are outputs without one. Majority: always giving the most frequent answer. The "
        "absolute error is of the numbers that could be read; similarity is 0 where nothing could.",
        formats={**dict.fromkeys(shares, _SHARE), "absolute_error": ".2f", "seed": ".0f"},
        labels={"value": "which", "invalid_rate": "invalid"},
    )


def _answers_table(marked: pd.DataFrame) -> Table:
    one = of_first_seed(marked)
    first, second = (one[one["arm"] == name].set_index("example_id") for name in (BASE, SPELLING_ARM))
    second = second.reindex(first.index)
    became = {
        (True, True): "stayed right",
        (False, True): "became right",
        (True, False): "became wrong",
        (False, False): "stayed wrong",
    }
    frame = first[["task", "question", "answer"]].copy()
    frame["base said"] = first["output"]
    frame["spelling arm said"] = second["output"]
    frame["result"] = [became[pair] for pair in zip(first["exact"], second["exact"], strict=True)]
    shown = frame.groupby(["task", "result"], sort=False).head(_SAMPLES_PER_KIND)
    return Table(shown.sort_values(["task", "result"], kind="stable"), labels={"answer": "right answer"})


def _method(settings: EvaluationSettings) -> list[str]:
    return [
        "Words are split by family, so no test word is an inflection of a training word. Each task has one question "
        "per family; the choice of questions depends on a seed alone. Prompts are those of training and serving, in "
        "non-thinking mode; answers are decoded greedily, with the think tags masked.",
        f"Intervals are at {level(settings.confidence)}. Shares have Wilson's interval. Differences are paired by "
        "question; their interval is that of Bonett and Price over word families. For arms of three training seeds or "
        "more the variance of seeds is estimated and added; for fewer, seeds are assumed to differ by "
        f"{100 * settings.verdict.seed_spread:.1f} points. Tests flip the signs of differences by family, which is "
        "McNemar's exact test where a family has one question and an arm one seed; where seeds add to the variance, p "
        "is the larger of this and of the interval's. The gap closed and the transfer score are resampled by word "
        f"family ({settings.n_resamples:,} resamples, seed {settings.seed}), for this training run alone.",
    ]
