"""The whole project in a folder of its own, whose GPU nodes are jobs of the fake platform."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class WholeProject:
    """A copy of the project with the code in it, since the code travels to the machines."""

    def __init__(self, path: Path, platform: Any) -> None:
        self.path, self.platform = path, platform
        for name in ("conf", "src", "pyproject.toml", ".kedro.yml", ".telemetry"):
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("local", "__pycache__", "*.egg-info")
                shutil.copytree(source, path / name, ignore=ignore)
            else:
                shutil.copyfile(source, path / name)
        (path / "conf" / "local").mkdir()
        shutil.copytree(ROOT / "data" / "01_raw" / "models" / "tiny-qwen3", path / "data/01_raw/models/tiny-qwen3")
        self.shared = path / "data" / "studio_test"
        platform.world.extra_env = {
            "SPELLING_STUDIO_DATA": str(self.shared), "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT / "tests" / "offline"),
        }  # fmt: skip

    def kedro(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ, "SPELLING_STUDIO_DATA": str(self.shared), "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(self.path / "src"), str(ROOT / "tests" / "offline")]), **variables,
        }  # fmt: skip
        return subprocess.run(
            [str(Path(sys.executable).with_name("kedro")), *arguments],
            cwd=self.path, env=environment, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip

    def hashes(self, folder: str, names: Iterable[str]) -> dict[str, str]:
        return {name: hashlib.sha256((self.path / folder / name).read_bytes()).hexdigest() for name in names}
