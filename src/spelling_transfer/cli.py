"""The commands of this project; ``kedro`` finds them here and puts them before its own."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import click


class LazyCommand(click.Command):
    """Stands for a command whose module is imported when the command is used; ``kedro --help`` imports none."""

    def __init__(self, name: str, path: str, summary: str) -> None:
        """Notes where the command is.

        Args:
            name: What the user types.
            path: The module and the name in it, ``package.module:command``.
            summary: The line of ``kedro --help``.
        """
        super().__init__(name, short_help=summary)
        self._path = path

    def load(self) -> click.Command:
        """Imports and returns the command."""
        module, _, attribute = self._path.partition(":")
        return cast("click.Command", getattr(import_module(module), attribute))

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Makes the context of the real command, which from here on takes over."""
        return self.load().make_context(info_name, args, parent, **extra)


_COMMANDS = {
    "bench": "Evaluate on public benchmarks; export our tasks to other harnesses.",
    "bundle": "Transfer data as checksummed versions: push, pull, verify, prune.",
    "canary": "Compare the endpoint's answers with those of its check.",
    "compute": "Rent machines for nodes that need them, and release them.",
    "doctor": "Check packages, files, accounts and hosts of this machine.",
    "export": "Export the trained model to the formats of other tools.",
    "peek": "List datasets, or show schema, size, head and origin of some.",
    "policy": "Keep the model in non-thinking mode: check, probe, checklist.",
    "pretrain": "Make the embedded base model tiny-qwen3 again.",
    "registry": "List or describe the pipelines of this project.",
    "run": "Run the pipelines of this project.",
    "serve": "Serve the trained model, in non-thinking mode only.",
    "tokens": "Analyse the tokenizer: English subset, words in tokens, template.",
    "tune": "Search hyperparameters: run, resume and list studies.",
}
_OF_PLUGINS = {"compute": "kedro_lightning.cli:compute", "policy": "kedro_non_thinking.cli:policy"}
"""Where a command is that is in no module of its name below ``commands``."""


class ProjectGroup(click.Group):
    """Where every command of a project passes, those of plugins and Kedro's own included: Kedro asks here first."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command; by then it is known where output and log go."""
        from spelling_transfer.commands.streams import hide_warnings_of_others, set_up_log, set_up_streams

        if _PASSED not in ctx.meta:
            ctx.meta[_PASSED] = True
            if cmd_name in _SHORT and _IS_PROCESS:
                gc.disable()  # importing and reading make many objects and little garbage: the search takes a sixth
            set_up_streams()
            set_up_log()
            hide_warnings_of_others()
            ctx.with_resource(_clear_errors())
        return super().get_command(ctx, cmd_name)


_PASSED = f"{__name__}.passed"
_IS_PROCESS = Path(sys.argv[0]).stem in ("kedro", "spelling-transfer")
_SHORT = frozenset({"catalog", "doctor", "peek", "policy", "registry"})
"""Commands that look and end: most of their time goes into imports and configuration."""


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except Exception:
        from spelling_transfer.commands.errors import one_clear_error

        with one_clear_error():
            raise


@click.group(name="spelling_transfer", cls=ProjectGroup, help="")  # Kedro would print it above all commands
def cli() -> None:
    """Commands of the project."""


for _name, _summary in _COMMANDS.items():
    _path = _OF_PLUGINS.get(_name, f"spelling_transfer.commands.{_name}:{_name}")
    cli.add_command(LazyCommand(_name, _path, _summary))


if _IS_PROCESS:
    # Kedro imports this file before any command, those of other plugins too, which never pass the group above.
    from spelling_transfer.commands.streams import hide_warnings_of_others

    hide_warnings_of_others(in_children=True)


def __getattr__(name: str) -> Any:
    # Kedro asks for `cli.run` where the project runs as an installed package.
    if name in _COMMANDS:
        return cast("LazyCommand", cli.commands[name]).load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
