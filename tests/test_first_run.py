"""The whole of it, as a newcomer runs it: `kedro run` in a fresh copy of the project, the network unplugged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, chdir, contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from free_ports import free_ports
from tests.commands.test_serve import wait_until_healthy

# Before what is there already, so that a test of a folder's code stays one.
OFFLINE = os.pathsep.join([str(Path(__file__).parent / "offline"), *filter(None, [os.environ.get("PYTHONPATH")])])
_SMALLER = (
    "study.n_trials=2,study.validation_words=30,study.transfer_eval_frequency=10,trial.training.max_steps=12,"
    "evaluation.examples_per_task=60,evaluation.examples_per_other_word_set=20,"
    "evaluation.examples_per_trained_words=20,evaluation.n_resamples=999,evaluation.layer_probes.training_families=100,"
    "letter_probe.max_tokens=500,endpoint_load.n_requests=8,deployment_check.n_questions=20,"
    "deployment_check.stop_timeout_seconds=120"  # a busy machine is no failure
)
_WARNINGS = [
    # What is deprecated is an error, here and in every process that a run starts …
    "error::DeprecationWarning",
    "error::PendingDeprecationWarning",
    "error::FutureWarning",
    # … except where a library calls another. Python hides these from users.
    "ignore::DeprecationWarning:kedro_viz.launchers.cli.lazy_default_group",  # click.BaseCommand in its type hints
    "ignore::DeprecationWarning:kedro.validation.utils",  # model_fields of an instance of pydantic
]
_SAME_BYTES = [
    "07_model_output/tuning/data/trials.parquet",
    "07_model_output/tuning/data/learning_curves.parquet",
    "06_models/tuning/best_config.json",
    "06_models/tuning/best_adapter/adapter_model.safetensors",
    "06_models/tuning/best_adapter/adapter_config.json",
    "07_model_output/evaluation/answers.parquet",
    "07_model_output/evaluation/arm_answers.parquet",
    "08_reporting/evaluation/scores.csv",
    "08_reporting/evaluation/comparison.csv",
    "08_reporting/evaluation/control_comparison.csv",
    "08_reporting/evaluation/verdict.json",
    "06_models/tuning/arm_adapters/manifest.json",
]


class Unplugged:
    """A copy of the project, its model included, whose commands reach no network."""

    def __init__(self, copy: Any) -> None:
        self.copy = copy
        self.path: Path = copy.path

    def kedro(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the project without a network."""
        done: subprocess.CompletedProcess[str] = self.copy.kedro(*arguments, PYTHONPATH=OFFLINE, **environment)
        return done

    def hashes(self) -> dict[str, str]:
        """Returns the hash of each file that two runs must have in common."""
        return {name: hashlib.sha256((self.path / "data" / name).read_bytes()).hexdigest() for name in _SAME_BYTES}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, copy_project: Callable[..., Any]) -> Unplugged:
    return Unplugged(copy_project(tmp_path_factory.mktemp("first-run"), own_model=True))


_TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"


@pytest.fixture(scope="module")
def first_run(project: Unplugged) -> subprocess.CompletedProcess[str]:
    return project.kedro("run", f"--params={_SMALLER}", PYTHONWARNINGS=",".join(_WARNINGS))


