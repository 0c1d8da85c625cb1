"""What ``kedro run --only-stale`` runs again, and that what comes out is what a whole run would make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from spelling_transfer.storage import BundleFilesDataset, ChatTokenizerDataset, WordListDataset, freshness, history

_NODES = """
def summarise(counts: dict, selection: Selection, profile: Profile | None = None) -> dict:
    return {"longest": selection.max_length, **counts}


def check(summary: dict) -> None:
    if summary["longest"] == 11:
        raise ValueError("eleven is refused")


def double(words: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([words, words])
"""
_REGISTRY = """
from kedro.pipeline import node, pipeline

from toy import nodes


def register_pipelines():
    prep = pipeline([
        node(nodes.select, ["params:selection", "params:profile"], "words", name="select"),
        node(nodes.double, "words", "in_memory", name="double"),
        node(nodes.count, "in_memory", "counts", name="count"),
    ])
    report = pipeline([
        node(nodes.summarise, ["counts", "params:selection"], "summary", name="summarise"),
        node(nodes.check, "summary", None, name="check"),
    ])
    return {"prep": prep, "report": report, "__default__": prep + report}
"""


@pytest.fixture
def project(toy_project: Any) -> Any:
    toy_project.write("src/toy/settings.py", "from spelling_transfer.settings import *\n")
    toy_project.write("src/toy/nodes.py", (toy_project.path / "src/toy/nodes.py").read_text() + _NODES)
    toy_project.write("src/toy/pipeline_registry.py", _REGISTRY)
    toy_project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data\n")
    entry = "{type: spelling_transfer.storage.JSONDataset, filepath: data/summary.json}\n"
    toy_project.write("conf/base/catalog/summary.yml", f"summary: {entry}")
    assert toy_project.kedro("run").exit_code == 0
    return toy_project


def stale(project: Any, *arguments: str) -> dict[str, str]:
    """What would run again and why; the node that makes no file aside."""
    result = project.kedro("run", "--only-stale", "--dry-run", *arguments)
    assert result.exit_code == 0, result.output
    lines = [line.strip().split(": ", 1) for line in result.output.splitlines() if line.startswith("  ")]
    return {name: why for name, why in lines if name != "check"}


def test_nothing_has_changed_after_a_run_whole_or_in_parts(project: Any):
    assert stale(project) == {}
    shutil.rmtree(project.path / "data")
    for name in ("prep", "report"):
        assert project.kedro("run", f"--pipelines={name}").exit_code == 0
    assert stale(project) == {}
    result = project.kedro("run", "--only-stale")
    assert result.exit_code == 0
    assert "Nothing has changed" in result.output
    assert "Code that changed within version" in result.output  # such as after a pull
    assert "took" not in result.output  # no summary of a run that made nothing


def test_a_cache_in_front_of_a_file_makes_nothing_old(project: Any):
    entry = "{type: spelling_transfer.storage.JSONDataset, filepath: data/summary.json}"
    project.write("conf/base/catalog/summary.yml", f"summary: {{type: CachedDataset, dataset: {entry}}}\n")
    assert stale(project) == {}
    assert project.kedro("run").exit_code == 0
    assert stale(project) == {}


@pytest.mark.parametrize("runner", ["ThreadRunner", "ParallelRunner"])
def test_nothing_has_changed_after_a_run_by_several_threads_or_processes(project: Any, runner: str):
    changed = "--params=selection.max_length=9"
    assert project.kedro("run", f"--runner={runner}", changed).exit_code == 0
    assert stale(project, changed) == {}
    assert set(stale(project)) == {"select", "double", "count", "summarise"}


def test_a_changed_parameter_runs_its_readers_and_what_follows_and_leaves_what_a_whole_run_leaves(project: Any):
    changed = "--params=selection.max_length=9"
    assert stale(project, changed) == {
        "select": "params:selection changed",
        "double": "follows select",
        "count": "follows select",
        "summarise": "params:selection changed",
    }
    assert project.kedro("run", "--only-stale", changed).exit_code == 0
    assert stale(project, changed) == {}
    made = {name: (project.path / "data" / name).read_bytes() for name in ("words.parquet", "summary.json")}
    shutil.rmtree(project.path / "data")
    assert project.kedro("run", changed).exit_code == 0
    assert {name: (project.path / "data" / name).read_bytes() for name in made} == made


def test_what_was_altered_or_lost_since_is_made_again_with_what_no_file_keeps(project: Any):
    counts = project.path / "data/counts.json"
    counts.write_text("{}")
    expected = {
        "double": "count reads in_memory, which is not kept",
        "count": "counts is not as a run on record left it",
        "summarise": "counts changed",
    }
    assert stale(project) == expected
    counts.unlink()
    assert stale(project) == {**expected, "count": "counts is missing", "summarise": "counts is not on record"}
    words = (project.path / "data/words.parquet").read_bytes()
    assert project.kedro("run", "--only-stale").exit_code == 0
    assert json.loads(counts.read_text()) == {"words": 4, "layers": 2}
    assert (project.path / "data/words.parquet").read_bytes() == words


def test_what_two_runs_made_alike_is_fresh_for_both(project: Any):
    fancy = "--params=selection.shape.kind=fancy"  # no node looks at it
    assert project.kedro("run", fancy).exit_code == 0
    assert stale(project) == stale(project, fancy) == {}
    # What differs is said against the latest of them.
    assert stale(project, "--params=profile.layers=3")["select"] == "params:profile changed, params:selection changed"


def test_a_node_of_another_name_or_with_other_inputs_runs_again(project: Any):
    project.write("src/toy/pipeline_registry.py", _REGISTRY.replace('name="summarise"', 'name="sum_up"'))
    assert stale(project) == {"sum_up": "made by summarise"}
    more = _REGISTRY.replace('["counts", "params:selection"]', '["counts", "params:selection", "params:profile"]')
    project.write("src/toy/pipeline_registry.py", more)
    assert stale(project) == {"summarise": "params:profile is not on record"}
    shutil.rmtree(project.path / "data")
    assert project.kedro("run").exit_code == 0
    project.write("src/toy/pipeline_registry.py", _REGISTRY)
    assert stale(project) == {"summarise": "params:profile is not on record"}


def test_what_no_file_keeps_is_made_again_however_long_the_way_back(project: Any):
    again = 'node(nodes.double, "in_memory", "again", name="again"),\n        node(nodes.count, "again", '
    project.write("src/toy/pipeline_registry.py", _REGISTRY.replace('node(nodes.count, "in_memory", ', again))
    assert stale(project) == {}
    (project.path / "data/counts.json").unlink()
    assert stale(project) == {
        "double": "again reads in_memory, which is not kept",
        "again": "count reads again, which is not kept",
        "count": "counts is missing",
        "summarise": "counts is not on record",
    }
    assert project.kedro("run", "--only-stale").exit_code == 0
    assert json.loads((project.path / "data/counts.json").read_text()) == {"words": 8, "layers": 2}


def test_another_version_makes_everything_again(project: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(freshness, "__version__", "9.9")
    assert stale(project)["select"] == f"made by version {history.__version__}"
    assert set(stale(project)) == {"select", "double", "count", "summarise"}


def test_a_run_that_failed_goes_on_where_it_stopped_and_a_failed_check_fails_again(project: Any):
    changed = "--params=selection.max_length=11"
    for _ in range(2):
        result = project.kedro("run", "--only-stale", changed)
        assert result.exit_code == 1
        assert "eleven is refused" in result.stderr
    assert stale(project, changed) == {}


def test_an_input_that_is_replaced_while_its_node_works_is_on_record_as_it_was_read(project: Any):
    nodes = (project.path / "src/toy/nodes.py").read_text()
    replace = "    from pathlib import Path\n    Path('data/counts.json').write_text('{}')  # another run, meanwhile\n"
    head = "def summarise(counts: dict, selection: Selection, profile: Profile | None = None) -> dict:\n"
    project.write("src/toy/nodes.py", nodes.replace(head, head + replace))
    assert project.kedro("run", "--pipelines=report").exit_code == 0
    assert stale(project, "--pipelines=report") == {"summarise": "counts changed"}


def test_without_a_record_everything_runs(project: Any):
    shutil.rmtree(project.path / "data/.history")
    assert set(stale(project)) == {"select", "double", "count", "summarise"}
    assert stale(project, "--nodes=summarise") == {"summarise": "summary is not as a run on record left it"}


def test_a_run_of_one_pipeline_sees_the_parameters_of_the_others_as_their_own_runs_do(project: Any):
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    alone = 'return {"alone": pipeline([node(nodes.check, "summary", None, name="check")]), '
    project.write("src/toy/pipeline_registry.py", _REGISTRY.replace("return {", alone))
    assert stale(project) == {}
    context = KedroSession.create(project_path=project.path, save_on_close=False).load_context()
    context._pipelines_to_validate = ["alone"]  # as Kedro says at the beginning of a run
    found = freshness.find_stale(context, context.catalog, pipelines["__default__"])
    assert found == {"check": [freshness.LEAVES_NOTHING]}
    assert context._pipelines_to_validate == ["alone"]


def test_a_run_is_not_resumed_and_chosen_anew_at_once(project: Any):
    assert project.kedro("run", "--only-stale", "--resume=x").exit_code == 2


def test_peek_says_what_is_old_and_why(project: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "old" not in project.kedro("peek").output
    project.write("conf/base/globals.yml", "model_profile: large\nstorage_root: data\n")
    output = project.kedro("peek").output
    assert "old: profile changed" in output
    assert "old: after select" in output
    assert max(map(len, output.splitlines())) <= 80


def test_a_word_list_a_tokenizer_and_files_of_a_bundle_are_known_by_their_content(tmp_path: Path):
    words, folder = tmp_path / "words.txt", tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    sources = [
        WordListDataset(filepath=str(words)),
        ChatTokenizerDataset(folder=str(folder)),
        BundleFilesDataset(root=str(tmp_path), files=["words.txt", "tokenizer/tokenizer.json"]),
    ]
    before = [each.fingerprint() for each in sources]  # a list that is missing is no error
    words.write_text("straw\n")
    (folder / "tokenizer.json").write_text("[]")
    after = [each.fingerprint() for each in sources]
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert after == [each.fingerprint() for each in sources]
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert sources[1].fingerprint() != after[1]


def test_it_is_told_on_an_object_store_too(project: Any, s3: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "one")
    entry = "{{type: spelling_transfer.storage.{}Dataset, filepath: '${{globals:storage_root}}/{}'}}\n"
    project.write("conf/cloud/globals.yml", f"storage_root: ${{run_folder:{s3}}}\n")
    project.write(
        "conf/cloud/catalog.yml",
        f"words: {entry.format('Parquet', 'words.parquet')}counts: {entry.format('JSON', 'counts.json')}"
        f"summary: {entry.format('JSON', 'summary.json')}",
    )
    assert project.kedro("run", "--env=cloud").exit_code == 0
    assert stale(project, "--env=cloud") == {}
    assert set(stale(project, "--env=cloud", "--params=selection.shape.kind=fancy")) == {
        "select", "double", "count", "summarise",
    }  # fmt: skip
