"""Kedro-Viz builds the graph of the project and a browser shows it: pipelines that fold, layers, colours, figures."""

from __future__ import annotations

import functools
import http.server
import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import draw_study
import plotly.graph_objects as go
import pytest
from browser import needs_browser
from kedro.pipeline import Pipeline
from live_browser import Tab, open_browser

from spelling_transfer.graph import prepare_graph

ROOT = Path(__file__).parents[1]
PIPELINES = ["local_prep", "token_analysis", "tuning", "evaluation", "deployment_check"]
GPU_NODES = {
    "tuning": ["run_study", "train_arms"],
    "evaluation": ["answer", "probe_layers"],
    "deployment_check": ["export", "probe_endpoint"],
}
STYLES = json.loads((ROOT / ".viz" / "styles.json").read_text())
FIGURE_TITLE = "Scores of a made-up study"
PAGE_HEADING = "What a made-up study found"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What ``kedro viz build`` writes and prints, in a copy of the project with one figure for data."""
    project = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, project)
    for name in ("conf", "src", ".viz"):
        shutil.copytree(
            ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "stats.json", "kedro_*")
        )
    figure = project / "data" / "08_reporting" / "evaluation" / "scores.json"
    figure.parent.mkdir(parents=True)
    (figure.parent / "index.html").write_text(f"<!DOCTYPE html><title>Evaluation</title><h2>{PAGE_HEADING}</h2>")
    figure.write_text(go.Figure(go.Bar(x=["spelling"], y=[0.5]), layout={"title": FIGURE_TITLE}).to_json())
    command = [str(Path(sys.executable).with_name("kedro")), "viz", "build", "--include-previews"]
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    environment.pop("PYTHONWARNINGS", None)
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert (project / "build" / "index.html").is_file()
    return project / "build", done.stdout + done.stderr


@pytest.fixture(scope="module")
def graph(built: tuple[Path, str]) -> dict[str, Any]:
    """What the page reads."""
    return dict(json.loads((built[0] / "api" / "main").read_text()))


def test_the_build_says_what_it_does_and_nothing_else(built):
    lines = [line for line in built[1].replace("...", "\n").splitlines() if line.strip()]
    assert [line for line in lines if "Creating your build" not in line and "Success!" not in line] == []


def test_the_pipelines_are_there_and_their_namespaces_fold(graph):
    assert {pipeline["id"] for pipeline in graph["pipelines"]} == {*PIPELINES, "__default__"}
    reports = {f"{name}.report" for name in PIPELINES if name != "local_prep"}
    assert set(graph["modular_pipelines"]) == {"__root__", *PIPELINES, *reports}


@pytest.mark.parametrize("name", PIPELINES)
def test_figures_are_in_a_box_of_their_own_and_leave_a_view_that_fits_a_screen(graph, name):
    kinds = {node["id"]: node for node in graph["nodes"]}
    children = [child["id"] for child in graph["modular_pipelines"][name]["children"]]
    shown = [child for child in children if kinds[child]["type"] != "parameters"]
    assert len(shown) <= 31
    assert [kinds[child]["name"] for child in shown if is_figure(kinds[child])] == []


def is_figure(node: dict[str, Any]) -> bool:
    return node["name"].endswith("_plot")


@pytest.mark.parametrize("name", ["__default__", *PIPELINES])
def test_the_layers_stand_in_reading_order(built, name):
    # Kedro-Viz drops all layers where two of them depend on each other, seen with pipelines folded as well: what a
    # pipeline reads must not have a later layer than anything it leaves. Layers that do not depend on each other stand
    # by name, hence the numbers.
    view = json.loads((built[0] / "api" / "pipelines" / name).read_text())
    shown = {node.get("layer") for node in view["nodes"]}
    layers = [layer for layer in view["layers"] if layer in shown]
    assert layers == sorted(layers)
    assert layers[0] == "1 raw"
    assert len(layers) >= 4


def test_no_dataset_is_loose_or_without_a_layer(graph):
    ends = {edge[end] for edge in graph["edges"] for end in ("source", "target")}
    data = [node for node in graph["nodes"] if node["type"] == "data"]
    assert [node["name"] for node in data if node["id"] not in ends] == []
    assert [node["name"] for node in data if node["layer"] is None] == []


def test_every_node_has_a_name_of_its_own_and_a_tag_that_says_where_it_runs(graph):
    nodes = [node for node in graph["nodes"] if node["type"] == "task"]
    assert [name for name, times in Counter(node["name"] for node in nodes).items() if times > 1] == []
    assert [node["name"] for node in nodes if len({"cpu", "gpu"} & set(node["tags"])) != 1] == []


def test_the_page_of_a_run_stands_behind_those_it_links_to_and_is_no_output_of_a_node(graph, project_pipelines):
    names = {node["id"]: node.get("full_name") or node["name"] for node in graph["nodes"]}
    (page,) = (node for node in graph["nodes"] if node["name"] == "summary_page")
    before = {names[edge["source"]] for edge in graph["edges"] if edge["target"] == page["id"]}
    nodes = project_pipelines["__default__"].nodes
    makers = {node.name for node in nodes if any(output.endswith("_page") for output in node.outputs)}
    assert len(makers) == 4
    assert before == makers | {part for name in makers for part in (name.split(".")[0], name.rsplit(".", 1)[0])}
    assert "summary_page" not in project_pipelines["__default__"].datasets()


def test_styles_are_under_the_names_that_kedro_viz_looks_up(graph):
    assert {node["name"] for node in graph["nodes"] if (node.get("node_extras") or {}).get("styles")} == set(STYLES)


def test_nodes_on_rented_machines_and_what_a_user_opens_stand_out(project_pipelines: dict[str, Pipeline]):
    everything = project_pipelines["__default__"]
    gpu = {node.short_name for node in everything.only_nodes_with_tags("gpu").nodes}
    assert gpu == {name for names in GPU_NODES.values() for name in names}
    assert gpu <= set(STYLES)
    assert {name for name in everything.datasets() if name.endswith("_page")} <= set(STYLES)


def test_the_picture_in_the_readme_is_that_of_the_pipelines(project_pipelines: dict[str, Pipeline]):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert draw_study.picture(project_pipelines) in readme, "Draw it again: python scripts/draw_study.py"
    fewer = {name: each for name, each in project_pipelines.items() if name != "tuning"}
    assert draw_study.picture(fewer) not in readme


@pytest.fixture(scope="module")
def site(built: tuple[Path, str]) -> Iterator[str]:
    """The address of the built graph."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=built[0])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_browser(tmp_path_factory.mktemp("browser")) as new_tab:
        tab = new_tab()
        # Whoever opens the graph for the first time, but for the hints, which lie over it.
        tab.before_each_page("""localStorage.setItem("KedroViz", '{"showFeatureHints": false}')""")
        yield tab


