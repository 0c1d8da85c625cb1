"""Plotly figures in the catalog."""

import subprocess
import sys

import plotly.graph_objects as go
import pytest

from spelling_transfer.storage import DatasetFileError, PlotlyDataset


@pytest.fixture
def figure() -> go.Figure:
    return go.Figure(go.Bar(x=["spelling", "count"], y=[0.5, 0.25]), layout={"title": {"text": "Exact match"}})


def test_a_figure_comes_back_as_it_was(figure, tmp_path):
    dataset = PlotlyDataset(filepath=str(tmp_path / "scores.json"))
    dataset.save(figure)
    assert dataset.load() == figure


def test_the_preview_is_what_plotly_js_draws(figure, tmp_path):
    dataset = PlotlyDataset(filepath=str(tmp_path / "scores.json"))
    dataset.save(figure)
    preview = dataset.preview()
    assert preview["data"][0]["y"] == [0.5, 0.25]
    assert preview["layout"]["title"]["text"] == "Exact match"


def test_a_figure_cut_short_is_named_with_the_remedy(figure, tmp_path):
    file = tmp_path / "scores.json"
    dataset = PlotlyDataset(filepath=str(file))
    dataset.save(figure)
    file.write_text(file.read_text()[:-9])
    with pytest.raises(DatasetFileError, match=r"scores\.json cannot be read: .* delete it and run the pipeline"):
        dataset.load()


def test_reading_the_catalog_does_not_import_plotly():
    script = (
        "import sys; from spelling_transfer.storage import PlotlyDataset; PlotlyDataset(filepath='x.json');"
        "assert not {'plotly', 'torch', 'transformers', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
