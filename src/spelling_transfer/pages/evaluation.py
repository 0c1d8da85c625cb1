"""The page of an evaluation: what was found, the numbers as tables and figures, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from spelling_transfer.evaluation.comparison import core_rows, main_rows, transfer_row
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.pages.findings import describe_comparison
from spelling_transfer.pages.numbers import percent, points, signed, span
from spelling_transfer.pages.page import Card, Section, render_page
from spelling_transfer.pages.style import ARM_COLOURS, COLOURS, GREY, TASK_COLOURS, error_bars, style_figure
from spelling_transfer.pages.tables import Table
from spelling_transfer.pages.verdict import gates_table, secondary_table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TONES: Mapping[str, Literal["neutral", "good", "bad"]] = {"up": "good", "down": "bad", "unclear": "neutral"}
_SHARE = ".1%"
_SAMPLES_PER_KIND = 8
_ENDS = ("difference", "low", "high")
_MAX_COLUMNS = 4


def comparison_cards(comparison: pd.DataFrame) -> list[Card]:
    """Returns a card a core task: from which score to which, and the difference with its interval."""
    cards = [
        Card(
            label=str(row["task"]),
            value=f"{percent(row['reference_score'])} → {percent(row['arm_score'])}",
            note=f"{points(row['difference'])} points ({span(row['low'], row['high'])})",
            tone=_TONES[str(row["verdict"])],
        )
        for _, row in core_rows(comparison).iterrows()
    ]
    score = transfer_row(comparison)
    if score is not None:
        cards.append(
            Card(
                label=f"transfer score ({score['value']})",
                value=f"{score['reference_score']:.3f} → {score['arm_score']:.3f}",
                note=f"{signed(score['difference'])} ({span(score['low'], score['high'], signed)})",
                tone=_TONES[str(score["verdict"])],
            )
        )
    return cards


def comparison_table(comparison: pd.DataFrame) -> Table:
    """Returns the whole comparison as a table."""
    frame = pd.DataFrame(
        {
            "task": comparison["task"],
            "questions": [
                "all" if group == "all" else str(value)
                for group, value in zip(comparison["group"], comparison["value"], strict=True)
            ],
            "n": comparison["n"],
            "before": comparison["reference_score"],
            "after": comparison["arm_score"],
            "difference": comparison["difference"],
            "low": comparison["low"],
            "high": comparison["high"],
            "only_before_right": comparison["only_reference"],
            "only_after_right": comparison["only_arm"],
            "p_value": comparison["p_value"],
            "p_adjusted": comparison["p_adjusted"],
            "gap_closed": comparison["gap_closed"],
        }
    )
    frame = frame[comparison["measure"] == "exact_match"]
    formats = {
        **dict.fromkeys(("before", "after", "gap_closed"), _SHARE),
        **dict.fromkeys(("difference", "low", "high"), "+.1%"),
        **dict.fromkeys(("only_before_right", "only_after_right"), ".0f"),
        **dict.fromkeys(("p_value", "p_adjusted"), ".2g"),
    }
    caption = (
        "Low and high are the ends of the difference's interval; p is the test of no difference, adjusted for position "
        "and count together (Holm) or for all else (Benjamini and Hochberg); the gap closed is the share of the base "
        "model's errors that are gone."
    )
    return Table(frame, caption=caption, formats=formats, labels={"p_value": "p", "p_adjusted": "p, adjusted"})


def control_table(control: pd.DataFrame) -> Table:
    """Returns the comparison with the control arm as a table: whole tasks and the transfer score."""
    rows = control[(control["group"] == "all") & (control["measure"] == "exact_match")]
    score = control[control["measure"] == "transfer_score"]
    rows = pd.concat([rows, score.assign(task="transfer score")])
    frame = rows[["task", "n", "reference_score", "arm_score", "difference", "low", "high", "verdict"]]
    return Table(
        frame,
        caption="Difference: spelling minus form control, paired by question. Low and high are the ends of its "
        "interval. The transfer score is a weighted sum, not a share.",
        formats={**dict.fromkeys(("reference_score", "arm_score"), ".3f"), **dict.fromkeys(_ENDS, "+.3f")},
        labels={"reference_score": "form control", "arm_score": "spelling"},
    )


def render_evaluation_page(
    marked: pd.DataFrame,
    scores: pd.DataFrame,
    comparison: pd.DataFrame,
    control: pd.DataFrame,
    verdict: Mapping[str, Any],
    figures: Mapping[str, Figure],
    settings: EvaluationSettings,
    *,
    further: Sequence[Section] = (),
) -> str:
    """Returns the page as HTML.

    Args:
        marked: The marked answers.
        scores: Scores by arm, task and group.
        comparison: The paired comparison with the base model.
        control: The paired comparison with the control arm; no rows without one.
        verdict: The answer to the question of the study.
        figures: ``scores``, ``differences`` and, where there are several, ``n_tokens``.
        settings: How the evaluation was made.
        further: Sections of other modules, before the method.
    """
    reference, arm = (str(comparison[name].iloc[0]) for name in ("reference", "arm"))
    n_families = int(main_rows(comparison)["families"].max())
    sections = [
        Section(
            "What was found",
            text=describe_comparison(comparison, control, verdict, confidence=settings.confidence),
            cards=comparison_cards(comparison),
        ),
        Section(
            "What had to hold",
            text="Without a treatment that worked and a ceiling to reach, neither a rise nor none would be an answer.",
            table=gates_table(verdict),
        ),
        Section(
            "Scores",
            figure=figures["scores"],
            caption=f"Exact match on words of held-out families, with {settings.confidence:.0%} Wilson intervals. "
            "The line is what always giving the commonest right answer would score.",
            alt="Bars of exact match by task for each arm. The numbers are in the tables below.",
        ),
        Section(
            f"Change from {reference} to {arm}",
            figure=figures["differences"],
            caption="Both arms answered the same questions. A change is clear if its interval is on one side of zero "
            "and its adjusted test rejects no change.",
            table=comparison_table(comparison),
        ),
    ]
    if len(control):
        sections.append(
            Section(
                "Adjusted for the form control",
                text="The form control had the same steps on the same prompts, with the answers that the base model "
                "itself gives to them: it practises the form of question and answer and is told nothing of letters. A "
                "difference from it is what the form does not explain.",
                table=control_table(control),
            )
        )
    if "n_tokens" in figures:
        sections.append(
            Section(
                "By tokens of the word",
                text="A word of several tokens shows the model some of its inner borders; a word of one token shows "
                "none of its letters.",
                figure=figures["n_tokens"],
                caption="Tokens of the word after a space. Groups are small, so their intervals are wide.",
            )
        )
    if (secondary := secondary_table(verdict)) is not None:
        sections.append(Section("Not declared beforehand", table=secondary))
    sections += [
        Section("Every score", table=_scores_table(scores)),
        Section(
            "Sample answers",
            text="Not chosen by hand: the first of each kind in the order in which the questions were drawn.",
            table=_answers_table(marked, reference, arm),
        ),
        *further,
        Section("How this was measured", text=_method(settings)),
    ]
    n_questions = marked["example_id"].nunique()
    arms = [reference, arm, *([str(control["reference"].iloc[0])] if len(control) else [])]
    subtitle = f"{n_questions:,} questions, words of {n_families:,} held-out families, arms: {', '.join(arms)}"
    return render_page("Evaluation", sections, subtitle=subtitle)


def _scores_table(scores: pd.DataFrame) -> Table:
    frame = scores.copy()
    frame["group"] = frame["group"].str.replace("_", " ")
    shares = ("exact_match", "low", "high", "lenient", "invalid_rate", "majority", "similarity")
    return Table(
        frame,
        caption="Exact match counts an answer only if it is the right one and nothing else. Lenient reads the answer "
        "out of a longer text; invalid are outputs without one. Majority is the score of the commonest right answer.",
        formats=dict.fromkeys(shares, _SHARE),
        labels={"value": "which", "invalid_rate": "invalid"},
    )


def _answers_table(marked: pd.DataFrame, reference: str, arm: str) -> Table:
    first, second = (marked[marked["arm"] == name].set_index("example_id") for name in (reference, arm))
    second = second.reindex(first.index)
    became = {
        (True, True): "stayed right",
        (False, True): "became right",
        (True, False): "became wrong",
        (False, False): "stayed wrong",
    }
    frame = first[["task", "question", "answer"]].copy()
    frame[f"{reference} said"] = first["output"]
    frame[f"{arm} said"] = second["output"]
    frame["result"] = [became[pair] for pair in zip(first["exact"], second["exact"], strict=True)]
    shown = frame.groupby(["task", "result"], sort=False).head(_SAMPLES_PER_KIND)
    return Table(shown.sort_values(["task", "result"], kind="stable"), labels={"answer": "right answer"})


def _method(settings: EvaluationSettings) -> list[str]:
    return [
        "Words are split by family, so no test word is an inflection of a training word. Each task asks one question "
        "a family; the choice of questions depends on a seed alone. Prompts are those of training and serving, in "
        "non-thinking mode; answers are the most likely tokens, with the think tags masked.",
        f"Intervals are at {settings.confidence:.0%}. Shares have Wilson's interval. Differences are paired by "
        "question; their interval is that of Bonett and Price over word families. For arms of three training seeds or "
        "more the variance of seeds is estimated and added; for fewer, seeds are assumed to differ by "
        f"{100 * settings.verdict.seed_spread:.1f} points. Tests flip the signs of differences by family, which is "
        "McNemar's exact test where a family has one question. The gap closed and the transfer score are resampled by "
        f"word family ({settings.n_resamples:,} resamples, seed {settings.seed}), for this training run alone.",
    ]


def plot_scores(scores: pd.DataFrame) -> Figure:
    """Draws exact match by task and arm with Wilson intervals, and what guessing the commonest answer would give."""
    import plotly.graph_objects as go

    main = scores[scores["group"] == "all"]
    figure = go.Figure()
    for arm, rows in main.groupby("arm", sort=False):
        figure.add_bar(
            name=str(arm),
            x=rows["task"],
            y=rows["exact_match"],
            marker_color=ARM_COLOURS.get(str(arm), COLOURS[3]),
            error_y=error_bars(rows["exact_match"], rows["low"], rows["high"], thickness=1.5, width=4),
            customdata=rows[["n", "low", "high"]],
            hovertemplate="%{y:.1%} of %{customdata[0]} (%{customdata[1]:.1%} to %{customdata[2]:.1%})",
        )
    majority = main.drop_duplicates("task")
    figure.add_scatter(
        name="always the commonest answer",
        x=majority["task"],
        y=majority["majority"],
        mode="markers",
        marker={"symbol": "line-ew", "size": 70, "line": {"width": 2, "color": COLOURS[1]}},
        hovertemplate="%{y:.1%}",
    )
    top = max(0.05, float(main["high"].max()))
    figure.update_yaxes(title="exact match", tickformat=".0%", range=[0, min(1.02, 1.08 * top)])
    figure.update_xaxes(showgrid=False)
    return style_figure(figure)


def plot_differences(comparison: pd.DataFrame) -> Figure:
    """Draws the paired difference of each task with its interval against the line of no change."""
    import plotly.graph_objects as go

    rows = main_rows(comparison).iloc[::-1]
    figure = go.Figure()
    figure.add_vline(x=0, line={"dash": "dot", "width": 1.5, "color": GREY})
    figure.add_scatter(
        x=100 * rows["difference"],
        y=rows["task"],
        mode="markers+text",
        marker={"size": 11, "color": [TASK_COLOURS.get(task, COLOURS[3]) for task in rows["task"]]},
        text=[points(difference) for difference in rows["difference"]],
        textposition="top center",
        error_x={
            **error_bars(rows["difference"], rows["low"], rows["high"], scale=100, thickness=2, width=6),
            "color": GREY,
        },
        customdata=[span(low, high) for low, high in zip(rows["low"], rows["high"], strict=True)],
        hovertemplate="%{y}: %{text} points (%{customdata})<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(title="change in exact match, percentage points")
    figure.update_yaxes(showgrid=False, range=[-0.6, len(rows) - 0.4])
    return style_figure(figure, height_pixels=130 + 65 * len(rows))


def plot_groups(scores: pd.DataFrame, group: str, title: str) -> Figure:
    """Draws exact match by a property of the question (such as its word's tokens): a panel a task, a line an arm."""
    from plotly.subplots import make_subplots

    rows = scores[scores["group"] == group]
    tasks = list(rows["task"].unique())
    n_columns = min(len(tasks), _MAX_COLUMNS)
    n_rows = -(-len(tasks) // n_columns)
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=tasks,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.25 / n_rows,
    )
    for panel, task in enumerate(tasks):
        row, column = panel // n_columns + 1, panel % n_columns + 1
        for arm, part in rows[rows["task"] == task].groupby("arm", sort=False):
            figure.add_scatter(
                name=str(arm),
                legendgroup=str(arm),
                showlegend=panel == 0,
                x=part["value"],
                y=part["exact_match"],
                mode="lines+markers",
                line={"color": ARM_COLOURS.get(str(arm), COLOURS[3]), "width": 2},
                marker={"size": 8},
                error_y=error_bars(part["exact_match"], part["low"], part["high"]),
                customdata=part["n"],
                hovertemplate="%{y:.1%} of %{customdata}",
                row=row,
                col=column,
            )
        lowest = panel + n_columns >= len(tasks)  # elsewhere a title would run into the panel below
        figure.update_xaxes(title=title if lowest else None, type="category", showgrid=False, row=row, col=column)
    figure.update_yaxes(title="exact match", tickformat=".0%", rangemode="tozero", col=1)
    figure = style_figure(figure, height_pixels=80 + 300 * n_rows)
    return figure.update_layout(legend={"y": 1 + 0.12 / n_rows})
