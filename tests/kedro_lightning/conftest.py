"""The fake platform in this process, a throw-away project, and the settings that point at both."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from lightning_platform import Platform, connection, fake_platform, platform, until, whole_project

from kedro_lightning.cli import compute
from kedro_lightning.jobs.work import EXIT_MARK, Entry, Work
from kedro_lightning.platform.client import Connection
from kedro_lightning.platform.machines import Machine
from kedro_lightning.platform.studios import StudiosApi, StudioView

ROOT = Path(__file__).parents[2]
__all__ = ["connection", "fake_platform", "platform", "until", "whole_project"]

T4 = Machine("T4", "lit-t4-1", "T4", 1, 16.0, 0.68, 0.30)
ENTRY = Entry("train", "train", "job-1", "train-1", 1, "T4", 0.68, "completed", 0.34, 1800.0)
A100 = Machine("A100", "lit-a100-1", "A100", 1, 40.0, 1.55, 1.0)


@pytest.fixture
def studio(connection: Connection) -> StudioView:
    return StudiosApi(connection).create("spelling-tuning")


def work(key: str, studio: StudioView, shell: str = "true", **changes: Any) -> Work:
    """Returns work whose command is a line of shell, ended as the real ones are."""
    return Work(
        **{
            "key": key,
            "title": key,
            "command": lambda attempt: f"code=0; ({shell}) || code=$?; echo '{EXIT_MARK}'$code; exit $code",
            "studio_id": studio.id,
            "machines": (T4, A100),
            **changes,
        }
    )


_TOY = {
    "pyproject.toml": """
        [project]
        name = "toy"
        [tool.kedro]
        package_name = "toy"
        project_name = "toy"
        kedro_init_version = "1.7.0"
        """,
    ".telemetry": "consent: false\n",
    "src/toy/__init__.py": "",
    "src/toy/settings.py": """
        from kedro_lightning.hooks import compute_hook
        from kedro_non_thinking.hook import policy_hook
        from toy.hooks import Recorder
        HOOKS = (Recorder(), policy_hook, compute_hook)
        """,
    "src/toy/cli.py": "from kedro_lightning.cli import commands as cli\n",
    "src/toy/hooks.py": """
        import json, os
        from pathlib import Path
        from kedro.framework.hooks import hook_impl


        class Recorder:
            def _note(self, what):
                with open(os.environ.get("HOOKS_FILE", os.devnull), "a") as file:
                    file.write(json.dumps(what) + "\\n")

            @hook_impl
            def before_pipeline_run(self, run_params):
                self._note(["run", run_params["run_id"]])

            @hook_impl
            def before_node_run(self, node, run_id):
                self._note(["before", node.name, run_id])

            @hook_impl
            def after_node_run(self, node, run_id):
                self._note(["after", node.name, run_id])

            @hook_impl
            def after_dataset_saved(self, dataset_name):
                self._note(["saved", dataset_name])

            @hook_impl
            def on_node_error(self, node):
                self._note(["error", node.name])
        """,
    "src/toy/nodes.py": """
        import os, time
        from pathlib import Path


        def make(n):
            return {"n": n}


        def train(x, n):
            place = Path(os.environ["SHARED"]) / "starts.txt"
            with place.open("a") as file:
                file.write(f"train {os.environ.get('KEDRO_COMPUTE_RUN_ID')}\\n")
            print("training with", n)
            hold = Path(os.environ["SHARED"]) / "hold"
            while hold.exists():
                time.sleep(0.05)
            return {"t": x["n"] + 1, "pid": os.getpid(), "run": os.environ.get("KEDRO_COMPUTE_RUN_ID")}


        def score(t):
            return {"s": t["t"] * 2, "pid": os.getpid()}


        def report(s, t):
            return {"r": s["s"], "one_machine": s["pid"] == t["pid"], "here": s["pid"] == os.getpid()}
        """,
    "src/toy/pipeline_registry.py": """
        from kedro.pipeline import node, pipeline
        from toy import nodes

        TRAIN = ["gpu"]
        SCORE = ["gpu"]


        def register_pipelines():
            return {
                "__default__": pipeline(
                    [
                        node(nodes.make, "params:n", "x", name="make"),
                        node(nodes.train, ["x", "params:n"], "t", name="train", tags=TRAIN),
                        node(nodes.score, "t", "s", name="score", tags=SCORE),
                        node(nodes.report, ["s", "t"], "r", name="report"),
                    ]
                )
            }
        """,
    "conf/base/parameters.yml": "n: 1\n",
    "conf/local/.gitkeep": "",
    "conf/base/catalog.yml": "".join(
        f"{name}:\n  type: json.JSONDataset\n  filepath: data/shared/{name}.json\n" for name in "xtsr"
    ),
    "conf/base/compute.yml": """
        tags: {gpu: t4}
        tiers: {t4: {machines: [T4, A100]}}
        studios: {training: {name: toy-training, nodes: ["*"]}}
        budget: {run_usd: 2}
        data: {mounts: {data/shared: $SHARED}}
        nodes: {train: {minutes: 10}, score: {minutes: 10}}
        environments: {default: {plugins: [monitoring, data_mount]}}  # nothing is installed by a test
        """,
}


class ToyProject:
    """A small Kedro project that knows of this plugin alone, and the platform it rents from."""

    def __init__(self, path: Path, platform: Platform) -> None:
        self.path, self.platform = path, platform
        self.shared = path / "data" / "shared"
        self.hooks = path / "hooks.jsonl"
        for name, content in _TOY.items():
            self.write(name, content)
        self.write("conf/base/policy.yml", (ROOT / "conf/base/policy.yml").read_text(encoding="utf-8"))
        self.shared.mkdir(parents=True)
        platform.world.extra_env = {"SHARED": str(self.shared), "DO_NOT_TRACK": "1"}

    def write(self, name: str, content: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(content), encoding="utf-8")

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Puts texts in place of others in a file; in place of none, the text comes at its end."""
        content = (self.path / name).read_text(encoding="utf-8")
        for old, new in changes:
            content = content.replace(old, new) if old else content + new
        self.write(name, content)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ, "SHARED": str(self.shared), "HOOKS_FILE": str(self.hooks), "PYTHONPATH": "", **variables,
        }  # fmt: skip
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("kedro")), *arguments],
            cwd=self.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def kedro(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.kedro("run", "--runner=kedro_lightning.runner.StudioRunner", *arguments, **variables)


@pytest.fixture
def toy(platform: Platform, connection: Connection, tmp_path: Path) -> ToyProject:
    """A project whose Studio is there."""
    StudiosApi(connection).create("toy-training")
    return ToyProject(tmp_path / "project", platform)


@pytest.fixture
def invoke(toy: ToyProject, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs ``kedro compute`` in the toy."""
    monkeypatch.chdir(toy.path)
    monkeypatch.setenv("SHARED", str(toy.shared))
    return lambda *arguments: CliRunner().invoke(compute, list(arguments), prog_name="kedro compute")


def git(folder: Path, *arguments: str) -> str:
    """Runs git in a folder and returns what it printed."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.test"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def source_project(tmp_path: Path) -> Path:
    """A folder with code, configuration, data and what must never leave it."""
    files = {
        "src/toy/nodes.py": "x = 1\n", "conf/base/parameters.yml": "n: 1\n",
        "pyproject.toml": "[project]\nname='toy'\n",
        "conf/local/credentials.yml": "secret", "conf/base/credentials_dev.yml": "secret", "src/.env": "secret",
        "src/toy/__pycache__/nodes.pyc": "x", "data/in/words.txt": "berry\n", "data/out/large.bin": "x",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path
