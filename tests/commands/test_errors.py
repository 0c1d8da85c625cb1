"""What a failed command says to do: only what the command can do."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
from kedro.validation.exceptions import DataValidationError
from tests.conftest import ROOT, ToyProject
from tests.test_misuse import commands as every

from spelling_transfer.commands import errors
from spelling_transfer.commands.errors import explain, one_clear_error
from spelling_transfer.commands.project import run_pipeline
from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.storage.sources import ChatTokenizerDataset


def _fails(*options: click.Option) -> Result:
    def fail(**_: object) -> None:
        with one_clear_error():
            raise OSError(errno.EIO, "Input/output error", "/some/file")

    return CliRunner().invoke(click.Command("fails", callback=fail, params=list(options)))


def test_an_error_of_the_system_advises_verbose_where_the_command_has_it() -> None:
    result = _fails(click.Option(["--verbose", "-v"], is_flag=True))
    assert result.output == "Error: /some/file: Input/output error. Run with --verbose to see where.\n"


def test_memory_that_ran_out_is_said_and_no_file_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_: str) -> None:
        raise MemoryError

    monkeypatch.setattr("spelling_transfer.tokenizer.chat.Tokenizer.from_str", no_room)
    with pytest.raises(DatasetError) as failed:
        ChatTokenizerDataset().load()
    assert explain(failed.value) == (
        "Memory ran out. Close other programs or raise this shell's limit ('ulimit -v'), and run again."
    )


def test_memory_of_a_gpu_is_called_so() -> None:
    said = explain(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 14 GiB.\nmore"))
    assert said is not None
    assert said.startswith("Memory ran out on the GPU: CUDA out of memory. Tried to allocate 2 GiB.")
    assert "ulimit" not in said


def test_memory_that_ran_out_in_torch_is_no_bug_and_costs_no_import() -> None:
    script = (
        "import sys\nfrom spelling_transfer.commands.errors import explain\n"
        'error = RuntimeError("[enforce fail] DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 8")\n'
        "print(explain(error), 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith("Memory ran out.")
    assert said.endswith("False\n")


def test_a_table_of_an_earlier_version_names_the_pipeline_that_makes_it_again() -> None:
    bootstrap_project(ROOT)
    failed = DataValidationError("", dataset_name="layer_probes", mode="load")
    said = explain(failed, "smollm2") or ""
    assert said.endswith("make it again. 'layer_probes' is made by 'kedro run --pipelines=evaluation --env=smollm2'.")


def test_and_does_not_where_there_is_no_such_option() -> None:
    assert _fails().output == "Error: /some/file: Input/output error.\n"
    assert explain(OSError(errno.EIO, "Input/output error")) == "Input/output error."


def test_what_an_error_quotes_commands_no_terminal() -> None:
    def fail() -> None:
        with one_clear_error():
            raise SpellingTransferError("template: \x1b]0;title\x07\u202ex.\nAsk again.")

    assert CliRunner().invoke(click.Command("fails", callback=fail)).output == (
        "Error: template:  ]0;title  x.\nAsk again.\n"
    )


def test_a_message_that_begins_with_a_line_break_stands_behind_its_word() -> None:
    def fail() -> None:
        with one_clear_error():
            raise DatasetError("\nthing.__init__() got an unexpected keyword argument 'versionned'.")

    assert CliRunner().invoke(click.Command("fails", callback=fail)).output.startswith("Error: thing.__init__() got")


def test_a_pipeline_that_fails_in_another_command_advises_no_option_of_kedro_run(
    toy_project: ToyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    (toy_project.path / "data").mkdir()
    pd.DataFrame({"layers": []}).to_parquet(toy_project.path / "data/words.parquet")
    bootstrap_project(toy_project.path)
    with pytest.raises(ZeroDivisionError):
        run_pipeline(toy_project.path, None, "report")
    assert "previous command" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), PermissionError(13, "Permission denied")])
def test_no_command_is_told_to_use_an_option_it_lacks(error: OSError) -> None:
    commands = list(every(KedroCLI(ROOT), ()))
    assert {("bundle", "push"), ("doctor",), ("peek",), ("tune",), ("run",)} <= {names for names, _ in commands}
    for names, command in commands:
        with click.Context(command):
            said = explain(error) or ""
        options = {name for parameter in command.params for name in parameter.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z]+(?=\s)", said)) <= options, (names, said)


def test_the_traceback_is_written_through_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Now:
        now = staticmethod(lambda _: datetime(2026, 1, 2, tzinfo=UTC))

    monkeypatch.setattr(errors, "datetime", Now)
    monkeypatch.setattr(errors.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("sys.argv", ["kedro", "typed in another encoding: \udcff"])
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"error-2026-01-02T00.00.00-{os.getpid()}.log").symlink_to(victim)
    with pytest.raises(errors.CommandError, match="The whole traceback is in"), one_clear_error():
        raise RuntimeError("a fault")
    assert victim.read_text() == "mine"
