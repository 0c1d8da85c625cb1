"""The command line of this project as a user meets it, in processes of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kedro_lightning.cli import commands as compute_commands
from kedro_non_thinking.cli import commands as policy_commands
from spelling_transfer.cli import cli
from spelling_transfer.pipeline_registry import NAMES

ROOT = Path(__file__).parents[1]
PIPELINES = ["local_prep", "token_analysis", "tuning", "evaluation", "deployment_check"]
HEAVY = {"torch", "transformers", "pytorch_lightning", "peft", "mlx", "wandb", "fastapi", "lightning_sdk", "sklearn"}


def kedro(*arguments: str, then: str = "") -> str:
    """Runs kedro in the project's folder and returns what it printed; ``then`` runs in that interpreter after it."""
    script = f"""
import sys
from kedro.framework.cli.cli import main
sys.argv = ["kedro", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
{then}
"""
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_imports(*arguments: str, heavy: set[str]) -> str:
    """Returns what a command prints, and checks that it imported none of these."""
    output, imported = kedro(*arguments, then=f"print('imported:', {heavy} & set(sys.modules))").split("imported: ")
    assert imported == "set()\n"
    return output


def test_the_help_lists_the_commands_and_imports_no_deep_learning_library():
    own = without_imports("--help", heavy=HEAVY).split("from spelling_transfer")[1].split("from kedro")[0]
    for name in cli.commands:
        assert f"\n  {name} " in own


def test_the_registry_lists_five_pipelines_and_imports_nothing_of_what_their_nodes_do():
    output = without_imports("registry", "list", heavy={*HEAVY, "pandas", "spelling_transfer.pipelines"})
    assert sorted(output.split()[1::2]) == sorted([*PIPELINES, "__default__"])


def test_a_check_of_files_that_hold_no_token_ids_costs_no_import_of_what_judges_them():
    without_imports("policy", "check", "conf/base/parameters", heavy={"numpy"})


def test_the_search_for_garbage_rests_in_a_short_command_and_in_no_other():
    assert kedro("registry", "list", then="import gc; print(gc.isenabled())").endswith("False\n")
    assert kedro("tune", "list", then="import gc; print(gc.isenabled())").endswith("True\n")


def test_the_pipelines_are_described_as_kedro_describes_them():
    assert "evaluation.answer" in kedro("registry", "describe", "evaluation")


def test_the_names_are_those_of_the_pipelines(project_pipelines):
    assert [*NAMES, "__default__"] == list(project_pipelines)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_a_help_page_with_an_example(name):
    result = CliRunner().invoke(cli, [name, "--help"], prog_name="kedro")
    assert result.exit_code == 0, result.output
    assert f"kedro {name} " in result.output.split("Usage:")[1].split("\n", 1)[1]
    assert [line for line in result.output.splitlines() if len(line) > 80] == []


def pages_of_help(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yields the help page of a command and of each below it, as a terminal of 80 columns shows it."""
    command = command.make_context(name, [], resilient_parsing=True).command
    context = click.Context(command, info_name=name, terminal_width=80)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            inner = command.get_command(context, each)
            assert inner is not None
            yield from pages_of_help(inner, f"{name} {each}")


def is_cut_or_joined(line: str) -> bool:
    """Returns whether a line of a help page ends before its sentence does, or has an example beside something else."""
    is_cut = line.endswith("...") and not line.startswith("Usage:")
    return is_cut or ("kedro " in line and re.match(r"\s*Examples?:", line) is not None)


@pytest.mark.parametrize("group", [cli, compute_commands, policy_commands], ids=["ours", "compute", "policy"])
def test_no_summary_is_cut_off_and_each_example_has_a_line_of_its_own(group):
    pages = dict(pages_of_help(group, "kedro"))
    assert len(pages) > 3
    assert [(name, line) for name, page in pages.items() for line in page.splitlines() if is_cut_or_joined(line)] == []
    # Kedro's own commands are not ours to write, and its list of commands needs none.
    others = ("kedro", "kedro registry list", "kedro registry describe")
    assert [
        name for name, page in pages.items() if name not in others and not re.search(r"^ *Example", page, re.M)
    ] == []


def test_a_cut_summary_and_joined_examples_are_found():
    @click.group(epilog="Examples: kedro one a   kedro one b")
    def group():
        """Does one thing."""

    @group.command(help="Does what takes many more words to say than the line of a group's help page has places for it")
    def one():
        """Does nothing."""

    (_, page), _ = pages_of_help(group, "kedro")
    assert len([line for line in page.splitlines() if is_cut_or_joined(line)]) == 2


def test_the_default_pipeline_is_all_five(project_pipelines):
    names = {node.name for name in PIPELINES for node in project_pipelines[name].nodes}
    assert {node.name for node in project_pipelines["__default__"].nodes} == names
    assert {name.split(".")[0] for name in names} == set(PIPELINES)