def test_it_ends_well_with_a_few_lines_and_a_page(
    project: Unplugged, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 0, first_run.stderr[-3000:]
    lines = [line for line in first_run.stdout.splitlines() if line.strip()]
    assert len(lines) <= 10, first_run.stdout
    assert [line.split()[0] for line in lines[:2]] == ["transfer", "open"]
    shown = re.search(r"```text\n(transfer .*?)```", _TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert [line.split()[0] for line in lines] == re.findall(r"^[a-z]+", shown[1], re.MULTILINE)
    page = project.path / "data" / "08_reporting" / "index.html"
    assert "08_reporting/index.html" in first_run.stdout
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""<(script|link|img|iframe)\b[^>]*\b(src|href)=["']?https?:""", text)
    for word in ("spelling", "position", "count"):
        assert word in first_run.stdout


def test_nothing_of_a_library_is_called_that_it_has_deprecated(first_run: subprocess.CompletedProcess[str]) -> None:
    assert first_run.returncode == 0, first_run.stderr[-3000:]
    # Some libraries print their warnings by other means, which no filter turns into an error.
    assert not re.search("deprecat|Warning", first_run.stderr + first_run.stdout)


def test_every_pipeline_left_its_results(project: Unplugged, first_run: subprocess.CompletedProcess[str]) -> None:
    data = project.path / "data"
    summary = json.loads((data / "08_reporting" / "run_summary.json").read_text())
    assert summary["run_id"]
    scores = pd.read_csv(data / "08_reporting/evaluation/scores.csv")
    main = scores[scores["group"] == "all"]
    assert sorted(main["arm"].unique()) == ["base", "direct_count", "direct_position", "form_control", "spelling"]
    assert {"spelling", "position", "count"} <= set(main["task"])
    assert (main["low"] <= main["exact_match"]).all()
    assert (main["exact_match"] <= main["high"]).all()
    conformance = json.loads((data / "08_reporting/deployment_check/conformance.json").read_text())
    assert conformance["obeys"] is True
    assert not list(data.rglob("*.partial"))
    assert not list(data.rglob("*.tmp"))


@pytest.fixture(scope="module")
def pushed(
    project: Unplugged, first_run: subprocess.CompletedProcess[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    assert first_run.returncode == 0
    store = tmp_path_factory.mktemp("store")
    result = project.copy.kedro_here("bundle", "push", "data", str(store), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["left_out"] == []
    return store


def test_what_a_run_leaves_are_files_that_the_group_may_read_and_no_library_s_cache(
    project: Unplugged, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 0
    found = list((project.path / "data").rglob("*"))
    assert not [path for path in found if path.is_symlink()]
    umask = os.umask(0)
    os.umask(umask)
    closed = [path for path in found if path.is_file() and path.stat().st_mode & 0o044 & ~umask != 0o044 & ~umask]
    assert not closed


def test_every_command_works_on_what_a_run_left(project: Unplugged, pushed: Path, tmp_path: Path) -> None:
    folder = project.path / "docs"  # commands work from any folder of the project
    folder.mkdir(exist_ok=True)
    data = os.path.relpath(project.path / "data", folder)
    for command in (
        f"bundle push {data} {pushed}",
        f"bundle push {data} {tmp_path / 'some'} --include 0[1-5]_*",
        f"bundle push {data} {tmp_path / 'rest'} --exclude 07_*",
        f"bundle verify {data}",
        f"bundle verify {pushed}",
        f"bundle list {pushed}",
        f"bundle pull {pushed} {tmp_path / 'elsewhere'}",
        "peek trials",
        "peek best_adapter",
        "peek scores",
        "tune list",
        "doctor --offline",
        f"export --form=adapter --target {tmp_path / 'export'}",
        "catalog describe-datasets",
        f"policy check {data}/08_reporting/deployment_check",
    ):
        result = project.copy.kedro_here(*command.split(), place="docs")
        assert result.exit_code == 0, f"{command}: {result.output}"


@pytest.mark.parametrize(
    ("changed", "problem"), [({"obeys": False}, "failed its check"), ({"fingerprint": "fp_other"}, "was never checked")]
)
def test_what_was_not_found_to_obey_is_not_exported_unless_told_to(
    project: Unplugged, pushed: Path, tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    file = project.path / "data/08_reporting/deployment_check/conformance.json"
    found, target = file.read_text(), tmp_path / "export"
    try:
        file.write_text(json.dumps({**json.loads(found), **changed}))
        arguments = ("export", "--form=adapter", "--target", str(target))
        refused = project.copy.kedro_here(*arguments)
        assert (refused.exit_code, target.exists()) == (1, False)
        assert problem in refused.output
        assert project.copy.kedro_here(*arguments, "--unchecked").exit_code == 0
    finally:
        file.write_text(found)
    assert (target / "conformance.json").is_file() == ("obeys" in changed)


def _datasets(project: Path) -> dict[str, str]:
    """Returns the class of each dataset that a run leaves; 'kedro bench' leaves the others."""
    entries: dict[str, str] = {}
    for file in sorted((project / "conf" / "base" / "catalog").glob("*.yml")):
        found = yaml.safe_load(file.read_text("utf-8")) if file.name != "public_sets.yml" else {}
        entries |= {name: str(entry["type"]) for name, entry in found.items() if not name.startswith("_")}
    return entries


def test_every_dataset_that_a_run_left_can_be_looked_at(
    project: Unplugged, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 0
    entries = _datasets(project.path)
    assert len(entries) > 30
    result = project.copy.kedro_here("peek", *entries)
    assert result.exit_code == 0, result.output
    assert [name for name in entries if not re.search(rf"^{re.escape(name)}  \w", result.output, re.MULTILINE)] == []


def test_a_second_run_gives_the_same_bytes(project: Unplugged, first_run: subprocess.CompletedProcess[str]) -> None:
    assert first_run.returncode == 0
    before, kept = project.hashes(), _kept_answers(project.path)
    # What comes before has tests of its own that compare bytes (tests/pipelines), cheaper ones.
    again = project.kedro("run", f"--params={_SMALLER}", "--pipelines=tuning,evaluation")
    assert again.returncode == 0, again.stderr[-3000:]
    assert project.hashes() == before
    assert _kept_answers(project.path) == kept  # nothing was asked
    fresh = project.kedro("run", f"--params={_SMALLER},evaluation.ask_again=true", "--pipelines=evaluation")
    assert fresh.returncode == 0, fresh.stderr[-3000:]
    assert project.hashes() == before
    assert _kept_answers(project.path) > kept


def _kept_answers(project: Path) -> set[str]:
    return {file.name for file in (project / "data/07_model_output/evaluation/kept_answers").iterdir()}


def test_a_cut_dataset_is_one_clear_error_and_running_again_repairs_it(
    project: Unplugged, first_run: subprocess.CompletedProcess[str]
) -> None:
    answers = project.path / "data/07_model_output/evaluation/marked_answers.parquet"
    whole = answers.read_bytes()
    answers.write_bytes(whole[: len(whole) // 2])
    broken = project.kedro("run", "--nodes=evaluation.compare_arms")
    assert broken.returncode == 1
    assert "marked_answers" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert project.copy.kedro_here("run", "--nodes=evaluation.mark").exit_code == 0
    assert answers.read_bytes() == whole
    assert project.copy.kedro_here("run", "--nodes=evaluation.compare_arms").exit_code == 0


def test_an_altered_model_folder_stops_the_run(project: Unplugged) -> None:
    config = project.path / "data/01_raw/models/tiny-qwen3/config.json"
    whole = config.read_text()
    config.write_text(whole + "\n")
    try:
        broken = project.kedro("run", "--nodes=tuning.run_study")
        assert broken.returncode == 1
        assert "config.json" in broken.stderr
        assert "manifest" in broken.stderr
    finally:
        config.write_text(whole)


# From here on the checkout is as its user has it after a while.


@pytest.fixture(scope="module")
def used(project: Unplugged, first_run: subprocess.CompletedProcess[str], port: int) -> Unplugged:
    """The checkout after a second run with a changed parameter, a served endpoint and a build of Kedro-Viz."""
    assert first_run.returncode == 0
    changed = _SMALLER.replace("evaluation.examples_per_task=60", "evaluation.examples_per_task=40")
    second = project.kedro("run", "--pipelines=local_prep,tuning,evaluation", "--only-stale", f"--params={changed}")
    assert second.returncode == 0, second.stderr[-3000:]
    # What another setting of the evaluation makes stale, and no more.
    assert "  evaluation.answer: params:evaluation changed" in second.stdout + second.stderr
    assert not re.search(r"^  (local_prep|tuning)\.", second.stdout + second.stderr, re.MULTILINE)
    with _served(project, f"kedro serve --port {port} --accelerator cpu", port):
        pass
    built = project.kedro("viz", "build")
    assert built.returncode == 0, built.stderr[-3000:]
    assert (project.path / "build" / "index.html").is_file()
    return project


def _shell(project: Unplugged, script: str) -> subprocess.Popen[str]:
    """Starts a script of a document in a shell, as a user does."""
    folder = str(Path(sys.executable).parent)
    variables = {**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": OFFLINE, "NO_PROXY": "*"}
    variables["PATH"] = os.pathsep.join([folder, os.environ["PATH"]])
    return subprocess.Popen(
        ["bash", "-euc", script], cwd=project.path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports()[0]


@contextmanager
def _served(project: Unplugged, script: str, port: int) -> Iterator[None]:
    """Runs a script that ends in an endpoint, and Ctrl-C at the end."""
    served = _shell(project, script)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", served)
        yield
    finally:
        os.killpg(served.pid, signal.SIGINT)
        said, _ = served.communicate(timeout=120)
    assert "Traceback" not in said


def test_a_second_run_with_another_parameter_leaves_its_own_results(used: Unplugged) -> None:
    answers = pd.read_parquet(used.path / "data/07_model_output/evaluation/answers.parquet")
    asked = answers[answers["arm"] == "base"].groupby("task").size()
    assert (asked <= 40 + 20 * 10).all()
    result = used.copy.kedro_here("peek", "answers", "--history")
    assert result.exit_code == 0, result.output


def test_a_push_after_more_use_sends_what_changed_and_leaves_nothing_out(used: Unplugged, pushed: Path) -> None:
    result = used.copy.kedro_here("bundle", "push", "data", str(pushed), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["left_out"] == []
    assert used.copy.kedro_here("bundle", "verify", str(pushed)).exit_code == 0


def test_every_command_works_on_a_checkout_in_use(used: Unplugged, pushed: Path, tmp_path: Path) -> None:
    folder = used.path / "docs"
    folder.mkdir(exist_ok=True)
    data = os.path.relpath(used.path / "data", folder)
    for command in (
        f"bundle push {data} {tmp_path / 'store'}",
        f"bundle pull {pushed} {tmp_path / 'elsewhere'}",
        f"bundle verify {data}",
        "peek answers",
        "peek scores --history",
        "tune list",
        "tune --dry-run",
        "doctor --offline",
        "catalog describe-datasets",
        "run --dry-run",
        f"policy check {data} {os.path.relpath(used.path / 'conf', folder)}",
    ):
        result = used.copy.kedro_here(*command.split(), place="docs")
        assert result.exit_code == 0, f"{command}: {result.output}"
        assert "Traceback" not in result.output


def test_another_user_of_the_group_looks_at_a_dataset_of_each_class(
    used: Unplugged, shared_folder: Path, another_user: Callable[[], AbstractContextManager[None]]
) -> None:
    with another_user():
        readable = os.access(pytest.__file__, os.R_OK, effective_ids=True)
    if not readable:
        pytest.skip(f"other users cannot read this environment, {sys.prefix}, which holds data as well")
    place = shared_folder / "checkout"
    shutil.copytree(used.path, place, ignore=shutil.ignore_patterns("build", "wandb"))
    place.chmod(0o755)  # pytest makes its folders for their owner alone
    theirs = copy(used.copy)
    theirs.path = place
    one_of_each = {kind: name for name, kind in _datasets(place).items()}.values()
    for name in one_of_each:  # what is imported only now may lie where another user cannot read
        assert theirs.kedro_here("peek", name).exit_code == 0
    assert theirs.kedro_here("run", "--nodes=evaluation.compare_arms").exit_code == 0
    failed = {}
    commands = theirs.commands_here()  # Kedro reads modules from their files again, which may be closed to others
    with chdir(place), another_user():
        for name in one_of_each:
            result = theirs.kedro_here("peek", name, commands=commands)
            if result.exit_code != 0:
                failed[name] = result.output
        listed = theirs.kedro_here("tune", "list", commands=commands)
        closed = theirs.kedro_here("run", "--nodes=evaluation.compare_arms", commands=commands)
    assert failed == {}
    assert re.search(r"^spelling_transfer_exp .* finished$", listed.output, re.MULTILINE), listed.output
    assert closed.exit_code == 1
    assert "Permission denied" in closed.output
    assert "Traceback" not in closed.output


def test_the_tutorial_goes_on_from_a_first_run(project: Unplugged, first_run: subprocess.CompletedProcess[str]) -> None:
    assert first_run.returncode == 0
    page = _TUTORIAL.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:<!-- ([^\n]*) -->\n)?```bash\n(.*?)```", page, re.DOTALL)
    lines = [(mark, line) for mark, block in blocks for line in block.splitlines() if not mark.startswith("not run: ")]
    assert lines.index(("", "kedro run")) == 1  # the fixture's
    for mark, line in lines:
        if line != "kedro run":
            line = line.replace("--params=", f"--params={_SMALLER},")
            done = project.copy.kedro_here(*shlex.split(line)[1:])
            assert (done.exit_code != 0) == (mark == "fails"), f"{line}\n{done.output}"
            if mark == "fails":
                assert "examples_per_task" in done.stderr


_AFTER_A_RUN = re.compile(r"<!-- after a run(, stays open until Ctrl-C)? -->\n```bash\n(.*?)```", re.DOTALL)
_HOW_TO = (Path(__file__).parents[1] / "docs" / "how_to.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "recipe",
    [recipe for recipe in _HOW_TO.split("\n## ") if _AFTER_A_RUN.search(recipe)],
    ids=lambda recipe: recipe.partition("\n")[0],
)
def test_a_recipe_that_follows_a_run_goes_as_it_stands(
    project: Unplugged, first_run: subprocess.CompletedProcess[str], port: int, recipe: str
) -> None:
    assert first_run.returncode == 0
    with ExitStack() as endpoints:
        for stays_open, block in _AFTER_A_RUN.findall(recipe):
            script = block.replace("8000", str(port)).replace("--params=", f"--params={_SMALLER},")
            if stays_open:
                endpoints.enter_context(_served(project, script, port))
            else:
                done = _shell(project, script)
                said, _ = done.communicate(timeout=900)
                assert done.returncode == 0, f"{script}\n{said}"
