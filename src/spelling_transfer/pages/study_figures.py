"""Figures of a study: what transfers, what was tried, what it scored and cost, which settings matter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spelling_transfer.pages.numbers import format_value, percent, span
from spelling_transfer.pages.style import COLOURS, GREY, TASK_COLOURS, error_bars, new_figure, style_figure
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.interfaces import COUNTED_STATES, counted
from spelling_transfer.tasks.registry import UNTRAINED_TASKS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_FEW = 6
"""Up to so many trials, each is drawn as clearly as the best."""
_MOST_ERROR_BARS = 12
_METHOD_COLOURS = {"PED-ANOVA": COLOURS[0], "fANOVA": COLOURS[4]}
_SHORTEST_NAME = 2
_LOW_TO_HIGH = ((0.0, GREY), (0.6, COLOURS[5]), (1.0, COLOURS[1]))
"""Grey to blue to orange: seen on light and on dark pages."""
_STATE_SYMBOLS = {"complete": "circle", "stopped": "square", "pruned": "x-thin-open", "failed": "cross-thin-open"}


def plot_learning_curves(curves: pd.DataFrame, base: Mapping[str, float], best: int | None = None) -> Figure:
    """Draws exact match on validation words against steps, a panel a task and a line a trial, from the base on.

    Args:
        curves: One row an evaluation.
        base: Scores of the base.
        best: The trial to draw on top of the others.
    """
    figure = new_figure([*SCORED_TASKS], horizontal_spacing=0.03)
    few = curves["number"].nunique() <= _FEW
    for column, task in enumerate(SCORED_TASKS, start=1):
        for is_best, lines in _lines(curves, base, best):
            clear = is_best or few
            figure.add_scatter(
                x=lines["step"],
                y=lines[task],
                mode="lines+markers" if clear else "lines",
                line={"color": TASK_COLOURS[task], "width": 3 if is_best else 1.5},
                marker={"size": 7},
                opacity=1 if is_best else 0.55 if clear else 0.25,
                showlegend=False,
                customdata=lines["number"],
                hovertemplate=f"{task}, trial %{{customdata}}: %{{y:.1%}} after %{{x}} steps<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(title="steps")
    figure.update_yaxes(title="exact match", col=1)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return style_figure(figure, height_pixels=380)


def _lines(curves: pd.DataFrame, base: Mapping[str, float], best: int | None) -> Iterator[tuple[bool, pd.DataFrame]]:
    """Yields the lines of all other trials, then that of the best, with whether it is the best.

    Each line begins at the base and ends with a gap: a browser draws thousands of them at once, but not one by one.
    """
    numbers = curves["number"].unique()
    start = pd.DataFrame({"number": numbers, "step": 0, **{task: base[task] for task in SCORED_TASKS}})
    gap = pd.DataFrame({"number": numbers})
    rows = pd.concat([start, curves, gap]).sort_values(["number", "step"], kind="stable", na_position="last")
    is_best = rows["number"] == best
    yield from ((each, rows[is_best == each]) for each in (False, True) if (is_best == each).any())


def plot_transfer(changes: pd.DataFrame, best: int | None = None) -> Figure:
    """Draws each trial's gain in spelling against its gain in position and count, in points, with intervals.

    Args:
        changes: What ``measure_changes`` returns.
        best: The trial to mark.
    """
    spelling = changes[changes["task"] == "spelling"].set_index("number")
    figure = new_figure()
    figure.add_hline(y=0, line={"dash": "dot", "width": 1.5, "color": GREY})
    with_bars = len(spelling) <= _MOST_ERROR_BARS
    for task in UNTRAINED_TASKS:
        rows = changes[changes["task"] == task].set_index("number")
        figure.add_scatter(
            name=task,
            x=100 * spelling["gain"].reindex(rows.index),
            y=100 * rows["gain"],
            mode="markers",
            marker={
                "size": [15 if number == best else 9 for number in rows.index],
                "color": TASK_COLOURS[task],
                "symbol": ["star" if number == best else "circle" for number in rows.index],
            },
            error_y={
                **error_bars(rows["gain"], rows["low"], rows["high"], scale=100, thickness=1),
                "visible": with_bars and bool(rows["low"].notna().all()),
            },
            customdata=[
                [number, "" if pd.isna(low) else f" ({span(low, high)})"]
                for number, low, high in zip(rows.index, rows["low"], rows["high"], strict=True)
            ],
            hovertemplate=f"trial %{{customdata[0]}}: spelling %{{x:+.1f}}, {task} %{{y:+.1f}}%{{customdata[1]}}"
            "<extra></extra>",
        )
    figure.update_xaxes(title="gain in spelling (points)")
    figure.update_yaxes(title="gain in position, count (points)")
    return style_figure(figure)


def plot_transfer_paths(curves: pd.DataFrame, base: Mapping[str, float], best: int | None = None) -> Figure:
    """Draws each trial's way from the base: spelling against the mean of position and count, over its steps.

    Args:
        curves: One row an evaluation.
        base: Scores of the base.
        best: The trial to draw on top of the others.
    """
    figure = new_figure()
    for is_best, lines in _lines(curves, base, best):
        figure.add_scatter(
            x=lines["spelling"],
            y=(lines["position"] + lines["count"]) / 2,
            mode="lines+markers",
            line={"color": COLOURS[0] if is_best else GREY, "width": 3 if is_best else 1.2},
            marker={"size": np.where(lines["step"] == 0, 0, 7 if is_best else 4)},
            opacity=1 if is_best else 0.6,
            name="the recommended trial" if is_best else "other trials",
            customdata=lines[["number", "step"]],
            hovertemplate="trial %{customdata[0]} after %{customdata[1]} steps: spelling %{x:.1%}, position and count "
            "%{y:.1%}<extra></extra>",
        )
    return _on_spelling_and_transfer(figure, base)


def plot_patterns(patterns: pd.DataFrame) -> Figure:
    """Draws the mean gain over trials by difficulty and by tokens of the word, a panel each, with intervals."""
    panels = [("difficulty", "difficulty of the word"), ("tokens", "tokens of the word")]
    figure = new_figure([title for _, title in panels])
    for column, (pattern, _) in enumerate(panels, start=1):
        for task in SCORED_TASKS:
            rows = patterns[(patterns["pattern"] == pattern) & (patterns["task"] == task)]
            figure.add_scatter(
                name=task,
                legendgroup=task,
                showlegend=column == 1,
                x=rows["value"],
                y=100 * rows["gain"],
                mode="lines+markers",
                line={"color": TASK_COLOURS[task], "width": 2},
                marker={"size": 8},
                error_y=error_bars(rows["gain"], rows["low"], rows["high"], scale=100),
                customdata=rows["questions"],
                hovertemplate=f"{task}: %{{y:+.1f}} points on %{{customdata}} questions<extra></extra>",
                row=1,
                col=column,
            )
        figure.add_hline(y=0, line={"dash": "dot", "width": 1.5, "color": GREY}, row=1, col=column)
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(title="gain over the base (points)", col=1)
    # The legend stands where the panels' titles are, unless it is lifted.
    return style_figure(figure, height_pixels=400).update_layout(legend={"y": 1.12}, margin={"t": 80})


def pareto_front(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns the finished trials that no other one exceeds in both spelling and the mean of position and count.

    Returns:
        ``number``, ``spelling`` and ``transfer`` (the mean of position and count), from the worst speller up.
    """
    kept = counted(trials)
    points = kept[["number", "spelling"]].assign(transfer=(kept["position"] + kept["count"]) / 2)
    points = points.sort_values(["spelling", "transfer", "number"], ascending=[False, False, True], kind="stable")
    best_before = points["transfer"].cummax().shift(fill_value=-np.inf)
    return points[points["transfer"] > best_before].iloc[::-1].reset_index(drop=True)


