"""What ``kedro tune`` will do: its options as a layer over the configuration, the settings that come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spelling_transfer.commands.project import config_loader
from spelling_transfer.configuration.layers import Layer, Setting, merge, nest
from spelling_transfer.configuration.presets import EXTENDS
from spelling_transfer.study.config import StudySettings, TrialConfig

if TYPE_CHECKING:
    from pydantic import BaseModel

    from spelling_transfer.configuration.presets import Presets
    from spelling_transfer.models.profile import ModelProfile
    from spelling_transfer.study.estimates import Estimate, Measured
    from spelling_transfer.study.space import SearchSpace

MODES: dict[str, dict[str, Any]] = {
    "single": {"sampler": "one_at_a_time", "n_trials": 1, "pruner": "none", "space": {}},
    "grid": {"sampler": "one_at_a_time", "n_trials": None, "pruner": "none"},
    "random": {"sampler": "random", "pruner": "none"},
    "bayes": {"sampler": "tpe", "pruner": "hyperband"},
    "sweep": {"sweep": True},
    "lightning": {"backend": "lightning"},
}
"""What each mode sets; everything else is as configured. Grid and random do not prune, so that the same study gives the
same results whatever runs at the same time."""

_ENGLISH = ("trial", "tokenizer", "use_english_only_tokens")
_SPACE = ("study", "space")
_SETTING_OF = {
    "name": "name",
    "focus": "focus",
    "sampler": "sampler",
    "pruner": "pruner",
    "trials": "n_trials",
    "workers": "workers",
    "seed": "seed",
    "storage": "storage",
}
"""Setting of a study that an option of the same meaning sets."""


@dataclass(frozen=True)
class Plan:
    """A study that is ready to begin.

    Attributes:
        settings: Every value with its origin.
        trial: The configuration it varies.
        space: What is searched, bound to the machine.
        above: What was given above the files of the environment, of all groups.
        runtime_params: What a run of the pipeline is given to come to the same.
    """

    project: Path
    env: str | None
    settings: Layer
    study: StudySettings
    trial: TrialConfig
    profile: ModelProfile
    space: SearchSpace
    above: Layer
    runtime_params: dict[str, Any]

    @property
    def params(self) -> dict[str, Any]:
        """What was given of groups other than those of the study and its trials."""
        return nest({path: each for path, each in self.above.items() if path[0] not in ("study", "trial")})

    @property
    def file(self) -> Path:
        """Where the whole configuration is kept, for ``--resume`` and for you: beside the study's folder."""
        return studies_folder(self.project, self.env) / f"{self.study.name}.yml"


def option_layer(options: Mapping[str, Any], presets: Presets) -> Layer:
    """Returns what the options of the command line set.

    Args:
        options: ``mode``, ``name``, ``focus``, ``gpu_tier``, ``english_only``, ``space``, ``sampler``, ``pruner``,
            ``trials``, ``workers``, ``seed``, ``storage``, ``resume`` and ``params``; ``None`` or missing is not given.
        presets: The ready settings that ``--space`` and ``--gpu-tier`` name.
    """
    given: Layer = {}
    for option, name in _SETTING_OF.items():
        if (value := options.get(option)) is not None:
            given["study", name] = Setting(value, f"--{option}")
    for option, name in (("space", "space"), ("gpu_tier", "lightning")):
        if (value := options.get(option)) is not None:
            place = f"--{option.replace('_', '-')} {value}"
            given |= presets.expand({"study": {name: {EXTENDS: value}}}, place)
    if options.get("english_only"):
        given[_ENGLISH] = Setting(True, "--english-only")
    if options.get("resume"):
        given["study", "resume"] = Setting(True, "--resume")
    mode = options.get("mode")
    of_mode: Layer = (
        {("study", name): Setting(value, f"--mode {mode}") for name, value in MODES[mode].items()} if mode else {}
    )
    return merge([of_mode, presets.expand(options.get("params") or {}, "--params"), given])


