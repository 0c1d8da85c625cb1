"""``kedro peek``: what one catalog entry holds and where it comes from."""

import json

import pytest


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


def test_a_dataset_that_was_never_made_names_its_pipeline(toy_project):
    result = toy_project.kedro("peek", "words")
    assert result.exit_code == 1
    assert "'words' is made by 'kedro run --pipelines=prep'." in result.stderr


def test_a_damaged_file_is_one_clear_error(project):
    file = project.path / "data" / "words.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    result = project.kedro("peek", "words")
    assert result.exit_code == 1
    assert "cut short or altered: delete it" in result.stderr


def test_the_help_holds_an_example(project):
    assert "kedro peek scores --rows=20" in project.kedro("peek", "--help").output


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