def plot_pareto(trials: pd.DataFrame, base: Mapping[str, float], best: int | None = None) -> Figure:
    """Draws spelling against the mean of position and count where each trial ended, with the Pareto front.

    Args:
        trials: One row a trial.
        base: Exact match of the base by task.
        best: The trial to mark.
    """
    figure = new_figure()
    front = pareto_front(trials)
    figure.add_scatter(
        x=front["spelling"],
        y=front["transfer"],
        mode="lines",
        line={"color": COLOURS[2], "width": 2, "dash": "dot"},
        name="Pareto front: nothing is better at both",
        hoverinfo="skip",
    )
    for state, rows in trials.dropna(subset=["spelling"]).groupby("state"):
        figure.add_scatter(
            name=str(state),
            x=rows["spelling"],
            y=(rows["position"] + rows["count"]) / 2,
            mode="markers",
            marker=_state_marker(
                state,
                size=[15 if number == best else 9 for number in rows["number"]],
                symbol=["star" if n == best else _STATE_SYMBOLS.get(str(state), "circle") for n in rows["number"]],
            ),
            customdata=rows[["number", "transfer_score"]],
            hovertemplate="trial %{customdata[0]}: spelling %{x:.1%}, position and count %{y:.1%}, score "
            "%{customdata[1]:.1%}<extra></extra>",
        )
    return _on_spelling_and_transfer(figure, base)


