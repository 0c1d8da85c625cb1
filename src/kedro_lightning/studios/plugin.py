"""What sets up a Studio: steps of one shape, built in or added by entry point ``kedro_compute.studio_plugins``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from ..config import ComputeConfig, Environment, StudioSettings
from ..errors import ComputeError, SettingsError
from ..platform.studios import StudiosApi, StudioView

GROUP = "kedro_compute.studio_plugins"
_SHOWN_CHARACTERS = 1500


@dataclass(frozen=True)
class StudioContext:
    """A running Studio, and what it is to become."""

    api: StudiosApi
    studio: StudioView
    task: str
    settings: StudioSettings
    environment: Environment
    config: ComputeConfig
    project: Path

    def run(self, command: str) -> str:
        """Runs one command in the Studio and returns what it printed.

        Raises:
            ComputeError: Its exit code is not 0.
        """
        output, code = self.api.run(self.studio, command)
        if code != 0:
            raise ComputeError(
                f"Studio {self.studio.name}: exit code {code} from: {command.splitlines()[0][:120]}\n"
                f"{output.strip()[-_SHOWN_CHARACTERS:]}"
            )
        return output

    def succeeds(self, command: str) -> bool:
        """Returns whether a command in the Studio has exit code 0."""
        return self.api.run(self.studio, command)[1] == 0

    def upload(self, content: bytes, place: str) -> None:
        """Puts a file among those of the Studio."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_bytes(content)
            self.api.upload(self.studio, file, place)


class StudioPlugin(Protocol):
    """A step of the set-up. Each method may be called again and then changes nothing."""

    def install(self, context: StudioContext) -> None:
        """Puts what is needed onto the Studio's disk."""
        ...

    def configure(self, context: StudioContext) -> None:
        """Sets variables and settings."""
        ...

    def check(self, context: StudioContext) -> list[str]:
        """Returns what is wrong, a line each; nothing if the Studio is as declared."""
        ...


def load_plugins(names: tuple[str, ...]) -> Mapping[str, StudioPlugin]:
    """Returns the plugins of these names, in this order.

    Raises:
        SettingsError: There is none of a name.
    """
    from .data_mount import DataMountPlugin
    from .environment import EnvironmentPlugin
    from .monitoring import MonitoringPlugin

    built_in: dict[str, type[StudioPlugin]] = {
        "environment": EnvironmentPlugin, "monitoring": MonitoringPlugin, "data_mount": DataMountPlugin,
    }  # fmt: skip
    others = {entry.name: entry for entry in entry_points(group=GROUP)}
    found: dict[str, StudioPlugin] = {}
    for name in names:
        if name in others:
            found[name] = others[name].load()()
        elif name in built_in:
            found[name] = built_in[name]()
        else:
            known = ", ".join(sorted({*built_in, *others}))
            raise SettingsError(f"compute: environments: plugins: there is no {name!r}. Known: {known}.")
    return found
