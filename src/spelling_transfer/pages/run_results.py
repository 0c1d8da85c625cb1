"""What there is to say about a run: its course, and what the catalog holds of its results or of an earlier run's."""

from __future__ import annotations

import hashlib
import json
import posixpath
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    import pandas as pd
    from kedro.io import AbstractDataset, DataCatalog
    from plotly.graph_objects import Figure

RESULTS = (
    "prep_manifest",
    "trials",
    "best_config",
    "scores",
    "comparison",
    "control_comparison",
    "verdict",
    "floors",
    "arm_effects",
    "conformance",
)
"""Datasets a summary speaks of, in the order in which a run makes them."""

_PAGE, _PLOT = "_page", "_plot"
SUMMARY_PAGE = "summary_page"
POLICY_REPORT = "policy_report"
_CHOOSING = ("tags", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "namespaces")
"""Parameters of a run that choose its nodes; single nodes, ``node_names``, are a part of another run."""
_ENVIRONMENT = "run_env"
"""The parameter that names the environment: pages show it, and nothing is computed from it."""


@dataclass
class RunRecord:
    """The course of a run: which nodes ran, and for how long.

    Attributes:
        run_id: Kedro's id of the run.
        command: What was typed, as far as it says what was run.
    """

    run_id: str
    pipelines: list[str]
    env: str | None
    command: str = "kedro run"
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    made: set[str] = field(default_factory=set)
    _begun: float = field(default_factory=time.perf_counter)
    _first: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def touch(self, node_name: str) -> None:
        """Notes that a node is at work: the first and the last note are the ends of its time."""
        now = time.perf_counter()
        self._first.setdefault(node_name, now)
        self._last[node_name] = now

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._begun

    @property
    def seconds_by_node(self) -> dict[str, float]:
        """Seconds of each node, loading and saving included, in the order in which they began."""
        return {name: self._last[name] - begun for name, begun in self._first.items()}


def command_of(run_params: Mapping[str, Any]) -> str:
    """Returns the command that began a run, from the parameters that Kedro gives its hooks; defaults are left out.

    Empty where a command line cannot say it: ``--params`` of Kedro has no way to write a list.
    """
    params = run_params.get("runtime_params") or {}
    settings = list(_settings(params))
    if _read_back(settings) != params:
        return ""
    options = {
        "pipelines": sorted(run_params.get("pipeline_names") or []),
        "env": None if run_params.get("env") in (None, "local") else [run_params["env"]],
        **{name.replace("_", "-"): run_params.get(name) for name in _CHOOSING},
        "params": settings,
    }
    given = [f"--{name}={','.join(map(str, values))}" for name, values in options.items() if values]
    flags = ["--only-missing-outputs"] if run_params.get("only_missing_outputs") else []
    return " ".join(["kedro run", *map(shlex.quote, given), *flags])


def _settings(values: Mapping[str, Any], group: str = "") -> Iterator[str]:
    """Yields ``group.name=value`` of each setting, as Kedro's ``--params`` takes them."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{group}{name}.")
        else:
            said = str(value)
            is_read = _read_back([f"value={said}"]) == {"value": value}
            yield f"{group}{name}={said if is_read else json.dumps(value, default=str)}"


def _read_back(settings: Sequence[str]) -> dict[Any, Any] | None:
    """Returns what Kedro makes of ``--params``; ``None`` where it would read other settings or none."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if any("," in setting or setting != setting.strip() for setting in settings):
        return None  # it separates settings by commas, and takes off what is blank around them
    try:
        return dict(OmegaConf.to_container(OmegaConf.from_dotlist(list(settings))))  # type: ignore[arg-type]
    except (OmegaConfBaseException, YAMLError):
        return None