def _on_spelling_and_transfer(figure: Figure, base: Mapping[str, float]) -> Figure:
    figure.add_scatter(
        name="base",
        x=[base["spelling"]],
        y=[(base["position"] + base["count"]) / 2],
        mode="markers",
        marker={"size": 13, "symbol": "diamond", "color": COLOURS[1]},
        hovertemplate="base: spelling %{x:.1%}, position and count %{y:.1%}<extra></extra>",
    )
    figure.update_xaxes(title="spelling, exact match", tickformat=".0%")
    figure.update_yaxes(title="mean of position and count", tickformat=".1%")
    return style_figure(figure)


def _state_marker(state: Any, **more: Any) -> dict[str, Any]:
    colour = COLOURS[0] if state in COUNTED_STATES else GREY
    symbol = _STATE_SYMBOLS.get(str(state), "circle")
    return {"size": 9, "symbol": symbol, "color": colour, "line": {"width": 1.5, "color": colour}, **more}


def plot_history(trials: pd.DataFrame, seconds: pd.DataFrame) -> Figure:
    """Draws each trial's score against the training time spent so far, and the best score so far."""
    rows = trials.merge(seconds, on="number").sort_values("number", kind="stable")
    rows["minutes"] = rows["seconds"].cumsum() / 60
    kept = counted(rows)
    figure = new_figure()
    figure.add_scatter(
        name="best so far",
        x=kept["minutes"],
        y=kept["selection_score"].cummax(),
        mode="lines",
        line={"color": COLOURS[2], "width": 2, "shape": "hv"},
        hovertemplate="best %{y:.1%} after %{x:.1f} minutes<extra></extra>",
    )
    for state, part in rows.dropna(subset=["selection_score"]).groupby("state"):
        figure.add_scatter(
            name=str(state),
            x=part["minutes"],
            y=part["selection_score"],
            mode="markers",
            marker=_state_marker(state),
            customdata=part[["number", "steps", "seconds"]],
            hovertemplate="trial %{customdata[0]}: %{y:.1%}, %{customdata[1]} steps in %{customdata[2]:.1f} s"
            "<extra></extra>",
        )
    figure.update_xaxes(title="minutes of training and scoring, all trials so far", rangemode="tozero")
    figure.update_yaxes(title="score that trials are ranked by", tickformat=".0%")
    return style_figure(figure)


