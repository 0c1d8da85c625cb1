"""The built wheel in an environment of its own: it makes a project anywhere, in which the recipes of docs/how_to.md go,
and leaves other projects alone."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
_PAGES = {name: (ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("how_to", "tasks")}
RECIPES = {
    title: text
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", _PAGES["how_to"], re.DOTALL | re.MULTILINE)
    if "```" in text
}
(VOWELS,) = re.findall(r"```python\n(.*?)```", _PAGES["tasks"], re.DOTALL)
SAID = {
    "Study my own words": ["strawberry"],
    "Add a task of my own": ["vowels"],
    "Study my own model": ["4,000 words"],
    "Run again only what changed": ["nodes run again", "local_prep.write_examples: params:example_mix"],
    "Keep data on S3": ["7 files, all as said"],
}
NOT_HERE = ("not run: ", "after a run")  # what follows a run is tried where one is (test_first_run)
SECRETS = ("conf/local/credentials.yml", "conf/base/credentials_of_mine.yml", "data/01_raw/words.txt")


class Environment:
    """A virtual environment that holds the wheel, and sees the packages of this one."""

    def __init__(self, path: Path, wheel: Path) -> None:
        self.path, self.wheel = path, wheel
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
        (packages,) = path.glob("lib/python*/site-packages")
        others = path / "others"
        others.mkdir()
        # Debian's Python names folders that are not there.
        for folder in filter(Path.is_dir, map(Path, site.getsitepackages())):
            for each in folder.iterdir():
                # Not the package that is installed here for development, nor what names its folder.
                if not each.name.startswith(("spelling_transfer", "_spelling_transfer", "__editable__")):
                    (others / each.name).symlink_to(each)
        (packages / "others.pth").write_text(f"{others}\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--python", str(path / "bin/python")]
        subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
        program = (path / "bin/spelling-transfer").read_text(encoding="utf-8")
        for name, module in {"kedro": "kedro.framework.cli", "pip": "pip._internal.cli.main"}.items():
            (path / "bin" / name).write_text(program.replace("spelling_transfer.__main__", module), encoding="utf-8")
            (path / "bin" / name).chmod(0o755)

    def run(self, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment in a folder, without a network."""
        variables = {**os.environ, "DO_NOT_TRACK": "1", "MLX_DISABLE_COMPILE": "1", "COLUMNS": "200"}
        variables |= {"PYTHONPATH": str(ROOT / "tests/offline"), "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}"}
        program = shutil.which(command[0], path=variables["PATH"]) or command[0]
        return subprocess.run(
            [program, *command[1:]], cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=900
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    caches = shutil.ignore_patterns("__pycache__", "local")
    for name in ("src", "conf", "data/01_raw/models/tiny-qwen3", ".viz"):
        shutil.copytree(ROOT / name, source / name, ignore=caches)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore", ".kedro.yml", ".telemetry"):
        shutil.copyfile(ROOT / name, source / name)
    for name in SECRETS:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("key: a secret\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        source,
    ]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return Environment(folder / "venv", wheel)


@pytest.fixture(scope="module")
def project(installed: Environment) -> Path:
    done = installed.run(installed.path.parent, "spelling-transfer", "new", "My study")
    assert done.returncode == 0, done.stderr
    assert "cd 'My study' && kedro run" in done.stdout
    return installed.path.parent / "My study"


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_carries_what_a_checkout_lays_down_and_no_secret(
    installed: Environment, project: Path, tmp_path: Path
) -> None:
    from spelling_transfer.commands.new import make_project

    make_project(tmp_path / "My study")
    assert files_of(project) == files_of(tmp_path / "My study")
    assert {"conf/base/globals.yml", "data/01_raw/models/tiny-qwen3/model.safetensors", ".kedro.yml"} <= files_of(
        project
    )
    for name in files_of(project):
        assert (project / name).read_bytes() == (tmp_path / "My study" / name).read_bytes(), name
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
    assert [name for name in names if name.endswith(SECRETS) or "/local/" in name] == []
    assert installed.wheel.stat().st_size < 12e6


def test_a_run_goes_there_without_a_network(installed: Environment, project: Path) -> None:
    # The letter probe reads the model.
    few = "--params=letter_probe.max_tokens=300"
    done = installed.run(project, "spelling-transfer", "run", "--pipelines=local_prep,token_analysis", few)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (project / "data/08_reporting/index.html").is_file()
    where = installed.run(project, "python", "-c", "import spelling_transfer; print(spelling_transfer.__file__)")
    assert str(installed.path) in where.stdout
    checked = installed.run(project, "spelling-transfer", "policy", "check")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("title", SAID)
def test_a_recipe_goes_as_it_stands(
    installed: Environment, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    project = tmp_path / "study"
    assert installed.run(tmp_path, "spelling-transfer", "new", "study").returncode == 0
    (project / "src/vowels.py").write_text(VOWELS, encoding="utf-8")
    (project / "data/words.txt").write_text("berry\n", encoding="utf-8")
    said = ""
    for mark, language, block in BLOCK.findall(RECIPES[title]):
        if language == "bash" and not mark.startswith(NOT_HERE):
            for line in block.replace("s3://bucket/study", s3).splitlines():
                # What pip would ask an index for is there.
                offline = " --no-deps --no-build-isolation --no-index" if line.startswith("pip ") else ""
                done = installed.run(project, *shlex.split(line + offline))
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
                said += done.stdout
        elif language == "toml":
            settings = project / "pyproject.toml"
            heading = block.splitlines()[0] + "\n"
            assert heading in settings.read_text(encoding="utf-8")
            settings.write_text(settings.read_text(encoding="utf-8").replace(heading, block), encoding="utf-8")
        elif language in ("yaml", "text"):
            place, _, content = block.removeprefix("# ").partition("\n")
            (project / place).parent.mkdir(parents=True, exist_ok=True)
            (project / place).write_text(content, encoding="utf-8")
    assert all(word in said for word in SAID[title]), said


def test_a_recipe_is_tried_or_says_why_it_is_not() -> None:
    marks = {
        title: [mark for mark, name, _ in BLOCK.findall(text) if name == "bash"] for title, text in RECIPES.items()
    }
    assert {title for title, of_it in marks.items() if not all(mark.startswith(NOT_HERE) for mark in of_it)} == set(
        SAID
    )
    assert {mark for of_it in marks.values() for mark in of_it} == {
        "", "on S3", "after a run", "after a run, stays open until Ctrl-C", "not run: needs an account",
        "not run: needs Apple Silicon", "not run: needs Ollama", "not run: needs a public benchmark's file",
        "not run: stays open until Ctrl-C",
    }  # fmt: skip


def test_another_project_of_the_same_environment_is_left_alone(installed: Environment, tmp_path: Path) -> None:
    made = installed.run(tmp_path, "kedro", "new", "--name=other", "--tools=none", "--example=n", "--telemetry=no")
    assert made.returncode == 0, made.stderr
    other = tmp_path / "other"
    # What our policy would refuse, were it asked.
    (other / "conf/base/parameters.yml").write_text("enable_thinking: true\n", encoding="utf-8")
    (other / "src/other/pipeline_registry.py").write_text(
        "from kedro.pipeline import node, pipeline\n\n\ndef register_pipelines():\n"
        "    return {'__default__': pipeline([node(lambda on: [on], 'params:enable_thinking', 'seen', name='see')])}\n",
        encoding="utf-8",
    )
    ran = installed.run(other, "kedro", "run")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "olicy" not in ran.stdout + ran.stderr
    shown = installed.run(other, "kedro", "--help").stdout
    assert not {"policy", "compute", "peek", "doctor"} & {
        line.split()[0] for line in shown.splitlines() if line.strip()
    }
    with (other / "src/other/settings.py").open("a", encoding="utf-8") as settings:
        settings.write("\nfrom kedro_non_thinking.hook import policy_hook\n\nHOOKS = (policy_hook,)\n")
    refused = installed.run(other, "kedro", "run")
    assert refused.returncode != 0
    assert "thinking-switch at conf/base/parameters.yml:1" in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["new", "full"], 1, "full exists already. Give the name of a new or empty folder."),
        (["new", "full/file/below"], 1, "below cannot be made: "),
        (["new", "a [b]"], 1, "a [b]: Kedro cannot work in a folder whose path has [ or {."),
        (
            ["run"],
            2,
            "There is no project here, which 'run' needs. 'spelling-transfer new FOLDER' makes one.",
        ),
        (["--help"], 0, "new Make a project in FOLDER"),
        (["new"], 2, "Missing argument 'FOLDER'"),
    ],
)
def test_outside_a_project(installed: Environment, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = installed.run(tmp_path, "spelling-transfer", *arguments)
    assert done.returncode == code, done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())
    assert files_of(tmp_path) == {"full/file"}


def test_the_module_is_the_same_command(installed: Environment, tmp_path: Path) -> None:
    done: Any = installed.run(tmp_path, "python", "-m", "spelling_transfer", "--version")
    assert (done.returncode, done.stdout) == (0, "spelling-transfer, version 0.1.0\n")
