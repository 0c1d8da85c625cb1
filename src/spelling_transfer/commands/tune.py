"""``kedro tune``: searches hyperparameters, from one configuration to a study on rented machines."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, cast, get_args

import click
from click.core import ParameterSource
from kedro.framework.cli.utils import CONTEXT_SETTINGS, _split_params, env_option

from spelling_transfer.commands.errors import CommandError, one_clear_error
from spelling_transfer.commands.project import enter_project, json_option, load_catalog, print_json, run_pipeline
from spelling_transfer.commands.tune_docs import write_docs
from spelling_transfer.commands.tune_plan import MODES, Plan, check_workers, estimate, make_plan, studies_folder
from spelling_transfer.commands.tune_studies import dashboard, list_studies, sync
from spelling_transfer.configuration.documents import ConfigurationError
from spelling_transfer.configuration.layers import given_though_searched
from spelling_transfer.files import NAME_RULE, is_name, write_bytes
from spelling_transfer.statistics.scores import Focus
from spelling_transfer.study.config import GpuTier, Pruner, Sampler, StudyConfigError

_STUDY_NODE = "tuning.run_study"


class _Workers(click.ParamType):  # type: ignore[type-arg]
    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto":
            return value
        return click.IntRange(1, 1024).convert(value, param, ctx)


def _check_name(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    if name is not None and not is_name(name):
        raise click.BadParameter(f"{name!r} cannot name a study: {NAME_RULE}.")
    return name


@click.group("tune", context_settings=CONTEXT_SETTINGS, invoke_without_command=True)
@click.option("--mode", type=click.Choice(sorted(MODES)), help="What kind of study; see above.")
@click.option(
    "--name", metavar="NAME", callback=_check_name, help="Name of the study; used by its results and by --resume."
)
@click.option("--focus", type=click.Choice(get_args(Focus)), help="Weights of position and count in the score.")
@click.option(
    "--gpu-tier",
    type=click.Choice(get_args(GpuTier)),
    help="Machine that memory, time and cost are estimated for. What is rented: compute.yml.",
)
@click.option("--english-only", is_flag=True, help="Train on the English subset of the vocabulary, in every trial.")
@click.option("--config", metavar="FILE|NAME", help="A configuration (YAML, JSON), or a name of study/training/.")
@click.option("--space", metavar="NAME", help="The search space: a name of study/search_spaces/ or of a plugin.")
@click.option("--sampler", type=click.Choice(get_args(Sampler)), help="How configurations are chosen.")
@click.option("--pruner", type=click.Choice(get_args(Pruner)), help="How trials that fall behind are stopped.")
@click.option("--trials", type=click.IntRange(1, 10_000), help="Configurations to try.")
@click.option("--workers", type=_Workers(), help="Trials in parallel.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the study.")
@click.option("--storage", metavar="URL", help="Database of the study; a file in its folder by default.")
@click.option("--params", callback=_split_params, default="", help="Other parameters, as in kedro run.")
@click.option("--resume", is_flag=True, help="Resume the study of this name, with its own settings.")
@click.option("--show-config", is_flag=True, help="Print every setting with its source, and stop.")
@click.option("--dry-run", is_flag=True, help="Print the plan, with time and cost, and stop.")
@json_option
@click.option("--verbose", "-v", is_flag=True, help="Show the traceback of an error.")
@env_option
@click.pass_context
def tune(context: click.Context, /, **options: Any) -> None:
    """Search hyperparameters: train configurations on spelling and see what carries over.

    Without a mode the study of conf/base/parameters/tuning.yml is run. The plan is printed first;
    --dry-run stops there. --resume resumes an interrupted one. What it chose is evaluated by 'kedro run
    --pipelines=evaluation,deployment_check'; 'kedro run' alone would run the study of the configuration again.

    \b
    Modes:
      single     train the default configuration once
      grid       vary one setting at a time around the default
                 (--sampler grid: all combinations)
      random     independent random configurations
      bayes      learn from the results: TPE, ended early by Hyperband
      sweep      the same space as a sweep of Weights & Biases
      lightning  trials as jobs on rented machines, which share a PostgreSQL
                 (--storage) and a bucket (studies_place in globals.yml)

    \b
    Examples:
      kedro tune --mode single --name first
      kedro tune --mode grid --config mission --space mission --dry-run
      kedro tune --mode bayes --trials 40 --focus transfer --name transfer_40
      kedro tune --resume --name transfer_40
      kedro tune --mode lightning --name rented --env s3 \\
        --storage postgresql+psycopg://me@host/studies
      kedro tune --show-config --config data/06_models/tuning/best_config.json
    """  # noqa: D301
    if context.invoked_subcommand is not None:
        name, typed = context.invoked_subcommand, ParameterSource.COMMANDLINE
        if given := [each.opts[0] for each in tune.params if context.get_parameter_source(str(each.name)) is typed]:
            raise click.UsageError(f"{given[0]}: options of {name} come after it: kedro tune {name} --help.")
        return
    _check(options)
    with one_clear_error(verbose=options["verbose"], env=options["env"]):
        _tune(options)


def _check(options: dict[str, Any]) -> None:
    if options["mode"] == "single":
        for name in ("space", "sampler"):
            if options[name] is not None:
                raise click.UsageError(f"--mode single trains the default configuration alone: leave out --{name}.")
        if options["trials"] not in (None, 1):
            raise click.UsageError("--mode single is one trial: leave out --trials, or take another mode.")
    if options["resume"]:
        if not options["name"]:
            raise click.UsageError("--resume needs --name, the study to resume.")
        own = ("mode", "focus", "config", "space", "sampler", "pruner", "seed")
        changed = [name for name in own if options[name] is not None] + ["english-only"] * options["english_only"]
        if changed:
            raise click.UsageError(
                f"--resume keeps the study's own settings: leave out --{changed[0]}. A study with others needs "
                "another --name."
            )


def _tune(options: dict[str, Any]) -> None:
    from spelling_transfer.commands.tune_show import configuration_data, plan_data, print_configuration, print_plan
    from spelling_transfer.configuration.presets import save_experiment

    project = enter_project()
    as_json = options["as_json"]
    plan = make_plan(project, options["env"], options, _configuration(project, options))
    for problem in given_though_searched(plan.settings):
        click.secho(f"Warning: {problem}", err=True, fg="yellow")
    if options["show_config"]:
        if as_json:
            print_json(configuration_data(plan))
        else:
            print_configuration(plan)
        return
    found = estimate(plan)
    if options["dry_run"] and as_json:
        print_json(plan_data(plan, found))
        return
    print_plan(plan, found, err=as_json)
    if options["dry_run"]:
        return
    check_workers(plan)
    before = plan.file.read_bytes() if plan.file.is_file() else None
    save_experiment(plan.study.model_copy(update={"resume": False}), plan.trial, plan.file, plan.params)
    try:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            run_study_pipeline(plan)
    except (StudyConfigError, ConfigurationError, KeyboardInterrupt) as error:
        # Refused, or given up before the study began: --resume continues with the settings that the study has.
        given_up = isinstance(error, KeyboardInterrupt)
        if before is not None and not (given_up and options["resume"]):
            write_bytes(plan.file, before)
        elif before is None and not given_up:
            plan.file.unlink(missing_ok=True)
        raise
    if as_json:
        print_json(_result(plan))


def _configuration(project: Path, options: dict[str, Any]) -> str | None:
    if not options["resume"]:
        return cast("str | None", options["config"])
    file = studies_folder(project, options["env"]) / f"{options['name']}.yml"
    if not file.is_file():
        if file.with_suffix("").is_dir():
            if (older := project / "data" / "06_models" / "tuning" / "configs" / file.name).is_file():
                raise CommandError(
                    f"{options['name']}: an earlier version kept its configuration in another folder. Move it, then "
                    f"resume: mv {shlex.quote(str(older))} {shlex.quote(str(file))}"
                )
            raise CommandError(
                f"{options['name']} is the study of 'kedro run', which resumes it: run that command again."
            )
        known = ", ".join(sorted(each.stem for each in file.parent.glob("*.yml"))) or "none yet"
        raise CommandError(f"{file}: there is no study {options['name']!r} to resume. Known: {known}.")
    return str(file)


def run_study_pipeline(plan: Plan) -> None:
    """Runs the pipeline ``tuning`` with a plan's settings, and those that make its data where they have not run."""
    from kedro.framework.project import pipelines

    catalog = load_catalog(plan.env)
    wanted = pipelines["tuning"].inputs()
    for name in ("local_prep", "token_analysis"):
        made = sorted(wanted & pipelines[name].all_outputs())
        if not all(catalog[dataset].exists() for dataset in made):
            _run(plan, name, made)
    _run(plan, "tuning", [])


def _run(plan: Plan, pipeline: str, outputs: list[str]) -> None:
    from kedro_lightning import StudioRunner

    params = plan.runtime_params if pipeline == "tuning" else plan.params
    # Where trials are jobs of their own, the node that starts and watches them is not a job itself.
    runner = StudioRunner(here=[] if plan.study.backend == "local" else [_STUDY_NODE])
    run_pipeline(plan.project, plan.env, pipeline, outputs=outputs, params=params, runner=runner)


def _result(plan: Plan) -> dict[str, Any]:
    catalog = load_catalog(plan.env)
    best = catalog.load("best_config")
    keys = ("trial", "selection_score", "transfer_score", "interval", "config")
    return {
        "study": plan.study.name,
        "trials": len(catalog.load("trials")),
        "best": {key: best[key] for key in keys if key in best},
        "configuration": str(plan.file),
    }


for _command in (list_studies, dashboard, sync, write_docs):
    tune.add_command(_command)
