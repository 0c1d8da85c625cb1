"""``compute.yml``: what it may say (which nodes run where, on what machines, for how much money), and its reader.

Everything has a default under which nothing is rented, so a project without the file runs as it always did.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import SettingsError

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader

KIND = "compute"
_FILES = ["compute.yml", "compute.yaml"]

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
DeploymentName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
_UNSET_VARIABLE = re.compile(r"\$\{?\w+\}?")


def conf_source() -> str:
    """Returns the folder in which a project keeps its configuration, as its ``settings.py`` says."""
    from kedro.framework.project import settings

    return str(settings.CONF_SOURCE)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Tier(_Settings):
    """A kind of machine, and what to try next where it is too small or cannot be had."""

    machines: tuple[str, ...] = Field(
        min_length=1,
        description="Machines in the platform's names (CPU, T4, L4, A100, H100, lit-t4-1). The cheapest one with "
        "enough memory is taken; after running out of memory, the cheapest one with more.",
    )
    interruptible: bool = Field(False, description="Rent interruptible machines; cheaper, and jobs resume.")
    longest_minutes: int = Field(240, ge=1, le=7 * 24 * 60, description="A job is ended after this many minutes.")
    num_machines: int = Field(1, ge=1, le=64, description="Machines of one job, for distributed training.")


class Budget(_Settings):
    """What may be spent, in USD. Without a value nothing is rented."""

    run_usd: float | None = Field(None, ge=0, le=100_000, description="For one run.")
    month_usd: float | None = Field(None, ge=0, le=1_000_000, description="For a calendar month, all runs together.")


class Environment(_Settings):
    """What a Studio needs before a node can run in it."""

    packages: tuple[str, ...] = Field((), description="Requirements for pip; empty for those of the project.")
    variables: dict[VariableName, str] = Field(default_factory=dict, description="Variables; never a secret.")
    startup: tuple[str, ...] = Field((), description="Commands to run when the Studio is set up.")
    plugins: tuple[str, ...] = Field(
        ("environment", "monitoring", "data_mount"), description="Set-up steps, by entry point or built in."
    )


class StudioSettings(_Settings):
    """One Studio for one task."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Name of the Studio on the platform.")
    nodes: tuple[str, ...] = Field((), description="Nodes whose jobs start from it, with wildcards: tuning.*")
    environment: str = Field("default", description="Which of the environments it has.")
    machine: str = Field("CPU", description="Machine for interactive work; jobs have their own.")
    idle_minutes: int = Field(10, ge=2, le=24 * 60, description="It is put to sleep after this long without work.")


class NodeHint(_Settings):
    """What is known of a node before it has ever run."""

    gpu_gigabytes: float = Field(0.0, ge=0, le=10_000, description="Memory it needs on the accelerator.")
    minutes: float | None = Field(None, gt=0, le=7 * 24 * 60, description="How long it takes; overrides the estimate.")
    impact: float = Field(1.0, ge=0, le=1000, description="Expected value; jobs with more of it start first.")
    tier: str | None = Field(None, description="Tier of this node, instead of its tag's.")


class DataPlace(_Settings):
    """Where datasets are that more than one machine reads or writes."""

    shared: tuple[str, ...] = Field(
        ("s3://", "gs://", "gcs://", "abfs://", "az://", "hf://", "https://"),
        description="Prefixes of locations that every machine can reach.",
    )
    mounts: dict[str, str] = Field(
        default_factory=dict,
        description="Folder of the project -> the same folder as the rented machine sees it; may hold $VARIABLES.",
    )
    bundled: tuple[str, ...] = Field((), description="Folders that only feed nodes and travel with the code.")
    scratch: tuple[str, ...] = Field(
        (), description="Folders private to each machine, to work in; on a mount they survive an interruption."
    )

    @field_validator("mounts")
    @classmethod
    def _expand(cls, mounts: dict[str, str]) -> dict[str, str]:
        expanded = {name: os.path.expandvars(place) for name, place in mounts.items()}
        for name, place in expanded.items():
            if unset := _UNSET_VARIABLE.search(place):
                raise ValueError(f"the place of {name!r} names {unset[0]}, and no such variable is set")
            if not place.startswith("/"):
                raise ValueError(f"the place of {name!r} is {place!r}; it must be an absolute path")
        return expanded


