"""Documents: JSON, text (HTML pages too) and plotly figures, written whole or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import PlotlyPreview
from kedro_datasets.json import json_dataset
from kedro_datasets.text import text_dataset

from spelling_transfer.storage.whole import WholeFile

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_UTF8: dict[str, Any] = {
    "open_args_save": {"mode": "w", "encoding": "utf-8"},
    "open_args_load": {"mode": "r", "encoding": "utf-8"},
}


class JSONDataset(WholeFile, json_dataset.JSONDataset):
    """Anything JSON can hold, as one file; arguments as in ``kedro-datasets``."""

    DEFAULT_FS_ARGS: dict[str, Any] = _UTF8


class TextDataset(WholeFile, text_dataset.TextDataset):
    """A string as one UTF-8 file, HTML pages included; arguments as in ``kedro-datasets``."""

    DEFAULT_FS_ARGS: dict[str, Any] = _UTF8


class _FigureFile(text_dataset.TextDataset):
    def save(self, data: Figure) -> None:
        super().save(data.to_json())

    def load(self) -> Figure:
        import plotly.io

        return plotly.io.from_json(super().load())


class PlotlyDataset(WholeFile, _FigureFile):
    """A plotly figure as one JSON file, which Kedro-Viz draws.

    The class of ``kedro-datasets`` imports plotly as soon as the catalog is read, and its extra asks for plotly 5.
    """

    DEFAULT_FS_ARGS: dict[str, Any] = _UTF8

    def preview(self) -> PlotlyPreview:
        """Returns the figure for Kedro-Viz."""
        return PlotlyPreview(json.loads(self.load().to_json()))
