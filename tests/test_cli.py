"""The command line of this project as a user meets it, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spelling_transfer.cli import cli
from spelling_transfer.pipeline_registry import NAMES

ROOT = Path(__file__).parents[1]
PIPELINES = ["local_prep", "token_analysis", "tuning", "evaluation", "deployment_check"]
HEAVY = ["torch", "transformers", "pytorch_lightning", "peft", "mlx", "wandb", "fastapi", "lightning_sdk", "sklearn"]


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


def without_heavy_imports(*arguments: str) -> str:
    output, imported = kedro(*arguments, then=f"print('imported:', sorted(set({HEAVY}) & set(sys.modules)))").split(
        "imported: "
    )
    assert imported == "[]\n"
    return output


def test_the_help_lists_the_commands_and_imports_no_deep_learning_library():
    own = without_heavy_imports("--help").split("from spelling_transfer")[1].split("from kedro")[0]
    for name in cli.commands:
        assert f"\n  {name} " in own


def test_the_registry_lists_five_pipelines_and_imports_no_deep_learning_library():
    output = without_heavy_imports("registry", "list")
    assert sorted(output.split()[1::2]) == sorted([*PIPELINES, "__default__"])


def test_the_names_of_the_pipelines_cost_no_import_of_what_their_nodes_do():
    output = kedro(
        "registry", "list", then="print('pandas' in sys.modules, 'spelling_transfer.pipelines' in sys.modules)"
    )
    assert output.endswith("False False\n")


def test_a_check_of_files_that_hold_no_token_ids_costs_no_import_of_what_judges_them():
    output = kedro("policy", "check", "conf/base/parameters", then="print('numpy' in sys.modules)")
    assert output.endswith("False\n")


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


def test_the_default_pipeline_is_all_five(project_pipelines):
    names = {node.name for name in PIPELINES for node in project_pipelines[name].nodes}
    assert {node.name for node in project_pipelines["__default__"].nodes} == names
    assert {name.split(".")[0] for name in names} == set(PIPELINES)
