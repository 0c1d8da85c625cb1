"""Figures of a search: what was tried, what it scored, what it cost, which settings matter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spelling_transfer.pages.study_figures import GREY
from spelling_transfer.pages.style import COLOURS, style_figure
from spelling_transfer.study.observer import counted

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_METHOD_COLOURS = {"PED-ANOVA": COLOURS[0], "fANOVA": COLOURS[4]}
_SHORTEST_NAME = 2
_LOW_TO_HIGH = ((0.0, GREY), (0.6, COLOURS[5]), (1.0, COLOURS[1]))
"""Grey to blue to orange: seen on light and on dark pages."""
_STATE_SYMBOLS = {"complete": "circle", "stopped": "square", "pruned": "x-thin-open", "failed": "cross-thin-open"}


def pareto_front(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns the finished trials that no other one beats in spelling and in the mean of position and count.

    Returns:
        ``number``, ``spelling`` and ``transfer`` (the mean of position and count), from the worst speller up.
    """
    kept = counted(trials)
    points = kept[["number", "spelling"]].assign(transfer=(kept["position"] + kept["count"]) / 2)
    points = points.sort_values(["spelling", "transfer", "number"], ascending=[False, False, True], kind="stable")
    best_before = points["transfer"].cummax().shift(fill_value=-np.inf)
    return points[points["transfer"] > best_before].iloc[::-1].reset_index(drop=True)


def plot_pareto(trials: pd.DataFrame, base: dict[str, float], best: int | None = None) -> Figure:
    """Draws spelling against the mean of position and count where each trial ended, with the Pareto front.

    Args:
        trials: One row a trial.
        base: Exact match of the base model by task.
        best: The trial to mark.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
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
            marker={
                "size": [15 if number == best else 9 for number in rows["number"]],
                "symbol": ["star" if n == best else _STATE_SYMBOLS.get(str(state), "circle") for n in rows["number"]],
                "color": COLOURS[0] if state in ("complete", "stopped") else GREY,
                "line": {"width": 1.5, "color": COLOURS[0] if state in ("complete", "stopped") else GREY},
            },
            customdata=rows[["number", "transfer_score"]],
            hovertemplate="trial %{customdata[0]}: spelling %{x:.1%}, position and count %{y:.1%}, score "
            "%{customdata[1]:.3f}<extra></extra>",
        )
    figure.add_scatter(
        name="base model",
        x=[base["spelling"]],
        y=[(base["position"] + base["count"]) / 2],
        mode="markers",
        marker={"size": 13, "symbol": "diamond", "color": COLOURS[1]},
        hovertemplate="base model: spelling %{x:.1%}, position and count %{y:.1%}<extra></extra>",
    )
    figure.update_xaxes(title="spelling, exact match", tickformat=".0%")
    figure.update_yaxes(title="mean of position and count", tickformat=".1%")
    return style_figure(figure)


def plot_history(trials: pd.DataFrame, seconds: pd.DataFrame) -> Figure:
    """Draws each trial's score against the training time spent so far, and the best score so far."""
    import plotly.graph_objects as go

    rows = trials.merge(seconds, on="number").sort_values("number", kind="stable")
    rows["minutes"] = rows["seconds"].cumsum() / 60
    kept = counted(rows)
    figure = go.Figure()
    figure.add_scatter(
        name="best so far",
        x=kept["minutes"],
        y=kept["transfer_score"].cummax(),
        mode="lines",
        line={"color": COLOURS[2], "width": 2, "shape": "hv"},
        hovertemplate="best %{y:.3f} after %{x:.1f} minutes<extra></extra>",
    )
    for state, part in rows.dropna(subset=["transfer_score"]).groupby("state"):
        figure.add_scatter(
            name=str(state),
            x=part["minutes"],
            y=part["transfer_score"],
            mode="markers",
            marker={
                "size": 9,
                "symbol": _STATE_SYMBOLS.get(str(state), "circle"),
                "color": COLOURS[0] if state in ("complete", "stopped") else GREY,
                "line": {"width": 1.5, "color": COLOURS[0] if state in ("complete", "stopped") else GREY},
            },
            customdata=part[["number", "steps", "seconds"]],
            hovertemplate="trial %{customdata[0]}: %{y:.3f}, %{customdata[1]} steps in %{customdata[2]:.1f} s"
            "<extra></extra>",
        )
    figure.update_xaxes(title="minutes of training and scoring, all trials so far", rangemode="tozero")
    figure.update_yaxes(title="transfer score")
    return style_figure(figure)


def plot_importance(importance: pd.DataFrame) -> Figure:
    """Draws the importance of each setting by both methods, with its spread over resampled trials."""
    import plotly.graph_objects as go

    figure = go.Figure()
    if importance.empty:
        figure.add_annotation(text="Too few trials, or nothing varied.", showarrow=False, x=0.5, y=0.5)
    for method, rows in importance.iloc[::-1].groupby("method", sort=False):
        figure.add_bar(
            name=str(method),
            orientation="h",
            x=rows["importance"],
            y=rows["setting"],
            marker_color=_METHOD_COLOURS[str(method)],
            error_x={
                "type": "data",
                # The spread is of other samples of trials; the value itself may lie outside it.
                "array": (rows["high"] - rows["importance"]).clip(lower=0),
                "arrayminus": (rows["importance"] - rows["low"]).clip(lower=0),
                "thickness": 1.5,
                "width": 4,
            },
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
    import plotly.graph_objects as go

    kept = counted(trials).dropna(subset=["transfer_score"])
    names = [name for name in kept.columns if "." in name and kept[name].notna().any()]
    dimensions = [_dimension(kept[name], name, search_space.get(name)) for name in names]
    dimensions += [_score_axis(task, 100 * kept[task], 1) for task in ("spelling", "position", "count")]
    dimensions.append(_score_axis("transfer score", kept["transfer_score"], 3))
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": kept["transfer_score"], "colorscale": _LOW_TO_HIGH, "showscale": False},
            labelangle=-12,
            unselected={"line": {"opacity": 0.1}},
        )
    )
    figure = style_figure(figure, height_pixels=440)
    return figure.update_layout(margin={"l": 70, "r": 50, "t": 90, "b": 24})


def _score_axis(label: str, values: pd.Series[Any], digits: int) -> dict[str, Any]:
    low, high = _span(values)
    ticks = [float(tick) for tick in np.linspace(low, high, 4)]
    texts = [f"{tick:.{digits}f}" for tick in ticks]
    return {"label": label, "values": values, "range": [low, high], "tickvals": ticks, "ticktext": texts}


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
        "ticktext": [f"{value:g}" if is_number else str(value) for value in order],
        "range": [-0.3, len(order) - 0.7] if len(order) > 1 else [-1, 1],
    }


def _span(values: pd.Series[Any]) -> list[float]:
    # An axis whose ends are equal has no middle to draw at.
    low, high = float(values.min()), float(values.max())
    return [low, high] if high > low else [low - 0.5, high + 0.5]
