"""Fixtures that several parts of the tests share."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, settings
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.cli.hooks import manager as hook_manager
from kedro.pipeline import Pipeline

from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests" / "platform"), str(ROOT / "scripts")]

from s3_fixtures import s3, s3_server  # noqa: E402, F401 - one server for the whole session

# A shell ignores Ctrl-C for what it starts in the background, and so would each process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One verdict for one state of the code. `pytest --hypothesis-profile=explore` draws anew each time: what it finds
# becomes an explicit example of its test. How long an example takes is the machine's business.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("patient"), derandomize=True, database=None)
settings.register_profile("explore", settings.get_profile("patient"), max_examples=1000, print_blob=True)
settings.load_profile("steady")

# Tests compare to the bit what a GPU rounds otherwise, so they see none: their verdict is the same on every machine.
if "SPELLING_GPU_TESTS" not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

# Two of these share two cores: threads of one would only keep the other waiting.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_LONGEST = ("tests/test_first_run.py", "tests/storage/test_run_on_s3.py", "tests/kedro_lightning/test_runner.py")
"""Files of minutes. Where files run side by side these begin, or the last one would run alone for long."""


def pytest_configure(config: pytest.Config) -> None:
    """Keeps that order: xdist would hand out the files with most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first where two processes share the tests."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


_TOY_FILES = {
    "pyproject.toml": """
        [tool.kedro]
        package_name = "toy"
        project_name = "toy"
        kedro_init_version = "1.7.0"
        """,
    ".telemetry": "consent: false\n",
    "src/toy/__init__.py": "",
    "src/toy/settings.py": "from spelling_transfer.settings import *\n"
    "from spelling_transfer.configuration.hook import ConfigurationCheck\n"
    "HOOKS = (ConfigurationCheck(), policy_hook, compute_hook)\n",
    "src/toy/cli.py": "from spelling_transfer.cli import cli\n",
    "src/toy/nodes.py": """
        from typing import Literal

        import pandas as pd
        from pydantic import BaseModel, ConfigDict, Field


        class Shape(BaseModel):
            model_config = ConfigDict(extra="forbid", frozen=True)
            kind: Literal["plain", "fancy"] = "plain"


        class Selection(BaseModel):
            model_config = ConfigDict(extra="forbid", frozen=True)
            max_length: int = Field(12, ge=3, le=12)
            shape: Shape = Shape()


        class Profile(BaseModel):
            model_config = ConfigDict(extra="forbid", frozen=True)
            layers: int = Field(ge=1)


        def select(selection: Selection, profile: Profile) -> pd.DataFrame:
            words = ["straw", "berry"]
            return pd.DataFrame({"word": words, "max_length": selection.max_length, "layers": profile.layers})


        def count(words: pd.DataFrame) -> dict:
            if len(words) == 0:
                raise ZeroDivisionError("a bug in a node")
            return {"words": len(words), "layers": int(words["layers"].iloc[0])}


        def interrupt(words: pd.DataFrame) -> dict:
            raise KeyboardInterrupt
        """,
    "src/toy/pipeline_registry.py": """
        from kedro.pipeline import node, pipeline

        from toy import nodes


        def register_pipelines():
            prep = pipeline([node(nodes.select, ["params:selection", "params:profile"], "words", name="select")])
            report = pipeline([node(nodes.count, "words", "counts", name="count", tags="quick")])
            stop = pipeline([node(nodes.interrupt, "words", "never", name="interrupt")])
            return {"prep": prep, "report": report, "stop": stop, "__default__": prep + report}
        """,
    "conf/base/globals.yml": "model_profile: small\n",
    "conf/base/parameters/prep.yml": """
        selection:
          max_length: 8
          shape:
            kind: plain
        profile: {extends: "models/${globals:model_profile}"}
        """,
    "conf/base/study/models/small.yml": "layers: 2\n",
    "conf/base/study/models/large.yml": "layers: 36\n",
    "conf/base/catalog/prep.yml": """
        words:
          type: spelling_transfer.storage.ParquetDataset
          filepath: data/words.parquet
        """,
    "conf/base/catalog/report.yml": """
        counts:
          type: spelling_transfer.storage.JSONDataset
          filepath: data/counts.json
        """,
    "conf/local/.gitkeep": "",
    "conf/big/globals.yml": "model_profile: large\n",
    "conf/big/parameters/prep.yml": "selection:\n  max_length: 10\n",
}


