"""What a failed command says to do: only what the command can do."""

from __future__ import annotations

import errno
import re

import click
import pytest
from click.testing import CliRunner, Result
from kedro.framework.cli.cli import KedroCLI
from tests.conftest import ROOT
from tests.test_misuse import commands as every

from spelling_transfer.commands.errors import explain, one_clear_error


def _fails(*options: click.Option) -> Result:
    def fail(**_: object) -> None:
        with one_clear_error():
            raise OSError(errno.EIO, "Input/output error", "/some/file")

    return CliRunner().invoke(click.Command("fails", callback=fail, params=list(options)))


def test_an_error_of_the_system_advises_verbose_where_the_command_has_it() -> None:
    result = _fails(click.Option(["--verbose", "-v"], is_flag=True))
    assert result.output == "Error: /some/file: Input/output error. Run with --verbose to see where.\n"


def test_and_does_not_where_there_is_no_such_option() -> None:
    assert _fails().output == "Error: /some/file: Input/output error.\n"
    assert explain(OSError(errno.EIO, "Input/output error")) == "Input/output error."


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), PermissionError(13, "Permission denied")])
def test_no_command_is_told_to_use_an_option_it_lacks(error: OSError) -> None:
    commands = list(every(KedroCLI(ROOT), ()))
    assert {("bundle", "push"), ("doctor",), ("peek",), ("tune",), ("run",)} <= {names for names, _ in commands}
    for names, command in commands:
        with click.Context(command):
            said = explain(error) or ""
        options = {name for parameter in command.params for name in parameter.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z]+(?=\s)", said)) <= options, (names, said)