class CodeSettings(_Settings):
    """How the code gets to the rented machine."""

    mode: Literal["bundle", "git"] = Field(
        "bundle", description="bundle: the working tree as it is here; git: the commit, which must be pushed."
    )
    include: tuple[str, ...] = Field(
        default_factory=lambda: ("src", conf_source(), "pyproject.toml", ".kedro.yml", "README.md"),
        description="What a bundle holds.",
    )
    exclude: tuple[str, ...] = Field(
        default_factory=lambda: (
            f"{conf_source()}/local/**", f"{conf_source()}/**/*credentials*", "**/*credentials*.y*ml",
            "**/*credentials*.json", "**/.env*", "**/*.pem", "**/*.key", "**/__pycache__/**", "**/*.pyc",
            "**/*.egg-info/**",
        ),
        description="What a bundle never holds.",
    )  # fmt: skip
    check_packages: bool = Field(True, description="Refuse to run if a direct dependency has another version.")


class TrialSettings(_Settings):
    """Where commands run that are jobs of their own, such as the workers of a search."""

    tier: str | None = Field(None, description="Tier of the commands; empty for that of the tag gpu.")
    task: str = Field("tuning", description="Task whose Studio they start from.")
    minutes: float = Field(60.0, gt=0, le=7 * 24 * 60, description="Expected duration of a command.")
    gpu_gigabytes: float = Field(0.0, ge=0, le=10_000, description="Memory a command needs on the accelerator.")


_SECRET_NAME = re.compile(
    r"(?:^|_)(?:(?:API|ACCESS|PRIVATE)?KEY|TOKEN|SECRET|PAT)$|SECRET_ACCESS|PASSW(?:OR)?D|PASSPHRASE", re.IGNORECASE
)


def _refuse_secrets(setting: str, names: Iterable[str], secrets: Sequence[str]) -> None:
    """Refuses variables whose values the platform would keep and show, where they are declared or named as secrets."""
    if secret := sorted(name for name in names if name in secrets or _SECRET_NAME.search(name)):
        raise ValueError(f"{setting}: {secret[0]} is a secret; it belongs in the platform's store (secrets)")


class DeploymentSettings(_Settings):
    """A service that answers at an address, on machines that come and go with its load."""

    task: str = Field(description="Task whose Studio it starts from, with the code and the files in it.")
    command: str = Field(min_length=1, description="What starts the service, in the Studio's home.")
    machine: str = Field("CPU", description="Machine of a replica, in the platform's names.")
    interruptible: bool = Field(False, description="Rent interruptible replicas; cheaper.")
    port: int = Field(8000, ge=1, le=65535, description="Port that the service listens on.")
    min_replicas: int = Field(
        1, ge=0, le=100, description="Minimum number of replicas; 0 stops all while there are no requests."
    )
    max_replicas: int = Field(1, ge=1, le=100, description="Maximum number of replicas.")
    metric: Literal["CPU", "GPU", "RPM"] = Field("CPU", description="Load by which replicas are added; RPM: requests.")
    target: float = Field(70.0, gt=0, le=100, description="Load of a replica above which another is added.")
    scale_up_seconds: int = Field(30, ge=0, le=86_400, description="Shortest time between adding two replicas.")
    scale_down_seconds: int = Field(300, ge=0, le=86_400, description="Shortest time between removing two replicas.")
    idle_seconds: int = Field(
        900, ge=60, le=86_400, description="With min_replicas 0: time without a request until all stop."
    )
    health_path: str = Field("/health", pattern="^/", description="Answers 200 when a replica may get requests.")
    health_seconds: int = Field(10, ge=1, le=3600, description="Time between two checks, and longest wait for one.")
    health_failures: int = Field(30, ge=1, le=10_000, description="Health checks in a row that may fail.")
    max_surge: int = Field(1, ge=0, le=100, description="Extra replicas while a release takes over.")
    max_unavailable: int = Field(0, ge=0, le=100, description="Replicas that may be missing meanwhile.")
    variables: dict[VariableName, str] = Field(default_factory=dict, description="Variables; never a secret.")
    secrets: tuple[VariableName, ...] = Field((), description="Names of secrets that replicas get as variables.")
    custom_domain: str | None = Field(None, description="Domain of its address, if one is set up.")
    most_usd_per_hour: float | None = Field(
        None, ge=0, le=100_000, description="What all replicas together may cost; if null, nothing is rented."
    )

    @model_validator(mode="after")
    def _consistent(self) -> DeploymentSettings:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas})")
        if self.max_surge == self.max_unavailable == 0:
            raise ValueError("max_surge and max_unavailable are both 0, so that no release could ever take over")
        _refuse_secrets("variables", self.variables, self.secrets)
        return self