@pytest.fixture(autouse=True)
def first_command_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets each test's commands be the first of this process, as a user's is.

    Kedro has one manager of the hooks of its commands and wraps its calls once more at each of them: after some three
    hundred in one process, the wraps are deeper than Python's recursion.
    """
    monkeypatch.setattr(hook_manager, "_cli_hook_manager", None)


class ToyProject:
    """A small Kedro project that uses this package's settings, commands and datasets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, content in _TOY_FILES.items():
            self.write(name, content)

    def write(self, name: str, content: str) -> Path:
        """Writes a file of the project."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(content), encoding="utf-8")
        return file

    def kedro(self, *arguments: str) -> Result:
        """Runs ``kedro`` with these arguments, as a user would in the project's folder."""
        self._forget()
        return CliRunner().invoke(KedroCLI(self.path), list(arguments), prog_name="kedro")

    def _forget(self) -> None:
        for name in [name for name in sys.modules if name == "toy" or name.startswith("toy.")]:
            del sys.modules[name]


@pytest.fixture
def toy_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyProject]:
    """A throw-away project with two pipelines; its folder is the current one."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    monkeypatch.chdir(tmp_path)
    project = ToyProject(tmp_path)
    yield project
    project._forget()


class ProjectCopy:
    """This project in a folder of its own: what a run needs, without data and credentials."""

    def __init__(self, path: Path, *, own_model: bool = False) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        for name in ("pyproject.toml", ".telemetry", ".kedro.yml"):
            shutil.copyfile(ROOT / name, path / name)
        shutil.copytree(ROOT / "conf", path / "conf", ignore=shutil.ignore_patterns("local"))
        (path / "conf" / "local").mkdir()
        (path / "src").mkdir()  # Kedro wants it there; the package is the installed one
        models = path / "data" / "01_raw" / "models"
        if own_model:
            shutil.copytree(ROOT / "data" / "01_raw" / "models" / "tiny-qwen3", models / "tiny-qwen3")
        else:
            models.parent.mkdir(parents=True)
            models.symlink_to(ROOT / "data" / "01_raw" / "models")

    def kedro(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs ``kedro`` with these arguments as a process of its own, as a user does."""
        command = [str(Path(sys.executable).with_name("kedro")), *arguments]
        variables = {**os.environ, "DO_NOT_TRACK": "1", "MLX_DISABLE_COMPILE": "1", **environment}
        return subprocess.run(
            command, cwd=self.path, env=variables, capture_output=True, text=True, timeout=900, check=False
        )

    def commands_here(self) -> KedroCLI:
        """The project's commands as this process has them; made again, they are imported again."""
        return KedroCLI(self.path)

    def kedro_here(self, *arguments: str, place: str = ".", commands: KedroCLI | None = None) -> Result:
        """Runs the same command in this process, which has imported already what takes seconds to import."""
        with contextlib.chdir(self.path / place), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))
            patch.setenv("DO_NOT_TRACK", "1")
            patch.setenv("MLX_DISABLE_COMPILE", "1")
            patch.delenv("KEDRO_ENV", raising=False)
            return CliRunner().invoke(commands or self.commands_here(), list(arguments), prog_name="kedro")


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users can enter; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def another_user() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Makes this process another user's for a while; where it is not root's, its modes alone have to do."""

    @contextlib.contextmanager
    def become() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        groups, umask = os.getgroups(), os.umask(0o022)
        os.setgroups([])
        os.setegid(65534)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
            os.umask(umask)

    return become


@pytest.fixture(scope="session")
def copy_project() -> Callable[..., ProjectCopy]:
    """Makes copies of this project."""
    return ProjectCopy


@pytest.fixture(scope="session")
def tokenizer() -> ChatTokenizer:
    """The official Qwen3 tokenizer, from the installed package."""
    return load_chat_tokenizer()


@pytest.fixture(scope="session")
def project_pipelines() -> dict[str, Pipeline]:
    """The pipelines of this project by name."""
    from spelling_transfer.pipeline_registry import register_pipelines

    return register_pipelines()
