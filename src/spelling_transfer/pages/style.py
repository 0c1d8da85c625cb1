"""One look for every figure: colours that colour-blind readers can distinguish, quiet axes, no frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure, layout

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), yellow and black left out for light and dark pages."""
GREY = COLOURS[-1]

ARM_COLOURS: Mapping[str, str] = {
    "base": "#7F7F7F",
    "spelling": "#0072B2",
    "form_control": "#E69F00",
    "direct_position": "#D55E00",
    "direct_count": "#CC79A7",
    "wrong_letters": "#8C510A",
    "indexed_spelling": "#56B4E9",
    "token_letters": "#A6D854",
}
"""The colour of each arm, the same in every figure."""

TASK_COLOURS: Mapping[str, str] = {"spelling": "#0072B2", "position": "#D55E00", "count": "#009E73"}
"""The colour of each of the main tasks; others take what ``COLOURS`` has left."""


def error_bars(
    value: pd.Series[Any],
    low: pd.Series[Any],
    high: pd.Series[Any],
    *,
    scale: float = 1,
    thickness: float = 1.2,
    width: float = 3,
) -> dict[str, Any]:
    """Returns plotly's error bars from a value to the ends of its interval, all of them times ``scale``."""
    array, arrayminus = (distance if scale == 1 else scale * distance for distance in (high - value, value - low))
    return {"type": "data", "array": array, "arrayminus": arrayminus, "thickness": thickness, "width": width}


def figure_template() -> layout.Template:
    """Returns the plotly template of the project."""
    from plotly.graph_objects import layout

    axis: dict[str, Any] = {
        "automargin": True,
        "gridcolor": "#e4e8ec",
        "linecolor": "#d5dbe1",
        "zerolinecolor": "#d5dbe1",
        "ticks": "",
        "title": {"standoff": 12},
    }
    return layout.Template(
        layout={
            "colorway": list(COLOURS),
            "colorscale": {"sequential": "Cividis", "diverging": "RdBu"},
            "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13},
            "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 15}},
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "margin": {"l": 16, "r": 16, "t": 48, "b": 16},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": {"text": ""}},
            "hovermode": "closest",
            "bargap": 0.35,
            "bargroupgap": 0.08,
            "xaxis": axis,
            "yaxis": axis,
        }
    )


def new_figure(panels: Sequence[str] = (), **how: Any) -> Figure:
    """Returns an empty figure; plotly is imported when the first one is drawn.

    Args:
        panels: Titles of panels that stand beside each other; without any, the figure has one and no title.
        how: What else ``plotly.subplots.make_subplots`` is to be told.
    """
    if not (panels or how):
        import plotly.graph_objects as go

        return go.Figure()
    from plotly.subplots import make_subplots

    return make_subplots(**{"cols": max(len(panels), 1), "subplot_titles": panels, "shared_yaxes": True, **how})


def style_figure(figure: Figure, *, height_pixels: int = 420, legend_below: bool = False) -> Figure:
    """Gives a figure the project's look, in place, and returns it.

    A legend stands above the plot, so a figure with a legend should leave its title to the page's heading; or below,
    where it is in the way of no panel's title.
    """
    figure.update_layout(template=figure_template(), height=height_pixels)
    return figure.update_layout(legend={"y": -92 / height_pixels, "yanchor": "top", "x": 0} if legend_below else {})