class ComputeConfig(_Settings):
    """The content of ``compute.yml``."""

    teamspace: str | None = Field(None, description="owner/teamspace; empty for LIGHTNING_TEAMSPACE.")
    tags: dict[str, str] = Field(default_factory=dict, description="Tag of a node -> the tier it runs on.")
    group_prefix: str = Field("group-", min_length=1, description="Nodes with one tag of this kind share a machine.")
    tiers: dict[str, Tier] = Field(default_factory=dict, description="Kinds of machines by name.")
    budget: Budget = Budget()
    studios: dict[str, StudioSettings] = Field(default_factory=dict, description="Task -> its Studio.")
    environments: dict[str, Environment] = Field(default_factory=lambda: {"default": Environment()})
    pass_on: tuple[VariableName, ...] = Field(
        (), description="Variables that jobs get as they are here, by name; never a secret."
    )
    secrets: tuple[VariableName, ...] = Field((), description="Names the platform's own store must hold; never values.")
    data: DataPlace = DataPlace()
    code: CodeSettings = Field(default_factory=CodeSettings)
    trials: TrialSettings = TrialSettings()
    deployments: dict[DeploymentName, DeploymentSettings] = Field(
        default_factory=dict, description="Services by their name on the platform."
    )
    nodes: dict[str, NodeHint] = Field(default_factory=dict, description="What is known of single nodes.")
    estimates: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="The project's function that says how long a node takes on a machine, as module:function.",
    )
    max_jobs: int = Field(8, ge=1, le=500, description="Jobs at one time.")
    max_interruptions: int = Field(3, ge=0, le=20, description="How often a job is started again on a new machine.")
    pending_minutes: int = Field(120, ge=1, le=24 * 60, description="How long a job may wait for a machine.")
    ledger: str = Field("data/08_reporting/compute/ledger.csv", description="Where the cost of each job is kept.")
    page: str = Field("data/08_reporting/compute/cost.html", description="Where the page of costs is written.")

    @model_validator(mode="after")
    def _consistent(self) -> ComputeConfig:
        named: list[tuple[str, str, str | None, Mapping[str, Any]]] = [
            *((f"tags.{tag}", "tier", tier, self.tiers) for tag, tier in self.tags.items()),
            *((f"nodes.{node}.tier", "tier", hint.tier, self.tiers) for node, hint in self.nodes.items()),
            ("trials.tier", "tier", self.trials.tier, self.tiers),
            *((f"deployments.{name}.task", "task", each.task, self.studios) for name, each in self.deployments.items()),
            *(
                (f"studios.{task}.environment", "environment", studio.environment, self.environments)
                for task, studio in self.studios.items()
            ),
        ]
        for setting, kind, wanted, there in named:
            if wanted is not None and wanted not in there:
                raise ValueError(f"{setting}: there is no {kind} {wanted!r}. Known: {', '.join(there) or 'none'}")
        names = [studio.name for studio in self.studios.values()]
        for task, studio in self.studios.items():
            if names.count(studio.name) > 1:
                raise ValueError(f"studios.{task}.name: {studio.name!r} is the Studio of two tasks; each has its own")
        _refuse_secrets("pass_on", self.pass_on, self.secrets)
        for name, environment in self.environments.items():
            _refuse_secrets(f"environments.{name}.variables", environment.variables, self.secrets)
        return self

    def studio_of(self, task: str) -> StudioSettings:
        """Returns the Studio of a task.

        Raises:
            SettingsError: There is no such task.
        """
        if task not in self.studios:
            known = ", ".join(self.studios) or "none"
            raise SettingsError(f"compute: studios: there is no task {task!r}. Known: {known}.")
        return self.studios[task]

    def variables_of(self, task: str) -> dict[str, str]:
        """Returns the variables of the jobs of a task: those declared, and those passed on from here."""
        declared = self.environments[self.studios[task].environment].variables
        return {**declared, **{name: os.environ[name] for name in self.pass_on if os.environ.get(name)}}

    def task_of(self, node: str) -> str | None:
        """Returns the task whose Studio a node's job starts from; the most exact pattern wins."""
        matches = [
            (len(pattern.replace("*", "")), -position, task)
            for position, (task, studio) in enumerate(self.studios.items())
            for pattern in studio.nodes
            if fnmatchcase(node, pattern)
        ]
        return max(matches)[2] if matches else None

    def hint_of(self, node: str) -> NodeHint:
        """Returns what the file says of a node, or the defaults."""
        return self.nodes.get(node, NodeHint())


