"""``kedro peek``: what one catalog entry holds and where it comes from."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import fsspec
import pandas as pd
import plotly.graph_objects as go
import pytest

from spelling_transfer.commands.peek_list import age, size
from spelling_transfer.storage.runs import who
from spelling_transfer.storage.table_parts import TableParts


@pytest.fixture
def project(toy_project):
    assert toy_project.kedro("run").exit_code == 0
    return toy_project


def peek(project, *arguments: str) -> dict:
    result = project.kedro("peek", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_table_shows_schema_size_head_and_origin(project):
    report = peek(project, "words", "--rows=1")
    assert report["type"] == "ParquetDataset"
    assert report["rows"] == 2
    assert report["schema"]["max_length"] == "int64"
    assert report["head"] == [{"word": "straw", "max_length": 8, "layers": 2}]
    assert (report["made_by"], report["used_by"]) == (["select"], ["count", "interrupt"])
    file = project.path / "data" / "words.parquet"
    assert (report["path"], report["bytes"]) == (str(file), file.stat().st_size)


def test_the_printed_page_says_the_same(project):
    output = project.kedro("peek", "words").output
    for part in ("words  ParquetDataset", "made by   select", "rows      2", "max_length", "int64", "straw", "berry"):
        assert part in output


def test_what_a_terminal_would_obey_is_not_shown(project):
    said = pd.DataFrame({"answer": ["[/red] \x1b]0;title\x07s-t-r", "[red]b[/red]\u202eerry"], "\x1b[31mplace": [1, 2]})
    said.to_parquet(project.path / "data" / "words.parquet")
    shown = project.kedro("peek", "words")
    assert shown.exit_code == 0, shown.output
    assert "[/red]  ]0;title s-t-r" in shown.output
    assert "[red]b[/red] erry" in shown.output
    assert not {"\x1b", "\x07", "\u202e"} & set(shown.output)


def test_several_are_shown_at_once(project):
    assert [report["name"] for report in peek(project, "counts", "words")] == ["counts", "words"]
    output = project.kedro("peek", "counts", "words").output
    assert output.index("counts  JSONDataset") < output.index("words  ParquetDataset")


def test_only_tables_have_rows(project):
    project.write(
        "conf/base/catalog/more.yml",
        """
        page: {type: spelling_transfer.storage.TextDataset, filepath: data/page.html}
        figure: {type: spelling_transfer.storage.PlotlyDataset, filepath: data/figure.json}
        """,
    )
    project.write("data/page.html", "<!DOCTYPE html><title>A &amp; B</title><h1>Found</h1><p>x</p><h2>So what</h2>")
    project.write("data/figure.json", go.Figure(go.Bar(name="base"), layout={"title": "Scores"}).to_json())
    page, figure, counts = peek(project, "page", "figure", "counts")
    assert (page["title"], page["head"]) == ("A & B", ["Found", "So what"])
    assert (figure["title"], figure["traces"], figure["head"]) == ("Scores", 1, [{"type": "bar", "name": "base"}])
    assert counts["entries"] == 2
    assert not any("rows" in report for report in (page, figure, counts))


def test_it_says_what_is_there_and_which_run_saved_it(project):
    project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data\n")
    project.write(
        "src/toy/settings.py",
        "from spelling_transfer.settings import *\nfrom spelling_transfer.storage import StorageHook\n"
        "HOOKS = (StorageHook(),)\n",
    )
    assert project.kedro("run").exit_code == 0
    report = peek(project, "words")
    assert report["stale"] == []
    assert "  old " not in project.kedro("peek", "words").output
    assert len(report["hash"]) == 64
    assert report["saved"]["node"] == "select"
    file = project.path / "data" / "counts.json"
    file.write_text(file.read_text() + "\n")
    assert peek(project, "counts")["saved"] is None
    assert "no recorded run saved this version" in project.kedro("peek", "counts").output
    # What was made from other settings, or follows from it, is old, as the list says.
    assert project.kedro("run").exit_code == 0
    project.write("conf/local/parameters.yml", "selection: {max_length: 9}\n")
    assert peek(project, "words")["stale"] == listed(project)["words"]["stale"] == ["params:selection changed"]
    assert peek(project, "counts")["stale"] == listed(project)["counts"]["stale"] == ["follows select"]
    output = project.kedro("peek", "words").output
    assert "old       params:selection changed: 'kedro run --only-stale' makes it again" in output
    in_env = "'kedro run --only-stale --env=local' makes"
    assert f"{in_env} it again" in project.kedro("peek", "words", "--env=local").output
    assert f"{in_env} them again" in " ".join(project.kedro("peek", "--env=local").output.split())
    together = json.loads(project.kedro("peek", "words", "counts", "params:selection", "--json").output)
    assert [each["stale"] for each in together] == [["params:selection changed"], ["follows select"], []]


def test_the_history_of_answers_says_which_run_each_came_from(project):
    project.write(
        "conf/base/catalog/more.yml",
        """
        answers: {type: spelling_transfer.storage.ParquetDataset, filepath: data/answers.parquet,
                  metadata: {kept_in: kept}}
        kept: {type: spelling_transfer.storage.TablePartsDataset, filepath: data/kept}
        """,
    )
    rows = pd.DataFrame({"arm": "spelling", "seed": [1, 1, 2], "key": ["a", "b", "c"]})
    rows.to_parquet(project.path / "data" / "answers.parquet")
    place = str(project.path / "data" / "kept")
    for run, keys in (("one", ["a"]), ("two", ["c"])):
        TableParts(fsspec.filesystem("file"), place, place, run).add(pd.DataFrame({"key": keys, "device": "cpu"}))
    found = {(row["seed"], row["run_id"]): row["n"] for row in peek(project, "answers", "--history")["rows"]}
    assert found == {(1, "one"): 1, (1, ""): 1, (2, "two"): 1}
    output = project.kedro("peek", "answers", "--history").output
    assert "1 answers of spelling (seed 1): not on record" in output
    assert f"run two, {who()}, cpu" in output


def listed(project, *arguments: str) -> dict[str, dict]:
    result = project.kedro("peek", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return {line["name"]: line for line in json.loads(result.stdout)}


class TestWithoutAName:
    def test_it_lists_what_is_there_with_size_time_and_command(self, project):
        lines = listed(project)
        words, file = lines["words"], project.path / "data" / "words.parquet"
        assert (words["exists"], words["bytes"], words["path"]) == (True, file.stat().st_size, str(file))
        assert datetime.now(UTC) - datetime.fromisoformat(words["modified"]) < timedelta(minutes=1)
        assert (words["made_by"], words["command"]) == ("select", "kedro run --pipelines=prep")
        assert listed(project, "--env=big")["counts"]["command"] == "kedro run --pipelines=report --env=big"
        assert lines["words"]["stale"] == ["words is not as a run on record left it"]  # no hook keeps a record here

    def test_what_is_missing_is_not_made_yet(self, toy_project):
        assert not listed(toy_project)["words"]["exists"]
        output = toy_project.kedro("peek").output
        assert "not made yet" in output
        assert "0 of 2 datasets are there" in output

    def test_what_a_hook_makes_is_no_input(self, project):
        entry = "type: spelling_transfer.storage.TextDataset, filepath: data/note.txt"
        project.write(
            "conf/base/catalog/notes.yml",
            f"note: {{{entry}, metadata: {{made_by: the end of every run}}}}\nparam_x: {{{entry}}}\n"
            f"engines: {{{entry}, metadata: {{made_by: kedro bench engines}}}}\n",
        )
        lines = listed(project)
        assert (lines["note"]["made_by"], lines["note"]["command"]) == ("the end of every run", "kedro run")
        assert (lines["param_x"]["made_by"], lines["param_x"]["command"]) == ("", "")
        assert (lines["engines"]["made_by"], lines["engines"]["command"]) == ("kedro bench engines",) * 2
        output = project.kedro("peek").output
        assert "\nkedro bench engines\n" in output
        assert output.index("inputs\n") < output.index("  param_x") < output.index("the end of every run: kedro run")

    def test_nothing_is_loaded(self, project):
        for name in ("words.parquet", "counts.json"):
            (project.path / "data" / name).write_bytes(b"\xff damaged")
        assert all(line["exists"] for line in listed(project).values())
        script = (
            "import sys\nfrom kedro.framework.cli.cli import main\nsys.argv = ['kedro', 'peek']\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
            "print([name for name in ('plotly', 'torch', 'transformers') if name in sys.modules])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=project.path, capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr

    def test_it_fits_80_columns(self, project, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        assert max(map(len, project.kedro("peek").output.splitlines())) <= 80

    def test_history_is_of_a_dataset(self, project):
        result = project.kedro("peek", "--history")
        assert result.exit_code == 2
        assert "name one" in result.stderr

    def test_it_works_on_an_object_store(self, project, s3):
        project.write(
            "conf/base/catalog/far.yml",
            f"""
            far: {{type: spelling_transfer.storage.JSONDataset, filepath: {s3}/far.json}}
            gone: {{type: spelling_transfer.storage.JSONDataset, filepath: {s3}/gone.json}}
            model: {{type: spelling_transfer.storage.ModelFolderDataset, filepath: {s3}/model}}
            """,
        )
        import s3fs

        store = s3fs.S3FileSystem()
        store.pipe_file(f"{s3}/far.json", b"[1, 2]")
        store.pipe_file(f"{s3}/model/manifest.json", b'{"format": 1, "content": "abc"}')
        store.pipe_file(f"{s3}/model/abc/model.safetensors", b"weights")
        lines = listed(project)
        assert [lines[name]["exists"] for name in ("far", "gone", "model")] == [True, False, True]
        assert (lines["far"]["bytes"], lines["far"]["path"]) == (6, f"{s3}/far.json")
        assert lines["model"]["bytes"] == 31 + 7
        assert datetime.now(UTC) - datetime.fromisoformat(lines["model"]["modified"]) < timedelta(minutes=1)
        assert peek(project, "model")["schema"] == {"model.safetensors": 7}


def test_ages_and_sizes_have_one_unit():
    now = datetime(2026, 1, 10, tzinfo=UTC)
    ages = [age(now - timedelta(seconds=seconds), now) for seconds in (0, 59, 60, 7199, 7200, 86_400, 200_000)]
    assert ages == ["just now", "just now", "1 min ago", "1 h ago", "2 h ago", "1 day ago", "2 days ago"]
    assert [size(n) for n in (None, 0, 1500, 999_000, 1_000_000, 12_345_678)] == [
        "", "1 kB", "2 kB", "999 kB", "1.0 MB", "12.3 MB",
    ]  # fmt: skip


def test_json_entries_and_parameters_are_shown(project):
    assert peek(project, "counts")["head"] == {"words": 2, "layers": 2}
    parameter = peek(project, "params:selection")
    assert parameter["head"] == {"max_length": 8, "shape": {"kind": "plain"}}
    assert (parameter["path"], parameter["used_by"]) == (None, ["select"])


def test_an_environment_is_looked_at_when_asked(project):
    assert peek(project, "params:profile", "--env=big")["head"] == {"layers": 36}


def test_an_unknown_name_is_misuse_with_a_suggestion(project):
    result = project.kedro("peek", "wrods")
    assert result.exit_code == 2
    assert "there is no dataset 'wrods'. Did you mean 'words'" in " ".join(result.stderr.split())


@pytest.mark.parametrize("kind", ["ParquetDataset", "JSONDataset", "ModelFolderDataset"])
def test_a_store_that_cannot_be_reached_is_one_clear_line(toy_project, monkeypatch, kind):
    for name, value in {
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "ENDPOINT_URL_S3": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    toy_project.write(
        "conf/base/catalog/far.yml",
        f"far: {{type: spelling_transfer.storage.{kind}, filepath: 's3://bucket/far',"
        " credentials: {config_kwargs: {retries: {max_attempts: 0}}}}\n",
    )
    result = toy_project.kedro("peek", "far")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "the endpoint cannot be reached" in line
