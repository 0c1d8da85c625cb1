"""The page of a deployment check: does the endpoint obey, how fast is it, what did it answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from spelling_transfer.pages.numbers import count_of, number
from spelling_transfer.pages.page import Card, Section, command_to_repeat, links_from, render_page
from spelling_transfer.pages.style import COLOURS, new_figure, style_figure
from spelling_transfer.pages.tables import Table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_GROUPS = {
    "refuses": "What must be refused",
    "accepts": "What must be accepted",
    "withstands": "What must be refused or stay text",
    "answers": "Answers",
    "sampling": "Sampling",
    "filter": "What answers may hold",
    "mask": "What answers may not hold, whatever the model wants",
    "model": "The same model as in the evaluation",
    "key": "Who may send requests",
    "faults": "Clients that misbehave",
    "settings": "What the endpoint says of itself",
    "stops": "Shutdown",
    "vllm": "The same checks with vLLM",
    "slots": "The same checks with our own engine",
}


def plot_load(load_profile: pd.DataFrame) -> Figure:
    """Draws latency percentiles against the number of clients at once."""
    figure = new_figure()
    several = load_profile["engine"].nunique() > 1
    names = [
        f"{n} at once" + (f", {engine}" if several else "")
        for n, engine in zip(load_profile["n_clients"], load_profile["engine"], strict=True)
    ]
    for place, percentile in enumerate((50, 95, 99)):
        figure.add_bar(
            name=f"{percentile}th percentile" if percentile != 50 else "median",
            x=names,
            y=load_profile[f"latency_p{percentile}_ms"],
            marker_color=COLOURS[place],
            hovertemplate="%{y:.0f} ms",
        )
    figure.update_yaxes(title="latency of an answer, ms", rangemode="tozero")
    figure.update_xaxes(title="clients", showgrid=False)
    return style_figure(figure, height_pixels=360)


def render_deployment_page(
    conformance: Mapping[str, Any],
    merge_probe: Mapping[str, Any],
    load_profile: pd.DataFrame,
    load_plot: Figure,
    *,
    env: str = "",
) -> str:
    """Returns the page as HTML.

    Args:
        conformance: What the endpoint was checked for.
        merge_probe: What the merged model did when asked without a mask.
        load_profile: How fast the endpoint was.
        load_plot: The same as a figure.
        env: The environment of the run; empty for the default.
    """
    checks = pd.DataFrame(conformance["checks"])
    checks["group"] = checks["id"].str.partition("/")[0]
    sections = [
        Section(cards=_cards(conformance, load_profile)),
        *_failures(checks),
        *_engines(conformance, checks, load_profile),
        Section(
            "Speed",
            figure=load_plot,
            caption="Time from sending a question to the last byte of its answer, over the loopback interface.",
            table=_load_table(load_profile),
        ),
        *[
            Section(heading, table=_check_table(checks[checks["group"] == group]))
            for group, heading in _GROUPS.items()
            if (checks["group"] == group).any()
        ],
        _merge_section(merge_probe),
        Section(
            "What it answered",
            text="Sampled with the policy's values, so an answer may be wrong where the greedy one is right; "
            "the scores are on the evaluation's page.",
            table=Table(
                pd.DataFrame(conformance["answers"]).drop(columns="token_ids"),
                labels={"answer": "right answer", "output": "it said", "exact": "right"},
            ),
        ),
    ]
    subtitle = f"{conformance['model']}, {conformance['fingerprint']}, non-thinking mode only"
    return render_page(
        "Is non-thinking mode kept?",
        sections,
        subtitle=subtitle,
        lead=_verdict(conformance),
        pages=links_from("Deployment"),
        repeat=command_to_repeat("deployment_check", env),
    )


def _verdict(conformance: Mapping[str, Any]) -> str:
    n_checks, n_failed = conformance["n_checks"], conformance["n_failed"]
    if conformance["obeys"]:
        return f"Yes. The endpoint passed all {n_checks} checks: no attempt made it think."
    return f"No. {n_failed} of {n_checks} checks failed; this deployable must not be served."


def _cards(conformance: Mapping[str, Any], load_profile: pd.DataFrame) -> list[Card]:
    load_profile = load_profile[load_profile["engine"] == conformance["settings"]["engine"]]  # the one that serves
    single = load_profile.sort_values("n_clients").iloc[0]
    best = load_profile.sort_values("answers_per_second").iloc[-1]
    few, most = (f"{count_of(int(row['n_clients']), 'client')} at once" for row in (single, best))
    return [
        Card(
            "checks passed",
            f"{conformance['n_checks'] - conformance['n_failed']} of {conformance['n_checks']}",
            tone="good" if conformance["obeys"] else "bad",
        ),
        Card(
            "median latency",
            f"{single['latency_p50_ms']:.0f} ms",
            f"99th percentile {single['latency_p99_ms']:.0f} ms, {few}",
        ),
        Card("answers a second", f"{best['answers_per_second']:.1f}", most),
        Card("memory", f"{load_profile['memory_mib'].max():,.0f} MiB", "all processes of the endpoint"),
    ]


def _engines(conformance: Mapping[str, Any], checks: pd.DataFrame, load_profile: pd.DataFrame) -> Iterator[Section]:
    """Yields the comparison of engines, where several were checked."""
    others = conformance.get("other_engines") or {}
    if not others:
        return
    latency = f"median latency, {count_of(int(load_profile['n_clients'].min()), 'client')}, ms"
    rows = []
    for engine, found in {conformance["settings"]["engine"]: conformance, **others}.items():
        mine = checks[(checks["group"] == engine) if engine in others else ~checks["group"].isin(list(others))]
        load = load_profile[load_profile["engine"] == engine].sort_values("n_clients")
        right = pd.DataFrame(found["answers"])["exact"]
        rows.append(
            {
                "engine": engine + (f" {found['versions']['vllm']}" if engine == "vllm" else ""),
                "checks passed": f"{int(mine['passed'].sum())} of {len(mine)}",
                "right answers": f"{int(right.sum())} of {len(right)}",
                latency: load["latency_p50_ms"].iloc[0],
                "answers/s, most": load["answers_per_second"].max(),
                "tokens/s, most": load["tokens_per_second"].max(),
                "MiB": load["memory_mib"].max(),
            }
        )
    yield Section(
        "Engines",
        text="The same deployable, checks and load with each engine. Each has its own random numbers, so single "
        "answers differ; 'kedro serve --engine' chooses among those that passed.",
        table=Table(
            pd.DataFrame(rows),
            formats={
                latency: ".0f",
                "answers/s, most": ",.1f",
                "tokens/s, most": ",.1f",
                "MiB": ",.0f",
            },
        ),
    )


def _merge_section(merge_probe: Mapping[str, Any]) -> Section:
    asked = [result for result in merge_probe["results"] if result["outcome"] != "not applicable"]
    return Section(
        "The merged model by itself",
        text="Before the export, the model was prompted to think, without the endpoint's mask on think tokens. "
        "Refused: texts that it has no tokens for, or that exceed its context.",
        table=Table(
            pd.DataFrame(asked, columns=["name", "outcome", "passed", "answer"]),
            labels={"name": "attempt", "answer": "it said"},
        ),
    )


def _load_table(load_profile: pd.DataFrame) -> Table:
    milliseconds = {name: ".0f" for name in load_profile.columns if name.endswith("_ms")}
    rates = dict.fromkeys(("seconds", "answers_per_second", "tokens_per_second"), ",.1f")
    labels = {name: name.removeprefix("latency_").replace("_ms", ", ms") for name in milliseconds}
    labels |= {name: name.removeprefix("n_") for name in ("n_clients", "n_requests", "n_failed")}
    labels |= {"answers_per_second": "answers/s", "tokens_per_second": "tokens/s", "memory_mib": "MiB"}
    return Table(
        load_profile,
        formats={**milliseconds, **rates, "memory_mib": ",.0f"},
        labels=labels,
        caption="One row per number of concurrent clients; p50 to p99 and max are latencies.",
    )


def _failures(checks: pd.DataFrame) -> list[Section]:
    failed = checks[~checks["passed"]]
    return [Section("What failed", table=_check_table(failed))] if len(failed) else []


def _check_table(checks: pd.DataFrame) -> Table:
    frame = checks.assign(seen=checks["evidence"].map(_seen))
    return Table(frame[["id", "requirement", "passed", "seen"]], labels={"id": "check"})


def _seen(evidence: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in evidence.items() if value not in (None, [], {}, "")}
    return "; ".join(f"{name.replace('_', ' ')}: {_short(value)}" for name, value in shown.items())


def _short(value: Any) -> Any:
    """Returns a value of the evidence with three digits of each number that is measured."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_short(each)}" for name, each in value.items())
    return number(value, ".3g") if isinstance(value, float) else value
