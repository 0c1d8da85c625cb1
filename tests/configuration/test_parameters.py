"""No run begins with parameters that are unknown, missing or out of range."""

import pytest


@pytest.fixture
def refused(toy_project):
    def run(*arguments: str) -> str:
        result = toy_project.kedro("run", *arguments)
        assert result.exit_code == 1, result.output
        assert not (toy_project.path / "data").exists()
        assert "Traceback" not in result.output
        return result.stderr.removeprefix("Error: ").strip()

    return run


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        pytest.param(
            "conf/base/parameters/extra.yml",
            "selektion: {max_length: 5}",
            "selektion: unknown parameter (conf/base/parameters/extra.yml). Did you mean 'selection'?",
            id="unknown group",
        ),
        pytest.param(
            "conf/local/parameters.yml",
            "zebra: 1",
            "zebra: unknown parameter (conf/local/parameters.yml). Known here: profile, selection.",
            id="unknown group with no close match",
        ),
        pytest.param(
            "conf/local/parameters.yml",
            "selection: {max_lenght: 5}",
            "selection.max_lenght: unknown parameter (conf/local/parameters.yml). Did you mean 'max_length'?",
            id="unknown in a group",
        ),
        pytest.param(
            "conf/local/parameters.yml",
            "selection: {shape: {knid: plain}}",
            "selection.shape.knid: unknown parameter (conf/local/parameters.yml). Did you mean 'kind'?",
            id="unknown in a group of a group",
        ),
        pytest.param(
            "conf/local/parameters.yml",
            "selection: {max_length: 99}",
            "selection.max_length: 99 should be less than or equal to 12 (conf/local/parameters.yml).",
            id="out of range",
        ),
        pytest.param(
            "conf/local/parameters.yml",
            "selection: {max_length: many}",
            "selection.max_length: 'many' should be a valid integer, unable to parse string as an integer "
            "(conf/local/parameters.yml).",
            id="wrong type",
        ),
        pytest.param(
            "conf/base/study/models/small.yml",
            "layers: 0",
            "profile.layers: 0 should be greater than or equal to 1 (conf/base/study/models/small.yml).",
            id="out of range in a study file",
        ),
        pytest.param(
            "conf/base/parameters/prep.yml",
            "selection: {max_length: 8, shape: {extends: models/small}}\nprofile: {extends: models/small}",
            "selection.shape.layers: unknown parameter (conf/base/study/models/small.yml).",
            id="extends a file of another kind",
        ),
        pytest.param(
            "conf/base/study/models/small.yml",
            "{}",
            "profile.layers: missing (conf/base/parameters/prep.yml).",
            id="missing in a group",
        ),
        pytest.param(
            "conf/base/parameters/prep.yml",
            "profile: {layers: 2}",
            "selection: missing. The pipeline prep needs it; add it to conf/base/parameters/. 'spelling-transfer new",
            id="missing group",
        ),
        pytest.param(
            "conf/base/globals.yml",
            "model_profile: medium",
            "conf/base/parameters/prep.yml:profile.extends: study/models: there is no 'medium'. Known: large, small.",
            id="unknown study file",
        ),
    ],
)
def test_a_bad_parameter_in_a_file_is_named_and_the_repaired_file_runs(file, content, message, refused, toy_project):
    target = toy_project.path / file
    before = target.read_text() if target.exists() else None
    toy_project.write(file, content)
    assert refused().startswith(message)
    if before is None:
        target.unlink()
    else:
        target.write_text(before)
    assert toy_project.kedro("run").exit_code == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("selection.max_length=99", "selection.max_length: 99 should be less than or equal to 12 (--params)."),
        ("selection.max_lenght=9", "selection.max_lenght: unknown parameter (--params). Did you mean 'max_length'?"),
        ("slection.max_length=9", "slection: unknown parameter (--params). Did you mean 'selection'?"),
    ],
)
def test_a_bad_parameter_on_the_command_line_is_named(given, message, refused):
    assert refused(f"--params={given}") == message


def test_parameters_of_pipelines_that_are_not_asked_for_are_checked_too(refused):
    assert refused("--pipelines=report", "--params=selection.max_length=2").startswith("selection.max_length: 2 should")


def test_all_problems_are_named_at_once(refused):
    assert [line.split(":")[0] for line in refused("--params=zebra=1,selection.max_length=2").splitlines()] == [
        "zebra",
        "selection.max_length",
    ]


def test_a_node_that_takes_all_parameters_may_use_any(toy_project):
    toy_project.write(
        "src/toy/pipeline_registry.py",
        """
        from kedro.pipeline import node, pipeline


        def register_pipelines():
            return {"__default__": pipeline([node(lambda parameters: parameters["zebra"], "parameters", "stripes")])}
        """,
    )
    assert toy_project.kedro("run", "--params=zebra=1").exit_code == 0


def test_a_parameter_named_only_by_a_runtime_interpolation_is_known(toy_project):
    toy_project.write(
        "conf/base/catalog/report.yml",
        """
        counts:
          type: spelling_transfer.storage.JSONDataset
          filepath: data/${runtime_params:run_name, default}/counts.json
        """,
    )
    assert toy_project.kedro("run", "--params=run_name=first").exit_code == 0
    assert (toy_project.path / "data" / "first" / "counts.json").is_file()