def load_config(loader: AbstractConfigLoader, *, in_job: bool = False) -> ComputeConfig:
    """Reads the settings of an environment; single values of ``base`` may be changed without repeating the rest.

    Args:
        loader: The configuration of a project.
        in_job: Whether a rented machine reads them. Its folders are mounted by then, and the variables that named
            them to the driver need not be set.

    Raises:
        SettingsError: A value is unknown or not allowed; every one is named.
    """
    from kedro.config import MissingConfigException

    # Another loader than Kedro's may have neither.
    getattr(loader, "config_patterns", {}).setdefault(KIND, list(_FILES))
    getattr(loader, "merge_strategy", {}).setdefault(KIND, "soft")
    try:
        content: dict[str, Any] = loader[KIND]
    except (MissingConfigException, KeyError):
        return ComputeConfig()
    if in_job and isinstance(content.get("data"), dict):
        content = {**content, "data": {name: value for name, value in content["data"].items() if name != "mounts"}}
    return parse_config(content, _places(loader))


def local_secrets(project: Path, env: str | None = None) -> dict[str, str]:
    """Returns the values under ``compute`` in the project's credentials, which are never committed or sent."""
    from kedro.config import MissingConfigException

    found: dict[str, str] = {}
    for each in (env, None):
        try:
            entries = config_loader(project, each)["credentials"].get(KIND, {})
        except MissingConfigException:
            continue
        found = {**{str(name): str(value) for name, value in dict(entries).items()}, **found}
    return found


def config_loader(project: Path, env: str | None) -> Any:
    """Returns the loader of the project in a folder."""
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    return settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=env, **settings.CONFIG_LOADER_ARGS
    )


def parse_config(content: dict[str, Any], place: str = "compute.yml") -> ComputeConfig:
    """Checks the content of the file.

    Raises:
        SettingsError: Names each setting, its value and what is allowed.
    """
    try:
        return ComputeConfig.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(detail, place) for detail in error.errors(include_url=False))) from None


def _explain(detail: Any, place: str) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if detail["type"] == "extra_forbidden":
        return f"compute: {path}: there is no such setting ({place})."
    if detail["type"] == "value_error":
        return f"compute: {path + ': ' if path else ''}{message} ({place})."
    # Of what is missing, the input is all that stands around it.
    found = "" if detail["type"] == "missing" else f" {detail['input']!r}:"
    return f"compute: {path}:{found} {message[:1].lower()}{message[1:]} ({place})."


def _places(loader: Any) -> str:
    source = Path(str(getattr(loader, "conf_source", "conf")))
    base, env = getattr(loader, "base_env", None), getattr(loader, "env", None)
    files = [source / name / file for name in (env, base) if name for file in _FILES]
    return ", ".join(f"{file.parent.parent.name}/{file.parent.name}/{file.name}" for file in files if file.is_file())
