"""How a command fails: one clear error and an exit code, no traceback."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click
from kedro.framework.cli.utils import KedroCliError
from kedro.io import DatasetError
from kedro.utils import find_kedro_project
from kedro.validation.exceptions import DataValidationError

from kedro_lightning import ComputeError
from kedro_non_thinking import PolicyError
from spelling_transfer.commands.streams import printable
from spelling_transfer.errors import SpellingTransferError, causes, first_line

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""


class CommandError(click.ClickException):
    """Ends a command with exit code 1 and a message in red."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the message on standard error; what it quotes of somebody else's file commands no terminal."""
        message = "\n".join(map(printable, self.format_message().strip().splitlines()))
        click.secho(f"Error: {message}", file=file, err=file is None, fg="red")


@contextmanager
def one_clear_error(
    *, verbose: bool = False, env: str | None = None, kept: str = "What was finished is kept."
) -> Iterator[None]:
    """Turns an error into one message; the traceback of what is not explained goes to a file that the message names.

    Args:
        verbose: Print the traceback as well.
        env: The environment the command ran in, for the commands that messages suggest.
        kept: What to say after Ctrl-C.

    Raises:
        CommandError: In place of an error that has an explanation.
        SystemExit: 130 after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        click.secho(f"Interrupted. {kept}", err=True, fg="red")
        raise SystemExit(INTERRUPTED) from None
    except KedroCliError as error:
        raise CommandError(error.message) from error
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # click ends quietly where the reader of a pipe has gone
    except Exception as error:
        message = explain(error, env) or _describe_bug(error)
        if _is_interrupted(error):
            click.secho(message, err=True, fg="red")
            raise SystemExit(INTERRUPTED) from None
        if verbose:
            click.echo(traceback.format_exc(), err=True)
        raise CommandError(message) from error


def _is_interrupted(error: BaseException) -> bool:
    # A study ends its trials cleanly at Ctrl-C and says so with an error of its own.
    from spelling_transfer.study.interfaces import StudyInterruptedError

    return any(isinstance(cause, StudyInterruptedError) for cause in causes(error))


def _describe_bug(error: Exception) -> str:
    """Returns what went wrong and where, and leaves the traceback in the folder ``logs`` of the project."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    trace = "".join(traceback.format_exception(error))
    name = f"error-{datetime.now(UTC):%Y-%m-%dT%H.%M.%S}-{os.getpid()}.log"
    # A folder that cannot be written must not hide the error.
    for folder in (Path(find_kedro_project(Path.cwd()) or tempfile.gettempdir()) / "logs", Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            # In a folder of all users, no link is followed.
            with (folder / name).open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{shlex.join(sys.argv)}\n\n{trace}")
            return f"{said} ({last.filename}:{last.lineno}). The whole traceback is in {folder / name}."
    return f"{said} ({last.filename}:{last.lineno}).\n{trace}"


def explain(error: BaseException, env: str | None = None) -> str | None:
    """Returns what to tell the user, or ``None`` where the error is a bug of ours."""
    from spelling_transfer.storage import DatasetWriteError  # brings kedro's datasets
    from spelling_transfer.storage.errors import explain_remote
    from spelling_transfer.training.errors import is_out_of_memory

    chain = list(causes(error))
    known = (SpellingTransferError, PolicyError, ComputeError)
    ours = next((cause for cause in chain if isinstance(cause, known)), None)
    system = next((cause for cause in chain if isinstance(cause, OSError) and cause.strerror), None)
    out_of_memory = next(filter(is_out_of_memory, chain), None)
    if ours is None and out_of_memory is not None:
        if "CUDA" in str(out_of_memory):
            said = first_line(out_of_memory)
            return f"Memory ran out on the GPU: {said} End what else uses it, or take a larger one."
        return "Memory ran out. Close other programs or raise this shell's limit ('ulimit -v'), and run again."
    if isinstance(error, DatasetError):
        # The catalog puts the dataset's name in front of what the dataset class said.
        name, colon, _ = str(error).partition(": ")
        if "Failed " in str(error) and (remote := explain_remote(error, "its object store", "read")) is not None:
            return str(ours or remote)  # kedro's message is the dataset's repr, on a line of its own
        if isinstance(error, DataValidationError) and error.mode == "load":
            name, again = str(error.dataset_name), "Another version of the code may have made it: make it again."
            return f"{error}\n{again}{_made_by(name, env)}"
        message = f"{name}: {ours}" if ours and colon and str(ours) not in str(error) else str(error)
        return message if isinstance(ours, DatasetWriteError) else message + _made_by(name, env)
    if ours is not None:
        return str(ours)
    if system is not None:
        place = f"{system.filename}: " if system.filename else ""
        remedy = "Run with --verbose to see where." if _has_option("--verbose") else ""
        if isinstance(system, PermissionError):
            remedy = "Its owner can let the group read and write it: chmod -R g+rwX on its folder."
        if system.errno in (errno.ENOSPC, errno.EDQUOT) and system.filename:
            remedy = f"Make room and run again. Temporary files go to {tempfile.gettempdir()}; TMPDIR changes that."
        return f"{place}{system.strerror}. {remedy}".rstrip()
    return None


def _has_option(name: str) -> bool:
    """Whether the command that runs has an option, so that no message suggests one that is not there."""
    context = click.get_current_context(silent=True)
    return context is not None and any(name in parameter.opts for parameter in context.command.params)


def _made_by(dataset: str, env: str | None) -> str:
    from kedro.framework.project import pipelines

    for name, pipeline in pipelines.items():
        if name != "__default__" and dataset in pipeline.all_outputs():
            in_env = f" --env={env}" if env else ""
            return f" {dataset!r} is made by 'kedro run --pipelines={name}{in_env}'."
    return ""