_BOXES = """[...document.querySelectorAll('.pipeline-node')].map(
    box => [box.dataset.nodeFullname, box.dataset.nodeType, box.getBoundingClientRect().x])"""


_AT_REST = 5
"""So many looks in a row that see the same: boxes come and move for a while."""

_TRIES = 4
"""Times that a view is opened: on a busy machine Kedro-Viz may stop amid the change from one layout to the next. Seen
once in some hundred runs, boxes of two views on one page; a user would reload."""


def shown(tab: Tab, address: str, expected: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """Opens a view and returns the kinds of its boxes by name, as expected where they are so at last."""
    for _ in range(_TRIES):
        tab.open("about:blank")
        tab.wait_for("document.URL === 'about:blank'")  # else what is seen may be the view before
        tab.open(address)
        tab.wait_for("document.querySelectorAll('.pipeline-node').length > 3")
        boxes = at_rest(tab, expected)
        if expected(boxes):
            break
    return boxes


def at_rest(tab: Tab, expected: Callable[[dict[str, str]], bool], patience_seconds: float = 20.0) -> dict[str, str]:
    """Returns the kinds of the boxes by name, once they are as expected and stand still or patience is at an end."""
    seen: list[Any] = []
    until = time.monotonic() + patience_seconds
    while time.monotonic() < until:
        seen.append(tab.js(_BOXES))
        kinds = {name: kind for name, kind, _ in seen[-1]}
        # On a busy machine a first view may rest before its pipelines unfold.
        if expected(kinds) and len(seen) >= _AT_REST and all(boxes == seen[-1] for boxes in seen[-_AT_REST:]):
            return kinds
        time.sleep(0.3)
    return {"boxes that move or": "were not expected", **kinds}


def of_several(pipelines: dict[str, Pipeline]) -> set[str]:
    """The datasets that more than one of the five pipelines reads or makes."""
    users = Counter(name for pipeline in PIPELINES for name in pipelines[pipeline].datasets())
    return {name for name, times in users.items() if times > 1 and not name.startswith("params:")}


@needs_browser
def test_the_first_view_is_five_pipelines_and_what_passes_between_them(tmp_path, site, project_pipelines):
    data = dict.fromkeys([*of_several(project_pipelines), "summary_page"], "data")
    expected = {**dict.fromkeys(PIPELINES, "modularPipeline"), **data}
    with open_browser(tmp_path) as new_tab:  # one of its own, which remembers no other view
        boxes = shown(new_tab(), site, expected.__eq__)
    assert boxes == expected
    assert len(boxes) <= 19


def test_kedro_viz_by_itself_shows_what_one_pipeline_alone_reads_or_leaves(monkeypatch, project_pipelines):
    home = "kedro_viz.data_access.repositories.modular_pipelines"
    monkeypatch.delitem(sys.modules, home, raising=False)  # a copy of its own: the change holds for a process
    trees = importlib.import_module(home)

    def first_view(name: str) -> int:
        repository = trees.ModularPipelinesRepository()
        repository.populate_tree(project_pipelines[name])
        return len(repository.tree["__root__"].children)

    before = first_view("__default__")
    alone = first_view("tuning")
    prepare_graph()
    prepare_graph()  # each look at the pipelines asks for it
    assert first_view("__default__") == len(PIPELINES) + len(of_several(project_pipelines))
    assert before >= first_view("__default__") + 10
    assert first_view("tuning") == alone


@needs_browser
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_each_pipeline_unfolds_and_its_gpu_nodes_have_their_colour_when_clicked(tab, site, pipeline, graph):
    names = {node["name"] for node in graph["nodes"] if node.get("full_name", "").startswith(f"{pipeline}.")}
    address = f"{site}?pid={pipeline}&expandAllPipelines=true"

    def tasks(boxes: dict[str, str]) -> set[str]:
        return {name for name, kind in boxes.items() if kind == "task"}

    assert tasks(shown(tab, address, lambda boxes: tasks(boxes) == names)) == names
    for name in names:
        colour = tab.js(f"document.querySelector({box(name)!r}).style.fill")
        assert colour == (rgb(STYLES[name]["themes"]["dark"]["fill"]) if name in GPU_NODES.get(pipeline, []) else "")
    for name in GPU_NODES.get(pipeline, []):
        # The panel of the one before moves the graph.
        shown(tab, address, lambda boxes: tasks(boxes) == names)
        tab.click(box(name))
        panel = "document.querySelector('.pipeline-metadata--visible').innerText"
        assert tab.wait_for(f"{panel}.includes({name!r}) && {panel}.includes('Gpu')")
        seen = tab.js(f"getComputedStyle(document.querySelector({box(name)!r})).fill")
        assert seen == rgb(STYLES[name]["themes"]["dark"]["fill"])


@needs_browser
def test_a_view_that_is_not_as_expected_is_noticed(tab, site):
    shown(tab, site, lambda boxes: "summary_page" in boxes)
    assert at_rest(tab, {}.__eq__, patience_seconds=1).keys() > {"summary_page"}
    assert not {"boxes that move or"} & at_rest(tab, lambda boxes: "summary_page" in boxes).keys()


@needs_browser
@pytest.mark.parametrize(
    ("name", "place", "text"),
    [("evaluation_scores_plot", " .gtitle", FIGURE_TITLE), ("evaluation_page", "", PAGE_HEADING)],
)
def test_a_figure_and_a_page_that_are_clicked_can_be_read(tab, site, name, place, text):
    shown(tab, f"{site}?pid=evaluation&expandAllPipelines=true", lambda boxes: name in boxes)
    tab.click(box(name))
    assert tab.wait_for(f"document.querySelector('.pipeline-metadata{place}')?.textContent.includes({text!r})")


def box(name: str) -> str:
    return f"[data-node-fullname='{name}'] .pipeline-node__bg"


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[place : place + 2], 16)) for place in (1, 3, 5))})"
