"""Some 200 misuses of every command, made from the commands' own definitions: each ends in one clear error."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from spelling_transfer.cli import LazyCommand, cli

ROOT = Path(__file__).parents[1]
UNKNOWN = "no-such-thing"
_NEEDED = {
    ("compute", "stop"): ["--all"],
    ("compute", "studios", "create"): ["--all"],
    ("compute", "studios", "stop"): ["--all"],
    ("bundle", "prune"): ["--keep=1"],
    ("pretrain",): ["--out=made"],
}
"""What a command asks for before it looks at anything else."""
_WRONG = {click.IntRange: "many", click.FloatRange: "long", click.Choice: UNKNOWN}


def commands(group: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields every command with the words that call it."""
    group = group.load() if isinstance(group, LazyCommand) else group
    yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None:
                yield from commands(command, (*path, name))


def misuses() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields the words of a call, and what its error must name."""
    for path, command in (each for name in cli.commands for each in commands(cli.commands[name], (name,))):
        group = isinstance(command, click.Group)
        if not group or getattr(command, "invoke_without_command", False):
            yield (*path, f"--{UNKNOWN}"), UNKNOWN
        if group:
            yield (*path, UNKNOWN), UNKNOWN
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        filler = [UNKNOWN for each in arguments if each.required]
        needed = _NEEDED.get(path, [])
        if filler:
            yield (*path, *needed), (arguments[0].metavar or arguments[0].human_readable_name)
        elif not arguments and not group:
            yield (*path, UNKNOWN, *needed), UNKNOWN
        for option in command.params:
            if not isinstance(option, click.Option):
                continue
            name = max(option.opts, key=len)
            if option.is_flag:
                yield (*path, f"{name}=3", *filler), name
                continue
            if getattr(option, "_flag_needs_value", False) is False:
                yield (*path, *filler, name), name
            for kind, value in _WRONG.items():
                if isinstance(option.type, kind):
                    yield (*path, f"{name}={value}", *filler), name
            if isinstance(option.type, click.IntRange | click.FloatRange) and option.type.min is not None:
                yield (*path, f"{name}={option.type.min - 1}", *filler), name
            if option.name == "env":
                yield (*path, f"{name}={UNKNOWN}", *needed, *filler), UNKNOWN
            if option.name in ("pipelines", "nodes", "config", "space", "runner", "from_nodes", "to_outputs"):
                yield (*path, f"{name}={UNKNOWN}", *needed, *filler), UNKNOWN


BROKEN_FILES = [
    (("tune", "--dry-run"), "conf/base/parameters/tuning.yml"),
    (("run", "--dry-run"), "conf/base/parameters/model.yml"),
    (("peek", "word_list"), "conf/base/catalog/local_prep.yml"),
    (("doctor", "--offline"), "conf/base/globals.yml"),
    (("compute", "plan", "--offline"), "conf/base/compute.yml"),
    (("tune", "--show-config"), "conf/base/study/models/tiny-qwen3.yml"),
    (("run",), ".kedro.yml"),
    (("policy", "check", "conf"), "conf/base/policy.yml"),
]
BREAKS = {
    "cut": lambda text: text[: len(text) // 2] + "\n  - {[",
    "list": lambda _: "- a\n- b\n",
    "tab": lambda text: "\t" + text,
    "text": lambda _: "only words\n",
    "unknown": lambda text: text + f"\n{UNKNOWN.replace('-', '_')}: 3\n",
}
DATA = [
    ("words", "data/03_primary/words.parquet"),
    ("examples", "data/05_model_input/examples.parquet"),
    ("scores", "data/08_reporting/evaluation/scores.csv"),
    ("answers", "data/07_model_output/evaluation/answers.parquet"),
    ("best_config", "data/06_models/tuning/best_config.json"),
    ("conformance", "data/08_reporting/deployment_check/conformance.json"),
    ("prep_manifest", "data/prep_manifest.json"),
]

CASES = sorted({(words, named) for words, named in misuses()})


@pytest.fixture(scope="module")
def project(copy_project, tmp_path_factory):
    made = copy_project(tmp_path_factory.mktemp("misuse"))
    with contextlib.chdir(made.path):
        made.cli = made.commands_here()  # once: it imports every plugin
    return made


def call(project, words):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LIGHTNING_API_KEY", raising=False)
        patch.setenv("HOME", str(project.path))
        return project.kedro_here(*words, commands=project.cli)


def assert_one_clear_error(result, named):
    said = " ".join(result.output.split())
    assert result.exit_code not in (0, None), said
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in said
    assert named.lower() in said.lower()


def test_the_commands_give_some_two_hundred_misuses():
    assert len(CASES) + len(BROKEN_FILES) * len(BREAKS) + 2 * len(DATA) >= 200


@pytest.mark.parametrize("part", range(4))
def test_unknown_names_and_wrong_types_are_named(project, part):
    problems = []
    for words, named in CASES[part::4]:
        try:
            assert_one_clear_error(call(project, words), named)
        except AssertionError as error:
            problems.append(f"kedro {' '.join(words)}: {str(error).splitlines()[0]}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("kind", BREAKS)
def test_cut_and_strange_configuration_is_named(project, kind):
    problems = []
    for words, name in BROKEN_FILES:
        if kind == "unknown" and "/parameters/" in name:
            continue  # a user's own pipelines have parameters of their own
        file = project.path / name
        whole = file.read_text(encoding="utf-8")
        file.write_text(BREAKS[kind](whole), encoding="utf-8")
        try:
            assert_one_clear_error(call(project, words), UNKNOWN.replace("-", "_") if kind == "unknown" else file.stem)
        except AssertionError as error:
            problems.append(f"kedro {' '.join(words)} with {name}: {str(error).splitlines()[0]}")
        finally:
            file.write_text(whole, encoding="utf-8")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 cut", b"\xff\xfe\x00"], ids=["missing", "empty", "cut", "bytes"])
def test_missing_and_cut_data_are_named(project, content):
    problems = []
    chance = random.Random(0)
    for name, place in chance.sample(DATA, len(DATA)):
        file = project.path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".csv" and content == b"PAR1 cut":
            continue  # a table of one column
        if content is not None:
            file.write_bytes(content)
        try:
            assert_one_clear_error(call(project, ("peek", name)), name)
        except AssertionError as error:
            problems.append(f"kedro peek {name}: {str(error).splitlines()[0]}")
        finally:
            file.unlink(missing_ok=True)
    assert not problems, "\n".join(problems)
