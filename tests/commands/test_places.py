"""Wherever a command is typed, and in whatever terminal: the same project, clear output, one clear error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def call(project, *arguments, folder="docs"):
    return project.kedro_here(*arguments, place=folder)


@pytest.fixture(scope="module")
def project(copy_project, tmp_path_factory):
    copy = copy_project(tmp_path_factory.mktemp("places"))
    (copy.path / "docs").mkdir()
    return copy


def test_an_environment_that_is_not_there_is_one_clear_error_of_kedros_own_commands_too(project):
    result = call(project, "catalog", "describe-datasets", "--env=nope")
    assert result.exit_code in (1, 2), result.output
    assert "no environment 'nope'" in " ".join(result.stderr.split())
    assert "qwen3_4b" in result.stderr
    assert "Traceback" not in result.output


def test_without_the_folder_of_the_default_environment_everything_works(project):
    (project.path / "conf" / "local").rmdir()
    try:
        for command in (["peek", "word_list"], ["tune", "list"], ["tune", "--dry-run"], ["doctor", "--offline"]):
            assert call(project, *command).exit_code == 0, command
    finally:
        (project.path / "conf" / "local").mkdir()


@pytest.mark.parametrize("folder", [".", "docs"])
@pytest.mark.parametrize(
    "command",
    [
        ["tune", "list", "--json"],
        ["tune", "--dry-run", "--json"],
        ["tune", "--show-config", "--json", "--env=qwen3_4b"],
        ["peek", "word_list", "--json"],
        ["doctor", "--offline", "--json"],
        ["compute", "cost", "--json"],
        ["policy", "check", "conf", "--format=json"],
        ["tokens", "--word=straw", "--json"],
    ],
    ids=" ".join,
)
def test_machine_output_is_alone_on_standard_output(project, command, folder):
    path = str(project.path / "conf")
    result = call(project, *(path if part == "conf" else part for part in command), folder=folder)
    json.loads(result.stdout)


def test_machine_output_stands_alone_in_a_shell_below_the_project(project):
    folder = project.path / "docs"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "spelling_transfer", "tune", "list", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "KEDRO_LOGGING_CONFIG"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == []


def test_folders_of_datasets_begin_at_the_project_from_elsewhere(project, tmp_path):
    code = (
        "import sys; from kedro.framework.startup import bootstrap_project as b\n"
        "from kedro.framework.session import KedroSession as K\n"
        "b(sys.argv[1]); c = K.create(project_path=sys.argv[1], env='smollm2').load_context().catalog\n"
        "print(c['tokenizer']._describe()['folder'] if 'folder' in c['tokenizer']._describe() else '')\n"
        "print(c['base_model']._folder); print(c['prep_files']._root)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(project.path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    model, root = result.stdout.splitlines()[-2:]
    assert Path(model) == project.path / "data/smollm2/01_raw/models/smollm2-135m-instruct"
    assert Path(root) == project.path / "data/smollm2"


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "ascii:surrogateescape"])
def test_a_character_that_the_terminal_lacks_is_no_error(project, encoding):
    file = project.path / "data" / "list.txt"
    (project.path / "conf/local/catalog.yml").write_text(
        f"note: {{type: spelling_transfer.storage.TextDataset, filepath: {file}}}\n"
    )
    file.write_text("straw → berry\n", encoding="utf-8")
    try:
        result = project.kedro("peek", "note", PYTHONIOENCODING=encoding)
    finally:
        (project.path / "conf/local/catalog.yml").unlink()
    assert result.returncode == 0, result.stderr
    assert "straw ? berry" in result.stdout


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("conf/local/parameters.yml", b"- a\n", "expected settings by name, found list"),
        ("conf/local/parameters.yml", b"a: caf\xe9\n", "not UTF-8"),
        ("conf/local/globals.yml", b"storage_root: 5\n", "5 is not text"),
        ("conf/local/globals.yml", b"storage_rot: x\n", "storage_rot: unknown"),
    ],
)
def test_a_broken_file_is_named(project, file, content, named):
    (project.path / file).write_bytes(content)
    try:
        results = [call(project, "tune", "--dry-run")]
        if "globals" in file:  # which Kedro's own commands read, too
            results.append(call(project, "catalog", "describe-datasets"))
    finally:
        (project.path / file).unlink()
    for result in results:
        assert result.exit_code == 1
        assert file in " ".join(result.stderr.split())
        assert named in " ".join(result.stderr.split())


def test_options_that_would_do_nothing_are_refused(project):
    result = call(project, "run", "--load-versions=words:2020-01-01T00.00.00.000Z")
    assert (result.exit_code, "'words' has no versions" in result.stderr) == (2, True)
    file = project.path / "own.yml"
    for content, named in (("run: {nods: a}\n", "run.nods"), ("- a\n", "own.yml"), ("run: 3\n", "own.yml")):
        file.write_text(content)
        result = call(project, "run", f"--config={file}")
        assert (result.exit_code, named in result.stderr) == (2, True), result.output
        assert "NoneType" not in result.output


def test_a_setting_that_the_study_searches_is_said_to_be_only_a_default(project):
    given = "--params=trial.training.learning_rate=0.001"
    result = call(project, "tune", "--dry-run", given)
    assert result.exit_code == 0, result.output
    assert "trial.training.learning_rate: 0.001 is the default alone" in result.stderr
    assert "default alone" not in call(project, "tune", "--dry-run").stderr


def test_a_user_without_a_home_gets_an_answer(project):
    variables = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    code = (
        "import os, pathlib\n"
        "def expanduser(self): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.expanduser = expanduser\n"
        "from spelling_transfer.commands.doctor import check_signed_in\n"
        "print(len(list(check_signed_in())))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "4"), result.stderr