def plot_importance(importance: pd.DataFrame) -> Figure:
    """Draws the importance of each setting by both methods, with its spread over resampled trials."""
    figure = new_figure()
    if importance.empty:
        figure.add_annotation(text="Too few trials, or nothing varied.", showarrow=False, x=0.5, y=0.5)
    for method, rows in importance.iloc[::-1].groupby("method", sort=False):
        figure.add_bar(
            name=str(method),
            orientation="h",
            x=rows["importance"],
            y=rows["setting"],
            marker_color=_METHOD_COLOURS[str(method)],
            # The spread is of other samples of trials; the value itself may lie outside it.
            error_x=error_bars(
                rows["importance"],
                rows["low"].clip(upper=rows["importance"]),
                rows["high"].clip(lower=rows["importance"]),
                thickness=1.5,
                width=4,
            ),
            customdata=rows[["low", "high"]],
            hovertemplate="%{y}: %{x:.0%} (%{customdata[0]:.0%} to %{customdata[1]:.0%})",
        )
    figure.update_xaxes(title="share of the importance of all settings", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(showgrid=False)
    figure.update_layout(barmode="group", legend={"traceorder": "reversed"})
    return style_figure(figure, height_pixels=150 + 60 * max(importance["setting"].nunique(), 2))


def plot_parallel(trials: pd.DataFrame, search_space: dict[str, Any]) -> Figure:
    """Draws a line a finished trial through the values of its settings to its scores; drag on an axis to select.

    Args:
        trials: One row a trial.
        search_space: The entries of the space by setting name.
    """
    kept = counted(trials).dropna(subset=["transfer_score"])
    names = [name for name in kept.columns if "." in name and kept[name].notna().any()]
    dimensions = [_dimension(kept[name], name, search_space.get(name)) for name in names]
    dimensions += [_score_axis(name, kept[name]) for name in (*SCORED_TASKS, "transfer_score")]
    figure = new_figure().add_parcoords(
        dimensions=dimensions,
        line={"color": kept["transfer_score"], "colorscale": _LOW_TO_HIGH, "showscale": False},
        labelangle=-12,
        unselected={"line": {"opacity": 0.1}},
    )
    figure = style_figure(figure, height_pixels=440)
    return figure.update_layout(margin={"l": 70, "r": 50, "t": 90, "b": 24})


def _score_axis(name: str, values: pd.Series[Any]) -> dict[str, Any]:
    ticks = np.linspace(values.min(), values.max(), 4 if values.nunique() > 1 else 1).tolist()
    return {
        "label": name.replace("_", " "),
        "values": values,
        "range": _span(values),
        "tickvals": ticks,
        "ticktext": [percent(tick) for tick in ticks],
    }


def short_name(name: str) -> str:
    """Returns a setting's name for a heading: ``training.learning_rate`` as ``learning rate``; ``lora.r`` as it is."""
    last = name.rpartition(".")[2].replace("_", " ")
    return last if len(last) > _SHORTEST_NAME else name


def _dimension(column: pd.Series[Any], name: str, entry: Any) -> dict[str, Any]:
    label = short_name(name)
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if is_number and isinstance(entry, dict) and entry.get("low") is not None:
        if not entry.get("log"):
            return {"label": label, "values": column, "range": _span(column)}
        values = column.astype(float).map(math.log10)
        ticks = np.linspace(values.min(), values.max(), 4) if values.nunique() > 1 else values.unique()
        return {
            "label": f"{label} (log)",
            "values": values,
            "tickvals": list(ticks),
            "ticktext": [f"{10**tick:.1e}" for tick in ticks],
            "range": _span(values),
        }
    order = sorted(column.dropna().unique(), key=lambda value: (isinstance(value, str), value))
    places = column.map({value: place for place, value in enumerate(order)}).fillna(-1)
    return {
        "label": label,
        "values": places,
        "tickvals": list(range(len(order))),
        "ticktext": [f"{value:g}" if is_number else format_value(value) for value in order],
        "range": [-0.3, len(order) - 0.7] if len(order) > 1 else [-1, 1],
    }


def _span(values: pd.Series[Any]) -> list[float]:
    # An axis whose ends are equal has no middle to draw at.
    low, high = float(values.min()), float(values.max())
    return [low, high] if high > low else [low - 0.5, high + 0.5]
