"""``kedro run``: defaults from .kedro.yml, Kedro's own options, and one clear error where it cannot go on."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.cli.project import run as kedro_run
from tests.commands.conftest import assert_refused

from spelling_transfer.commands.run import run


def counts(project) -> dict:
    return json.loads((project.path / "data" / "counts.json").read_text())


def words(project) -> pd.DataFrame:
    return pd.read_parquet(project.path / "data" / "words.parquet")


def test_all_options_of_kedro_are_kept():
    assert [option.opts for option in run.params[:-4]] == [option.opts for option in kedro_run.params]


def test_a_run_makes_its_datasets_and_is_quiet(toy_project):
    result = toy_project.kedro("run")
    assert result.exit_code == 0, result.output
    assert counts(toy_project) == {"words": 2, "layers": 2}
    assert result.output == ""


def test_pipelines_are_chosen_in_the_new_and_the_old_spelling(toy_project):
    assert toy_project.kedro("run", "--pipelines=prep").exit_code == 0
    assert not (toy_project.path / "data" / "counts.json").exists()
    result = toy_project.kedro("run", "--pipeline", "report")
    assert result.exit_code == 0
    assert result.output == ""
    assert counts(toy_project)["words"] == 2
    assert toy_project.kedro("run", "--pipelines=prep,report").exit_code == 0


def test_both_spellings_at_once_are_misuse(toy_project):
    assert_refused(toy_project.kedro("run", "--pipeline=prep", "--pipelines=report"), 2, "not both")


class TestDefaults:
    def test_the_file_decides_and_an_option_overrides_it(self, toy_project):
        toy_project.write(".kedro.yml", "run:\n  env: big\n  pipelines: [prep]\n")
        assert toy_project.kedro("run").exit_code == 0
        assert set(words(toy_project)["layers"]) == {36}
        assert not (toy_project.path / "data" / "counts.json").exists()
        assert toy_project.kedro("run", "--env=local", "--pipelines=prep,report").exit_code == 0
        assert counts(toy_project)["layers"] == 2

    def test_parameters_and_flags_can_be_defaults(self, toy_project):
        toy_project.write(
            ".kedro.yml", "run:\n  params: {selection: {max_length: 5}}\n  only-missing-outputs: true\n  tags: []\n"
        )
        assert toy_project.kedro("run").exit_code == 0
        assert set(words(toy_project)["max_length"]) == {5}
        before = (toy_project.path / "data" / "words.parquet").stat().st_mtime_ns
        assert toy_project.kedro("run").exit_code == 0
        assert (toy_project.path / "data" / "words.parquet").stat().st_mtime_ns == before

    def test_the_environment_variable_comes_before_the_file_and_after_the_option(self, toy_project, monkeypatch):
        toy_project.write(".kedro.yml", "run: {env: local}")
        monkeypatch.setenv("KEDRO_ENV", "big")
        assert toy_project.kedro("run").exit_code == 0
        assert counts(toy_project)["layers"] == 36
        assert toy_project.kedro("run", "--env=local").exit_code == 0
        assert counts(toy_project)["layers"] == 2

    def test_a_configuration_file_of_kedro_overrides_it(self, toy_project):
        toy_project.write(".kedro.yml", "run: {env: local}")
        toy_project.write("mine.yml", "run: {env: big}")
        toy_project.write("mine", "run: {env: big}")  # as the name of a pipe, it ends in nothing
        for name in ("mine.yml", "mine"):
            assert toy_project.kedro("run", "--env=local").exit_code == 0
            assert toy_project.kedro("run", f"--config={name}").exit_code == 0
            assert counts(toy_project)["layers"] == 36

    def test_the_help_shows_what_was_taken_from_the_file(self, toy_project):
        toy_project.write(".kedro.yml", "run:\n  runner: ThreadRunner\n  env: big\n  params: {rate: 1e-4}\n")
        output = toy_project.kedro("run", "--help").output
        section = output.split("Defaults from .kedro.yml:")[1].split("Examples:")[0]
        assert [line.split() for line in section.strip().splitlines()] == [
            ["--runner", "ThreadRunner"],
            ["--env", "big"],
            ["--params", "{'rate':", "0.0001}"],  # a number, as in every other file
        ]
        assert "kedro run --pipelines=local_prep,token_analysis" in output

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("run: {runer: SequentialRunner}", "run.runer is not an option of 'kedro run'; did you mean 'runner'?"),
            ("run: {config: x.yml}", "run.config is not an option of 'kedro run'"),
            ("runs: {env: base}", "unknown key 'runs'"),
            ("run: {env: [unclosed}", "not valid YAML"),
            ("run: {env: base, env: local}", "the key 'env' is there twice"),
            ("run: just text", "expected 'run:' with options"),
            ("run: {only-missing-outputs: sometimes}", "'sometimes' is neither true nor false"),
            ("run: {env: {name: base}}", "should be a single value"),
            ("run: {runner: NoSuchRunner}", "there is no class 'NoSuchRunner'"),
            ("run: {runner: no_such_module.Runner}", "there is no class 'no_such_module.Runner'"),
            ("run: {runner: kedro.io.DataCatalog}", "is not a runner"),
            ("run: {runner: ThreadRunner, runner-params: {workers: 2}}", "unexpected keyword argument 'workers'"),
            ("run: {env: nowhere}", "there is no environment 'nowhere'"),
        ],
    )
    def test_a_bad_file_is_one_clear_error(self, content, message, toy_project):
        file = toy_project.write(".kedro.yml", content)
        result = toy_project.kedro("run")
        assert_refused(result, 1, str(file), message)
        assert not (toy_project.path / "data").exists()
        file.unlink()
        assert toy_project.kedro("run").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pipelines=reprot"], "there is no pipeline 'reprot'. Did you mean 'report'"),
        (["--pipeline=zzz"], "there is no pipeline 'zzz'. Known: __default__, prep, report, stop."),
        (["--env=nowhere"], "there is no environment 'nowhere'"),
        (["--runner=NoSuchRunner"], "there is no class 'NoSuchRunner'"),
        (["--runner=ThreadRunner", "--runner-params=workers=2"], "unexpected keyword argument 'workers'"),
        (["--nodes=selekt"], "--nodes: there is no node 'selekt'. Did you mean 'select'?"),
        (["--from-nodes=toy.select"], "--from-nodes: there is no node 'toy.select'. Did you mean 'select'?"),
        (["--to-nodes=zzz"], "--to-nodes: there is no node 'zzz'. Known: count, select."),
        (["--nodes=interrupt"], "the node 'interrupt' is not in the pipelines that are chosen"),
        (["--tags=quik"], "--tags: there is no tag 'quik'. Did you mean 'quick'?"),
        (["--tags=quick", "--nodes=select"], "contains no nodes"),
        (["--to-outputs=coutns"], "--to-outputs: there is no output 'coutns'. Did you mean 'counts'?"),
        (["--from-inputs=wrods"], "--from-inputs: there is no dataset 'wrods'. Did you mean 'words'?"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_misuse_is_named_and_exits_with_2(arguments, message, toy_project):
    assert_refused(toy_project.kedro("run", *arguments), 2, message)
    assert not (toy_project.path / "data").exists()


class TestErrors:
    def test_a_file_cut_short_names_the_dataset_the_file_and_the_command(self, toy_project):
        assert toy_project.kedro("run").exit_code == 0
        file = toy_project.path / "data" / "words.parquet"
        file.write_bytes(file.read_bytes()[:-20])
        result = toy_project.kedro("run", "--pipelines=report", "--env=big")
        assert_refused(
            result,
            1,
            f"Error: words: {file} cannot be read",
            "cut short or altered: delete it",
            "'kedro run --pipelines=prep --env=big'",
        )
        assert toy_project.kedro("run").exit_code == 0

    def test_an_input_that_was_never_made_names_the_pipeline_that_makes_it(self, toy_project):
        result = toy_project.kedro("run", "--pipelines=report")
        assert_refused(result, 1, "Error: words: there is no", "'words' is made by 'kedro run --pipelines=prep'.")

    def test_a_file_in_the_way_of_a_folder_is_named(self, toy_project):
        file = toy_project.write("data", "in the way")
        assert_refused(toy_project.kedro("run"), 1, f"words.parquet cannot be written: File exists ({file}). Nothing")
        file.unlink()
        assert toy_project.kedro("run").exit_code == 0

    def test_an_unknown_class_in_the_catalog_is_one_clear_error(self, toy_project):
        toy_project.write("conf/base/catalog/prep.yml", "words: {type: no.such.Dataset, filepath: x}")
        assert_refused(toy_project.kedro("run"), 1, "Error: ", "'words'", "no.such.Dataset")

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("conf/base/catalog/prep.yml", "words: [unclosed", "not valid YAML"),
            ("conf/base/catalog/other.yml", "words: {type: MemoryDataset}", "Duplicate keys found"),
            ("conf/base/parameters/prep.yml", "selection: ${globals:nothing}", "Globals key 'nothing' not found"),
        ],
    )
    def test_broken_configuration_is_one_clear_error(self, file, content, message, toy_project):
        toy_project.write(file, content)
        assert_refused(toy_project.kedro("run"), 1, "Error: ", message)

    def test_an_input_that_nobody_keeps_is_named_with_its_reader(self, toy_project, caplog):
        (toy_project.path / "conf/base/catalog/prep.yml").unlink()
        result = toy_project.kedro("run", "--nodes=count")
        assert_refused(
            result, 1, "Error: words: needed by count, but no node of this run makes it", "'spelling-transfer new"
        )
        assert toy_project.kedro("run").exit_code == 0
        assert "words: not in the catalog, so lost when the run ends" in caplog.text

    def test_a_manifest_of_files_that_the_catalog_keeps_elsewhere_is_refused(self, toy_project):
        listed = "words: {type: spelling_transfer.storage.BundleFilesDataset, root: ./data/, files: [counts.json]}"
        toy_project.write("conf/base/catalog/prep.yml", listed)
        kept = "counts: {type: spelling_transfer.storage.JSONDataset, filepath: data//counts.json, versioned: %s}"
        toy_project.write("conf/base/catalog/report.yml", kept % "true")
        assert_refused(toy_project.kedro("run", "--nodes=count"), 1, "Error: words lists counts.json, but the catalog")
        for kept_there in (kept % "false", "counts: {type: MemoryDataset}"):
            toy_project.write("conf/base/catalog/report.yml", kept_there)
            assert_refused(toy_project.kedro("run", "--nodes=count"), 1, "counts.json cannot be put into the manifest")

    def test_the_traceback_of_a_bug_goes_to_a_file_that_the_message_names(self, toy_project):
        toy_project.kedro("run")
        words(toy_project).head(0).to_parquet(toy_project.path / "data" / "words.parquet")
        result = toy_project.kedro("run", "--pipelines=report")
        assert_refused(result, 1, "Error: ZeroDivisionError: a bug in a node (")
        (file,) = (toy_project.path / "logs").iterdir()
        assert f"The whole traceback is in {file}." in " ".join(result.stderr.split())
        text = file.read_text()
        assert "Traceback (most recent call last)" in text
        assert "src/toy/nodes.py" in text

    def test_where_no_log_can_be_written_the_next_best_place_is_taken(self, toy_project):
        toy_project.kedro("run")
        words(toy_project).head(0).to_parquet(toy_project.path / "data" / "words.parquet")
        toy_project.write("logs", "in the way")
        result = toy_project.kedro("run", "--pipelines=report")
        assert_refused(result, 1, "a bug in a node", f"is in {tempfile.gettempdir()}")

    def test_verbose_adds_the_traceback_and_the_log(self, toy_project):
        result = toy_project.kedro("run", "--pipelines=report", "--verbose")
        assert result.exit_code == 1
        assert "Traceback (most recent call last)" in result.stderr
        assert "Error: words: there is no" in result.stderr

    def test_ctrl_c_ends_with_130_and_no_traceback(self, toy_project):
        toy_project.kedro("run", "--pipelines=prep")
        assert_refused(toy_project.kedro("run", "--pipelines=stop"), 130, "Interrupted.")

    @pytest.mark.parametrize("folder", [".", "conf/base"])
    def test_the_message_is_the_last_line_on_the_real_command_line(self, folder, toy_project):
        logging = Path(__file__).parents[2] / "conf" / "logging.yml"
        toy_project.write("conf/logging.yml", logging.read_text())
        command = [str(Path(sys.executable).with_name("kedro")), "run", "--pipelines=report"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=toy_project.path / folder, check=False)
        assert done.returncode == 1
        *_, warning, message = done.stderr.splitlines()
        assert warning.startswith("WARNING: No nodes ran.")
        assert message.startswith("Error: words: there is no")