@dataclass(frozen=True)
class SummaryFigure:
    """A figure whose catalog entry asks for a place on the summary page.

    It does so by ``metadata: {summary: {heading: …, caption: …}}``.
    """

    name: str
    heading: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Results:
    """What there is to sum up. A part that no run has made yet is ``None`` or empty.

    Attributes:
        made: Names of the datasets this run wrote; the others are from an earlier one.
        old: Why a dataset is not what a run would make now, by its name; those that are as they would be are not in it.
        unreadable: Why a dataset that is there could not be read, by its name.
        pages: Path of each page by its name, as seen from the folder of the summary page.
        policy_report: The evidence of the non-thinking policy, which its hook saves at the end of each run.
    """

    made: frozenset[str] = frozenset()
    old: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    prep_manifest: dict[str, Any] | None = None
    trials: pd.DataFrame | None = None
    best_config: dict[str, Any] | None = None
    scores: pd.DataFrame | None = None
    comparison: pd.DataFrame | None = None
    control_comparison: pd.DataFrame | None = None
    verdict: dict[str, Any] | None = None
    floors: pd.DataFrame | None = None
    arm_effects: pd.DataFrame | None = None
    conformance: dict[str, Any] | None = None
    figures: tuple[SummaryFigure, ...] = ()
    pages: dict[str, str] = field(default_factory=dict)
    policy_report: dict[str, Any] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters_sha256(self) -> str:
        """Hash of the parameters, the same for the same values in whatever order and environment."""
        values = {name: value for name, value in self.parameters.items() if name != _ENVIRONMENT}
        text = json.dumps(values, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def prepared(self) -> dict[str, int] | None:
        """How many words and examples were prepared."""
        if self.prep_manifest is None:
            return None
        counts = self.prep_manifest["counts"]
        return {"words": int(counts["words_kept"]), "examples": sum(counts["examples"].values())}

    @property
    def model_name(self) -> str:
        """Name of the base model's profile."""
        return str(self.parameters.get("model_profile", {}).get("name", "the model"))

    @property
    def confidence(self) -> float:
        """Confidence level of the evaluation's intervals, which may be of an earlier run than the parameters."""
        if self.verdict is not None:
            return float(self.verdict["confidence"])
        return float(self.parameters.get("evaluation", {}).get("confidence", 0.95))

    def only_made_now(self) -> Results:
        """Returns what this run made, without what is left of earlier ones."""
        kept: dict[str, Any] = {name: getattr(self, name) if name in self.made else None for name in RESULTS}
        pages = {name: path for name, path in self.pages.items() if name in self.made}
        return Results(made=self.made, old=self.old, pages=pages, parameters=self.parameters, **kept)

    def age(self, name: str) -> str:
        """Returns a sentence where a dataset is not of this run, or not what a run would make now; else nothing."""
        parts = [] if name in self.made else ["is from an earlier run"]
        if name in self.old:
            parts.append(f"is old ({self.old[name]})")
        return f" This {' and '.join(parts)}." if parts else ""


def collect_results(
    catalog: DataCatalog,
    made: frozenset[str],
    parameters: dict[str, Any] | None = None,
    old: Mapping[str, str] | None = None,
) -> Results:
    """Reads from the catalog what there is to sum up; what cannot be read is named in the result.

    Args:
        catalog: The catalog of the run.
        made: Names of the datasets this run wrote.
        parameters: All parameters as they were given; those of the catalog by default.
        old: Why datasets are not what a run would make now.
    """
    unreadable: dict[str, str] = {}

    def read(name: str) -> Any:
        try:
            dataset = existing(catalog, name)
            return None if dataset is None else dataset.load()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are to be summed up
            unreadable[name] = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
            return None

    found = {name: read(name) for name in (*RESULTS, POLICY_REPORT)}
    figures = tuple(_figures(catalog, read))
    if parameters is None:
        parameters = catalog["parameters"].load() if "parameters" in catalog else {}
    return Results(
        made=made,
        old=old or {},
        unreadable=unreadable,
        **found,
        figures=figures,
        pages=dict(_pages(catalog)),
        # Kedro turns validated parameter groups into the models of the nodes' hints.
        parameters=to_jsonable_python(parameters, fallback=str),
    )


def failed_checks(conformance: Mapping[str, Any]) -> list[str]:
    """Returns which checks of the endpoint failed."""
    return [str(check["id"]) for check in conformance["checks"] if not check["passed"]]


def existing(catalog: DataCatalog, name: str) -> AbstractDataset[Any, Any] | None:
    """Returns a dataset of the catalog whose data is there; ``None`` where the entry or its data is missing."""
    dataset = catalog.get(name)
    return dataset if dataset is not None and dataset.exists() else None


def location(dataset: AbstractDataset[Any, Any]) -> str:
    """Returns where a dataset is kept, as its catalog entry resolves it; empty for one that is kept nowhere."""
    described = dataset._describe()  # Kedro's way to ask a dataset about itself
    path = str(described.get("filepath") or "")
    protocol = described.get("protocol")
    return f"{protocol}://{path}" if path and protocol not in (None, "file") else path


def _figures(catalog: DataCatalog, read: Callable[[str], Any]) -> Iterator[SummaryFigure]:
    for name in _names(catalog, _PLOT):
        wish = (getattr(catalog.get(name), "metadata", None) or {}).get("summary")
        if wish and (figure := read(name)) is not None:
            yield SummaryFigure(name, str(wish.get("heading", name)), str(wish.get("caption", "")), figure)


def _pages(catalog: DataCatalog) -> Iterator[tuple[str, str]]:
    if SUMMARY_PAGE not in catalog:
        return
    folder = posixpath.dirname(location(catalog[SUMMARY_PAGE]))
    for name in _names(catalog, _PAGE):
        dataset = existing(catalog, name)
        if dataset is not None and name != SUMMARY_PAGE and (path := location(dataset)):
            yield name, posixpath.relpath(path, folder)


def _names(catalog: DataCatalog, end: str) -> list[str]:
    return sorted(name for name in catalog if name.endswith(end))
