"""Knowledge against answers: what probes read from each layer of each arm, beside what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from spelling_transfer.evaluation.layer_probes import NO_LAYER, best_layers
from spelling_transfer.pages.names import arm_name
from spelling_transfer.pages.numbers import POINTS, level, listed, percent, points, span
from spelling_transfer.pages.page import Section
from spelling_transfer.pages.style import COLOURS, GREY, error_bars, new_figure, style_figure
from spelling_transfer.pages.tables import Table
from spelling_transfer.tasks.arms import BASE, SPELLING_ARM

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_READ = {"position": "letter", "count": "count"}
_TOLD_OF = (BASE, SPELLING_ARM)
"""Arms that the sentences speak of; the figure and the table have all."""
_INTRODUCTION = (
    "A linear probe reads the right answer from the hidden states of each layer at the end of the question. It is "
    "fitted to questions about other word families and tested on the questions of this evaluation. The same probe with "
    "shuffled labels is the control. A probe finds only what is linearly readable: the model may know more, and may "
    "not use what can be read. If a probe reads less than is answered, it had too few questions to learn from."
)


def probe_sections(probes: pd.DataFrame, figure: Figure, *, confidence: float) -> list[Section]:
    """Returns what the page of an evaluation says of the probes; nothing where there are none.

    Args:
        probes: What ``probe_layers`` returned.
        figure: What :func:`plot_probes` made of it.
        confidence: Level of the intervals.
    """
    if probes.empty:
        return []
    heading, unprobed = "Knowledge against answers", _unprobed(probes)
    text = [*describe_probes(probes), *([f"Not probed: {unprobed}."] if unprobed else []), _INTRODUCTION]
    if (probes["layer"] == NO_LAYER).all():
        return [Section(heading, text=text)]
    return [
        Section(
            heading,
            text=text,
            figure=figure,
            caption=f"Probe accuracy by layer (0 is the embedding) with {level(confidence)} Wilson intervals, the "
            "share of right answers to the same questions, and the probe with shuffled labels. Trained arms are shown "
            "with their first seed.",
            alt="Lines of probe accuracy by layer for each arm and task. The best layers are in the table below.",
            table=_best_table(probes),
        )
    ]


def describe_probes(probes: pd.DataFrame) -> list[str]:
    """Returns what was found as sentences, one a task and arm: what can be read, and what is answered."""
    best = best_layers(probes)
    last = probes.groupby("arm")["layer"].max()
    return [
        _describe(row, int(last[row["arm"]]))
        for _, row in best[best["arm"].isin(_TOLD_OF)].sort_values("task", kind="stable", ascending=False).iterrows()
    ]


def _describe(row: pd.Series[Any], last: int) -> str:
    arm = arm_name(str(row["arm"]))
    what, read = _READ.get(str(row["task"]), str(row["task"])), percent(row["accuracy"])
    if not row["selectivity_low"] > 0:
        return (
            f"At the best layer of the {arm}, {row['layer']} of {last}, the probe does not read the right {what} "
            f"clearly better than with shuffled labels: {read} of {row['n']:,} questions, "
            f"against {percent(row['shuffled'])}."
        )
    low, high = row["difference_low"], row["difference_high"]
    clear = "" if low > 0 or high < 0 else ", no clear difference"
    return (
        f"The {what} can be read at layer {row['layer']} of {last} of the {arm} in {read} of {row['n']:,} questions, "
        f"and {percent(row['answered'])} are answered right: {points(row['difference'])} points "
        f"({span(low, high)}{clear})."
    )


def _unprobed(probes: pd.DataFrame) -> str:
    rows = probes[probes["layer"] == NO_LAYER]
    parts = []
    for problem, of_problem in rows.groupby("problem", sort=False):
        arms = of_problem.groupby("task", sort=False)["arm"].agg(tuple)
        tasks = (
            "" if set(arms.index) == set(probes["task"]) and arms.nunique() == 1 else f"{listed(list(arms.index))} of "
        )
        parts.append(f"{tasks}{listed([arm_name(arm) for arm in of_problem['arm'].unique()])} ({problem})")
    return "; ".join(parts)


def _best_table(probes: pd.DataFrame) -> Table:
    names = ["arm", "task", "layer", "n", "accuracy", "low", "high", "shuffled", "answered"]
    ends = ["difference", "difference_low", "difference_high"]
    return Table(
        best_layers(probes)[names + ends].assign(arm=lambda best: best["arm"].map(arm_name)),
        caption="The best layer, selected by the error of the fit and not by test questions. Accuracy is the probe's; "
        "the difference is accuracy minus the share answered right, paired by question. None of this is part of the "
        "verdict.",
        formats={**dict.fromkeys(names[4:], ".1%"), **dict.fromkeys(ends, POINTS)},
        labels={"answered": "answered right", "difference_low": "from", "difference_high": "to"},
    )


def plot_probes(probes: pd.DataFrame) -> Figure:
    """Draws by layer what is read, beside what is answered: a row of panels a task, a column an arm."""
    probed = probes[probes["layer"] != NO_LAYER]
    if probed.empty:
        return style_figure(new_figure().add_annotation(text="not probed", showarrow=False))
    tasks, arms = list(probed["task"].unique()), list(probed["arm"].unique())
    figure = new_figure(
        [f"{arm_name(arm).replace(' (', '<br>(')}<br>{task}" for task in tasks for arm in arms],
        rows=len(tasks),
        cols=len(arms),
        shared_xaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.2,
    )
    for (task, arm), rows in probed.groupby(["task", "arm"], sort=False):
        first = (task, arm) == (tasks[0], arms[0])
        lines = {
            "read by a probe": ("accuracy", {"color": COLOURS[0], "width": 2.5}),
            "answered right": ("answered", {"color": COLOURS[1], "width": 2.5, "dash": "dash"}),
            "read with shuffled labels": ("shuffled", {"color": GREY, "width": 1.5, "dash": "dot"}),
        }
        for name, (column, line) in lines.items():
            is_read = column == "accuracy"
            figure.add_scatter(
                name=name,
                legendgroup=name,
                showlegend=first,
                x=rows["layer"],
                y=rows[column],
                mode="lines+markers" if is_read else "lines",
                line=line,
                error_y=error_bars(rows["accuracy"], rows["low"], rows["high"]) if is_read else None,
                customdata=rows["n"],
                hovertemplate="layer %{x}: %{y:.1%} of %{customdata}",
                row=tasks.index(task) + 1,
                col=arms.index(arm) + 1,
            )
    figure.update_yaxes(title="share right", col=1)
    figure.update_xaxes(title="layer", row=len(tasks))
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    return style_figure(figure, height_pixels=130 + 270 * len(tasks), legend_below=True).update_layout(margin_t=80)