def make_plan(project: Path, env: str | None, options: Mapping[str, Any], config: str | None = None) -> Plan:
    """Resolves the configuration and checks it; nothing is run.

    Args:
        project: The project's folder; Kedro has been set up for it.
        env: The environment; ``None`` is Kedro's default.
        options: See `option_layer`.
        config: See `spelling_transfer.configuration.presets.Presets.experiment`.

    Raises:
        StudyConfigError: The settings contradict each other or the machine.
        ConfigurationError: A file or a value is not valid.
    """
    from spelling_transfer.models.profile import ModelProfile
    from spelling_transfer.study.backends import find_backend
    from spelling_transfer.study.space import read_space

    presets = config_loader(project, env).presets()
    configured = {} if config is None else presets.experiment(config, Path.cwd())
    above = merge([configured, option_layer(options, presets)])
    settings = _resolved(project, env, above)
    fixed = (*_SPACE, ".".join(_ENGLISH[1:]))
    if options.get("english_only") and fixed in settings:
        # Fixed for all trials: it is no longer searched.
        rest = {path: each for path, each in settings.items() if path[:2] == _SPACE and path != fixed}
        above = merge([above, rest or {_SPACE: Setting({}, "--english-only")}])
        settings = _resolved(project, env, above)
    values = nest(settings)
    study = StudySettings.model_validate(values["study"])
    trial = TrialConfig.model_validate(values["trial"])
    profile = ModelProfile.model_validate(values["model_profile"])
    find_backend(study)
    space = read_space(study.space, trial)
    if study.sweep:
        from spelling_transfer.tracking import sweep_config

        sweep_config(study, space)  # a sampler that sweeps lack is refused before anything is run
    # Whole groups, so that a run comes to the same: no file has a say in them any more.
    others = {path: each for path, each in above.items() if path[0] not in values}
    return Plan(project, env, settings, study, trial, profile, space, above, nest(others | settings))


def studies_folder(project: Path, env: str | None) -> Path:
    """Returns the folder below which each study has one of its own."""
    return project / str(config_loader(project, env)["catalog"]["tuning_studies"]["filepath"])


def check_workers(plan: Plan) -> None:
    """Checks that workers on other machines could begin, before data are prepared for them; rents nothing.

    Raises:
        StudyConfigError: They share no database or place.
        RemoteError: The place does not answer, or refuses to be written to.
        ComputeError: The settings of the rented machines do not suffice.
    """
    from spelling_transfer.study.backends import make_backend
    from spelling_transfer.study.run import check_machines

    if plan.study.backend == "local":
        return
    check_machines(plan.study)
    backend = make_backend(plan.study, studies_folder(plan.project, plan.env) / plan.study.name)
    check = getattr(backend, "check", None)
    if check is not None:
        check(plan.project, plan.env)


def estimate(plan: Plan) -> Estimate:
    """Estimates a plan; what an earlier study measured here is used where it runs here again.

    Raises:
        StudyConfigError: Not even one example fits the machine's memory.
        ConfigurationError: A setting of the arms is not valid.
    """
    from spelling_transfer.study.arms import ArmSettings
    from spelling_transfer.study.estimates import check_memory, estimate_study
    from spelling_transfer.study.machine import fitting_workers

    check_memory(plan.space, plan.study, plan.profile)
    workers = plan.study.workers
    count = fitting_workers(plan.trial.training.threads, 0) if workers == "auto" else int(workers)
    is_here = plan.study.backend == "local" and plan.study.lightning.gpu_tier == "cpu"
    measured = _measured(plan) if is_here else None
    known = config_loader(plan.project, plan.env, nest(plan.above)).settings({"arms": ArmSettings}, plan.above)
    arms = ArmSettings.model_validate(nest(known)["arms"])
    return estimate_study(plan.space, plan.study, plan.profile, arms=arms, measured=measured, workers=count)


def _resolved(project: Path, env: str | None, above: Layer) -> Layer:
    from spelling_transfer.models.profile import ModelProfile

    models: dict[str, type[BaseModel]] = {"study": StudySettings, "trial": TrialConfig, "model_profile": ModelProfile}
    return config_loader(project, env, nest(above)).settings(models, above)


def _measured(plan: Plan) -> Measured | None:
    import json

    import pandas as pd

    from spelling_transfer.configuration.documents import ConfigurationError
    from spelling_transfer.study.estimates import Measured

    try:
        catalog = config_loader(plan.project, plan.env)["catalog"]
    except ConfigurationError:
        return None  # a store that is not to be reached now; a plan can do without
    places = [str(catalog[name]["filepath"]) for name in ("trials", "trial_seconds", "best_config")]
    if any("://" in place for place in places):
        return None
    files = [plan.project / place for place in places]
    try:
        trials, seconds = pd.read_parquet(files[0]), pd.read_csv(files[1])
        best = json.loads(files[2].read_text(encoding="utf-8"))
        training = best["config"]["training"]
        rows = trials.merge(seconds, on="number")
        batch = rows.get("training.batch_size", training["batch_size"])
        examples = rows["steps"] * batch * rows.get("training.grad_accum_steps", training["grad_accum_steps"])
        total = float(examples.sum())
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no earlier study, or one in another form: the estimate is then computed
    return Measured(float(rows["seconds"].sum()) / total, len(rows)) if total else None
