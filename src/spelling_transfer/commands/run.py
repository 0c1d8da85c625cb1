"""``kedro run``: Kedro's own command with defaults from ``.kedro.yml`` and one clear error where it fails."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS
from kedro.framework.project import pipelines, settings
from kedro.runner import AbstractRunner
from kedro.utils import get_close_matches, load_obj

from kedro_lightning import resume_options, show_plan
from spelling_transfer.commands.errors import CommandError, one_clear_error
from spelling_transfer.commands.project import config_loader, project_folder
from spelling_transfer.commands.selection import check_selection
from spelling_transfer.commands.streams import show_all
from spelling_transfer.configuration.documents import ConfigurationError
from spelling_transfer.configuration.environment import UnknownEnvironmentError, check_environment
from spelling_transfer.configuration.run_defaults import FILE_NAME, describe, read_defaults, read_run_defaults
from spelling_transfer.moved import MovedError
from spelling_transfer.storage.runs import whole_run

_EXAMPLES = (
    ("kedro run", "all five pipelines"),
    ("kedro run --pipelines=local_prep,token_analysis", "two of them"),
    ("kedro run --params=study.n_trials=5", "with another value of one parameter"),
    ("kedro run --only-stale", "what has changed since, and what follows from it"),
    ("kedro run --env=qwen3_4b", "Qwen3-4B on rented GPUs"),
    ("kedro run --env=qwen3_4b --dry-run", "what that would rent, and for how much"),
)

# What Kedro's own command does once its options are read.
_start = cast("Callable[..., Any]", kedro_run.callback)


class RunCommand(click.Command):
    """A command whose defaults come from ``.kedro.yml``, which its help page shows."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Makes click's context with the file's values as defaults; any option given overrides them."""
        try:
            extra.setdefault("default_map", read_run_defaults(project_folder(), self.params))
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the defaults and examples below the options."""
        rows = describe(ctx.default_map or {}, self.params)
        with formatter.section(f"Defaults from {FILE_NAME}"):
            formatter.write_dl(rows or [("none", "the file is missing or sets nothing")])
        with formatter.section("Examples"):
            formatter.write_dl(list(_EXAMPLES))


def _read_config(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Takes the section ``run`` of a file as defaults, checked as ``.kedro.yml`` is."""
    if value:
        try:
            defaults = read_defaults(Path(value), context.command.params)
        except ConfigurationError as error:
            raise click.BadParameter(str(error), param_hint="--config") from error
        context.default_map = {**(context.default_map or {}), **defaults}
    return value


def _kedro_options() -> list[click.Parameter]:
    options = [copy(option) for option in kedro_run.params]
    for option in options:
        if option.name == "config":
            option.callback = _read_config
    return options


@click.pass_context
def _run(
    context: click.Context, /, *, verbose: bool, resume: str | None, only_stale: bool, dry_run: bool, **options: Any
) -> None:
    with one_clear_error(verbose=verbose, env=options["env"]):
        if verbose:
            show_all()
        if resume and only_stale:
            raise click.UsageError("--resume runs the nodes of its run: leave out --only-stale.")
        if resume:
            options |= resume_options(project_folder(), resume)
        if options["pipeline"]:  # the older spelling
            if options["pipelines"]:
                raise click.UsageError("Give --pipelines or --pipeline, not both.")
            options |= {"pipelines": [options["pipeline"]], "pipeline": None}
        _check_environment(context, options)
        _check_runner(context, options)
        chosen = check_selection(options, pipelines)
        _check_versions(options)
        whole: AbstractContextManager[None] = nullcontext()
        if only_stale:
            from spelling_transfer.commands.stale import choose_stale

            options["node_names"], is_whole = choose_stale(options, chosen)
            whole = whole_run() if is_whole else whole
        if only_stale and not options["node_names"]:
            return
        if dry_run:
            show_plan(project_folder(), options)
            return
        with whole:
            _start(**options)


run = RunCommand(
    name="run",
    callback=_run,
    params=[
        *_kedro_options(),
        click.Option(["--resume"], metavar="RUN_ID", help="Resume a run on rented machines whose driver was ended."),
        click.Option(
            ["--only-stale"],
            is_flag=True,
            help="Run only nodes whose inputs, parameters or version differ from the record, and those that depend "
            "on them. Changed code of the same version is not detected. With --dry-run, list them.",
        ),
        click.Option(["--dry-run"], is_flag=True, help="Show what would run where and for how much; start nothing."),
        click.Option(
            ["--verbose", "-v"],
            is_flag=True,
            help="Show Kedro's log, other libraries' warnings, and the traceback of an error.",
        ),
    ],
    help="Run the pipelines of this project: all five, or those you name.",
    context_settings=CONTEXT_SETTINGS,
)


def _check_environment(context: click.Context, options: Mapping[str, Any]) -> None:
    folder = Path(options["conf_source"] or project_folder() / settings.CONF_SOURCE)
    env = options["env"] or os.environ.get("KEDRO_ENV")
    try:
        check_environment(folder, env, settings.CONFIG_LOADER_ARGS.get("default_run_env"))
    except UnknownEnvironmentError as error:
        raise _refusal(context, "env" if options["env"] else "KEDRO_ENV", str(error)) from error


def _check_runner(context: click.Context, options: Mapping[str, Any]) -> None:
    if not (name := options["runner"]):
        return
    try:
        runner = load_obj(name, "kedro.runner")
    except MovedError as error:
        raise _refusal(context, "runner", f"there is no class {name!r}. {error}") from error
    except (ImportError, AttributeError, ValueError) as error:
        raise _refusal(
            context,
            "runner",
            f"there is no class {name!r} ({error}). Name a runner of Kedro, such as SequentialRunner or ThreadRunner, "
            "or the full path of a class that can be imported.",
        ) from error
    if not (inspect.isclass(runner) and issubclass(runner, AbstractRunner)):
        raise _refusal(context, "runner", f"{name!r} is not a runner: it does not extend kedro.runner.AbstractRunner.")
    try:
        inspect.signature(runner).bind(**{"is_async": False, **options["runner_params"]})
    except TypeError as error:
        raise _refusal(context, "runner_params", f"{name} does not take these: {error}.") from error


def _check_versions(options: Mapping[str, Any]) -> None:
    if not options["load_versions"]:
        return
    folder = Path(options["conf_source"]) if options["conf_source"] else None
    catalog = config_loader(project_folder(), options["env"], options["params"], conf_source=folder)["catalog"]
    for name in options["load_versions"]:
        if not isinstance(entry := catalog.get(name), dict):
            problem, known = "is no dataset of the catalog", get_close_matches(name, sorted(catalog))
            problem += f"; did you mean {known[0]!r}?" if known else "; 'kedro catalog describe-datasets' names all."
        elif not entry.get("versioned"):
            problem = "has no versions to load: its catalog entry has no 'versioned: true'."
        else:
            continue
        raise click.BadParameter(f"{name!r} {problem}", param_hint="--load-versions")


def _refusal(context: click.Context, option: str, message: str) -> click.ClickException:
    """Returns the error for a bad value: misuse where it was given, exit code 1 where a file or variable says so."""
    if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
        return click.BadParameter(message, param_hint=f"--{option.replace('_', '-')}")
    if option in read_run_defaults(project_folder(), kedro_run.params):
        return CommandError(f"{project_folder() / FILE_NAME}: run.{option}: {message}")
    return CommandError(f"{option}: {message}")
