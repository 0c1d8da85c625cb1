"""The fake platform in this process, a throw-away project, and the settings that point at both."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kedro_lightning.jobs.work import EXIT_MARK, Work
from kedro_lightning.platform.calls import Calls
from kedro_lightning.platform.client import Connection, connect
from kedro_lightning.platform.machines import Machine
from kedro_lightning.platform.studios import StudiosApi, StudioView

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "platform"))

from whole_project import WholeProject  # noqa: E402

T4 = Machine("T4", "lit-t4-1", "T4", 1, 16.0, 0.68, 0.30)
A100 = Machine("A100", "lit-a100-1", "A100", 1, 40.0, 1.55, 1.0)


def _load_fake() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fake_lightning", ROOT / "tests/platform/fake_lightning.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Platform:
    """The fake, with what tests ask of it."""

    def __init__(self, module: ModuleType, url: str) -> None:
        self.module, self.url, self.world = module, url, module.W

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return list(self.world.jobs.values())

    @property
    def running(self) -> list[str]:
        ended = ("completed", "failed", "stopped")
        return [job["name"] for job in self.jobs if self.world.job_tick(job)["state"] not in ended]

    @property
    def creations(self) -> int:
        return len([entry for entry in self.world.log if entry["m"] == "POST" and entry["path"].endswith("/jobs")])

    def fault(self, match: str, **how: Any) -> None:
        self.world.faults.append({"match": match, "times": 1, "status": 503, "after": False, "body": "injected", **how})

    def said(self) -> str:
        """Everything the platform was told, but for the store of secrets, which is where values belong."""
        return repr([entry for entry in self.world.log if "/secrets" not in entry["path"]]) + repr(self.world.telemetry)


@pytest.fixture(scope="session")
def _fake() -> Iterator[Platform]:
    module = _load_fake()
    server, url = module.serve()
    yield Platform(module, url)
    module.W.reset()
    server.shutdown()
    server.server_close()


@pytest.fixture
def platform(_fake: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Platform]:
    """An empty platform that executes jobs; this process is signed in to it."""
    _fake.world.exec = True
    _fake.world.reset()
    for name, value in signed_in(_fake, tmp_path).items():
        monkeypatch.setenv(name, value)
    yield _fake
    _fake.world.reset()


def signed_in(platform: Platform, home: Path) -> dict[str, str]:
    """Returns the variables of somebody who has an account."""
    return {
        "LIGHTNING_CLOUD_URL": platform.url, "LIGHTNING_USER_ID": "u-1", "LIGHTNING_API_KEY": "key-of-the-user",
        "LIGHTNING_TEAMSPACE": "acme/spelling", "LIGHTNING_DISABLE_VERSION_CHECK": "1", "DO_NOT_TRACK": "1",
        "LIGHTNING_CREDENTIAL_PATH": str(home / "none.json"),
    }  # fmt: skip


@pytest.fixture
def connection(platform: Platform) -> Connection:
    """A connection whose repeats come quickly."""
    return connect("acme/spelling", Calls(timeout_seconds=(2.0, 2.0), first_wait_seconds=0.01))


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
        from toy.hooks import Recorder
        HOOKS = (Recorder(),)
        """,
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
def whole_project(platform: Platform, tmp_path: Path) -> WholeProject:
    """A copy of this project; nothing is set up on the platform yet."""
    return WholeProject(tmp_path / "project", platform)
