"""Figures of an evaluation: scores, arms side by side, strata, doses, kinds of error.

Each draws a table of ``evaluation.plotted`` and computes nothing. Panels stand beside each other, and one above the
other on a narrow screen (``templates/page.js``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from spelling_transfer.evaluation.errors import NO_ANSWER, RIGHT, RIGHT_AND_MORE
from spelling_transfer.evaluation.plotted import ALL
from spelling_transfer.evaluation.strata import ENDPOINTS, HELD_OUT, STRATA, VALUES
from spelling_transfer.pages.names import ENDPOINT_NAMES, STRATUM_NAMES, arm_name, value_name
from spelling_transfer.pages.numbers import percent, points, span
from spelling_transfer.pages.style import ARM_COLOURS, COLOURS, GREY, error_bars, new_figure, style_figure
from spelling_transfer.tasks.arms import BASE, FORM_CONTROL, SPELLING_ARM
from spelling_transfer.tasks.registry import CORE_TASKS, UNTRAINED_TASKS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_PANELS = (*UNTRAINED_TASKS, "spelling")
"""What the question is about comes first."""
_ROW_PIXELS = 24
_BESIDE = 0.17
"""How far the two comparisons of a row lie above and below its middle."""
_KIND_COLOURS = {
    RIGHT: COLOURS[0],
    RIGHT_AND_MORE: COLOURS[5],
    **dict.fromkeys(("off by one", "wrong letters"), COLOURS[4]),
    "dropped double": COLOURS[2],
    **dict.fromkeys(("missing letters", "other letter of the word", "other number"), COLOURS[1]),
    **dict.fromkeys(("extra letters", "letter not in the word"), COLOURS[3]),
    NO_ANSWER: GREY,
}
"""Kinds that no task has both of share a colour; stacked in this order."""


def plot_scores(scores: pd.DataFrame) -> Figure:
    """Draws exact match by task and arm with Wilson intervals, and what always giving one answer would score."""
    main = scores[scores["group"] == "all"]
    figure = new_figure()
    for arm, rows in main.groupby("arm", sort=False):
        figure.add_bar(
            name=arm_name(str(arm)),
            x=rows["task"],
            y=rows["exact_match"],
            marker_color=ARM_COLOURS.get(str(arm), COLOURS[3]),
            error_y=error_bars(rows["exact_match"], rows["low"], rows["high"], thickness=1.5, width=4),
            customdata=rows[["n", "low", "high"]],
            hovertemplate="%{y:.1%} of %{customdata[0]} (%{customdata[1]:.1%} to %{customdata[2]:.1%})",
        )
    majority = main.drop_duplicates("task")
    figure.add_scatter(
        name="the majority answer",
        x=majority["task"],
        y=majority["majority"],
        mode="markers",
        marker={"symbol": "line-ew", "size": 40, "line": {"width": 2, "color": COLOURS[2]}},
        hovertemplate="%{y:.1%}",
    )
    top = max(0.05, float(main["high"].max()), float(majority["majority"].max()))
    figure.update_yaxes(title="exact match", tickformat=".0%", range=[0, min(1.02, 1.08 * top)])
    figure.update_xaxes(showgrid=False)
    return style_figure(figure, height_pixels=440)


def plot_arms(effects: pd.DataFrame) -> Figure:
    """Draws how each arm differs from form control and base: a panel a task, a block an endpoint, a row an arm.

    Args:
        effects: What ``arm_effects`` returns.
    """
    whole = effects[effects["stratum"] == ALL]
    blocks = [
        (ENDPOINT_NAMES[endpoint], [(arm_name(str(arm)), rows) for arm, rows in of_endpoint.groupby("arm", sort=False)])
        for endpoint in (HELD_OUT, *(name for name in ENDPOINTS if name != HELD_OUT))
        if len(of_endpoint := whole[whole["endpoint"] == endpoint])
    ]
    return _forest(blocks)


def plot_strata(effects: pd.DataFrame) -> Figure:
    """Draws how the spelling arm differs from form control and base on each kind of held-out question.

    Args:
        effects: What ``arm_effects`` returns.
    """
    of_spelling = effects[(effects["arm"] == SPELLING_ARM) & (effects["endpoint"] == HELD_OUT)]
    blocks = [
        (STRATUM_NAMES[stratum], [(value_name(value), found[found["value"] == value]) for value in _ordered(found)])
        for stratum in STRATA
        if len(found := of_spelling[(of_spelling["stratum"] == stratum) & of_spelling["difference"].notna()])
    ]
    return _forest([("all questions", [("all", of_spelling[of_spelling["stratum"] == ALL])]), *blocks])


def _ordered(effects: pd.DataFrame) -> list[str]:
    return sorted(set(effects["value"].astype(str)), key=VALUES.index)


def _forest(blocks: Sequence[tuple[str, Sequence[tuple[str, pd.DataFrame]]]]) -> Figure:
    """Draws rows of differences in blocks, a panel a task: filled against the form control, hollow against the base."""
    lines: list[tuple[str, pd.DataFrame | None]] = []
    for title, block in blocks:
        lines += [(f"<b>{title}</b>", None), *block]
    tasks = [task for task in _PANELS if any(rows is not None and (rows["task"] == task).any() for _, rows in lines)]
    figure = new_figure(tasks, horizontal_spacing=0.03)
    placed = [rows.assign(place=-place, label=label) for place, (label, rows) in enumerate(lines) if rows is not None]
    every = pd.concat(placed, ignore_index=True) if placed else pd.DataFrame({"task": [], "arm": []})
    for column, task in enumerate(tasks, start=1):
        of_task = every[every["task"] == task]
        for (arm, reference), rows in of_task.groupby(["arm", "reference"], sort=False):
            hollow, ceiling = reference == BASE, arm == f"direct_{task}"
            colour = ARM_COLOURS.get(str(arm), COLOURS[3])
            figure.add_scatter(
                x=100 * rows["difference"],
                y=rows["place"] + (-_BESIDE if hollow else _BESIDE),
                mode="markers",
                marker={
                    "symbol": ("diamond" if ceiling else "circle") + ("-open" if hollow else ""),
                    "size": 11 if ceiling else 9,
                    "color": colour,
                    "line": {"width": 2, "color": colour},
                },
                error_x={
                    **error_bars(rows["difference"], rows["low"], rows["high"], scale=100, thickness=1.5, width=0),
                    "color": colour,
                },
                customdata=[
                    [row["label"], f"{points(row['difference'])} ({span(row['low'], row['high'])})", row["n"]]
                    for row in rows.to_dict("records")
                ],
                hovertemplate=f"{task}, %{{customdata[0]}} less {arm_name(str(reference))}: %{{customdata[1]}} points, "
                "%{customdata[2]} questions<extra></extra>",
                showlegend=False,
                row=1,
                col=column,
            )
        figure.add_vline(x=0, line={"dash": "dot", "width": 1.5, "color": GREY}, row=1, col=column)
    for name, symbol in (
        (f"less {arm_name(FORM_CONTROL)}", "circle"),
        (f"less {arm_name(BASE)}", "circle-open"),
        ("ceiling: trained on the task", "diamond"),
    ):
        if symbol == "diamond" and not any((every["arm"] == f"direct_{task}").any() for task in tasks):
            continue
        marker = {"symbol": symbol, "size": 9, "color": GREY, "line": {"width": 2, "color": GREY}}
        figure.add_scatter(name=name, x=[None], y=[None], mode="markers", marker=marker)
    figure.update_xaxes(title="points", zeroline=False)
    figure.update_yaxes(
        tickvals=[-place for place in range(len(lines))],
        ticktext=[label for label, _ in lines],
        range=[0.6 - len(lines), 0.6],
        showgrid=False,
        zeroline=False,
    )
    return style_figure(figure, height_pixels=150 + _ROW_PIXELS * len(lines), legend_below=True)


def plot_dose(curve: pd.DataFrame) -> Figure:
    """Draws scores against steps, and position and count over spelling gained, a line an arm.

    Args:
        curve: What ``dose_curve`` returns.
    """
    titles = [*CORE_TASKS, *(f"{task} over spelling" for task in UNTRAINED_TASKS)]
    figure = new_figure(titles, rows=2, cols=3, shared_yaxes=False, vertical_spacing=0.22, horizontal_spacing=0.08,
                        specs=[[{}, {}, {}], [{}, {}, None]])  # fmt: skip
    for arm, of_arm in curve.groupby("arm", sort=False):
        for place, task in enumerate(titles):
            over_spelling = place >= len(CORE_TASKS)
            rows = of_arm[of_arm["task"] == task.split()[0]]
            score, low, high = (100 * rows[name] for name in ("score", "lowest", "highest"))
            figure.add_scatter(
                name=arm_name(str(arm)),
                legendgroup=str(arm),
                showlegend=place == 0,
                x=100 * rows["spelling_gain"] if over_spelling else rows["step"],
                y=100 * rows["gain"] if over_spelling else score,
                mode="lines+markers",
                line={"color": ARM_COLOURS.get(str(arm), COLOURS[3]), "width": 2},
                marker={"size": 7},
                error_y=None if over_spelling else error_bars(score, low, high),
                customdata=[[step, percent(value)] for step, value in zip(rows["step"], rows["score"], strict=True)],
                hovertemplate=f"{arm_name(str(arm))}, {task.split()[0]} %{{customdata[1]}} after %{{customdata[0]}} "
                "steps<extra></extra>",
                row=1 + over_spelling,
                col=place - len(CORE_TASKS) * over_spelling + 1,
            )
    figure.update_xaxes(title="steps", row=1)
    figure.update_yaxes(ticksuffix="%", rangemode="tozero", row=1)
    figure.update_xaxes(title="spelling gained, points", row=2)
    figure.update_yaxes(title="gained, points", row=2, col=1)
    for column in range(1, len(UNTRAINED_TASKS) + 1):
        figure.add_hline(y=0, line={"dash": "dot", "width": 1.5, "color": GREY}, row=2, col=column)
    return style_figure(figure, height_pixels=620, legend_below=True)


def plot_errors(errors: pd.DataFrame) -> Figure:
    """Draws what each arm's answers are, from right to none, a panel a task and a bar an arm.

    Args:
        errors: What ``evaluation.errors.error_shares`` returns.
    """
    tasks = [task for task in _PANELS if (errors["task"] == task).any()]
    figure = new_figure(tasks, horizontal_spacing=0.08)
    arms = list(errors["arm"].unique())[::-1]
    for kind, colour in _KIND_COLOURS.items():
        for column, task in enumerate(tasks, start=1):
            rows = errors[(errors["task"] == task) & (errors["kind"] == kind)].set_index("arm")
            rows = rows.reindex([arm for arm in arms if arm in rows.index])
            if rows.empty:
                continue
            figure.add_bar(
                name=kind,
                legendgroup=kind,
                showlegend=kind not in {trace.name for trace in figure.data},
                orientation="h",
                x=rows["share"],
                y=[arm_name(str(arm)) for arm in rows.index],
                marker={"color": colour, "line": {"width": 0.5, "color": "white"}},
                customdata=rows["n"],
                hovertemplate=f"{task}, %{{y}}: {kind} %{{x:.1%}} (%{{customdata}} answers)<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(tickformat=".0%", range=[0, 1], dtick=0.5, showgrid=False, title="answers")
    figure.update_yaxes(categoryorder="array", categoryarray=[arm_name(str(arm)) for arm in arms])
    figure.update_layout(barmode="stack")
    return style_figure(figure, height_pixels=220 + 30 * len(arms), legend_below=True)
