"""The summary of a run: ``run_summary.json``, the page of the whole study, and the last lines in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from kedro_non_thinking import report_rows
from spelling_transfer import __version__
from spelling_transfer.evaluation.comparison import core_rows, main_rows
from spelling_transfer.pages.evaluation import comparison_cards, comparison_table, control_table
from spelling_transfer.pages.findings import (
    QUESTION,
    VERDICTS,
    describe_comparison,
    describe_data,
    describe_endpoint,
    describe_training,
    is_score,
    told_rows,
)
from spelling_transfer.pages.numbers import count_of, duration, in_points, level, percent
from spelling_transfer.pages.page import PAGES, Card, Link, Section, render_page
from spelling_transfer.pages.run_results import RESULTS, Results, RunRecord, failed_checks
from spelling_transfer.pages.tables import Table
from spelling_transfer.pages.verdict import NO_VERDICT, answer_sentence

FORMAT = 1
"""Format of ``run_summary.json``."""
MAX_LINES = 10
"""Lines in the terminal at most."""
ANSWER = "transfer"
"""Label of the line that answers the question of the study."""
_FIGURE_ORDER = ("evaluation", "tuning", "token", "deployment")


def render_summary_page(record: RunRecord, results: Results, *, error: str | None = None) -> str:
    """Returns the page as HTML.

    Args:
        record: The course of the run.
        results: Everything the catalog holds, of this run or an earlier one.
        error: Why the run stopped early, where it did.
    """
    lead, *rest = _sentences(results, error)
    sections = [
        Section(text=rest[:1], cards=_cards(record, results)),
        Section("Summary", text=rest[1:]),
        *_figures(results),
        *_evaluation(results),
        *_endpoint(results),
        *_policy(results),
        *_pages(results),
        *_run(record, results),
    ]
    subtitle = f"{results.model_name}, run {record.run_id}"
    others = [
        Link(name, next((path for path in results.pages.values() if path == place), ""))
        for name, place in PAGES.items()
    ]
    return render_page(
        "Does spelling carry over?",
        sections,
        subtitle=subtitle,
        lead=lead,
        pages=[link for link in others if link.href or link.label == "Run"],
        repeat=record.command,
    )


def _sentences(results: Results, error: str | None) -> list[str]:
    """Returns the answer, what was done, and what else there is to say of a run."""
    text: list[str] = []
    if results.comparison is None:
        text = [
            "No answer yet: it comes with 'kedro run', or with 'kedro run --pipelines=tuning,evaluation'.",
            QUESTION,
        ]
    else:
        text = _findings(results)
        if age := results.age("comparison"):
            text[0] += age.replace(" This", " This comparison", 1)
        text.insert(2 if results.verdict is not None else 1, QUESTION)
    if error is not None:
        text.insert(1, f"The run stopped early: {error} What is shown was completed in this run or an earlier one.")
    text += [f"{name} could not be read and is left out: {why}" for name, why in results.unreadable.items()]
    if results.prepared is not None:
        text.append(f"Prepared: {describe_data(results.prepared)}.{results.age('prep_manifest')}")
    if results.best_config is not None:
        trained = describe_training(results.model_name, results.trials, results.best_config)
        text.append(f"Trained: {trained}.{results.age('best_config')}")
    if results.conformance is not None:
        text.append(f"The endpoint {describe_endpoint(results.conformance)}.{results.age('conformance')}")
    return text


def _findings(results: Results) -> list[str]:
    if results.comparison is None:
        return []
    # Where a run stopped between the two, kinds of questions are those of an earlier verdict.
    is_outdated = "arm_effects" in results.old and "verdict" not in results.old
    return describe_comparison(
        results.comparison,
        results.control_comparison,
        results.verdict,
        confidence=results.confidence,
        floors=results.floors,
        effects=None if is_outdated else results.arm_effects,
    )


def _cards(record: RunRecord, results: Results) -> list[Card]:
    cards = [] if results.comparison is None else comparison_cards(results.comparison, results.floors)
    if results.conformance is not None:
        n_checks, n_failed = len(results.conformance["checks"]), len(failed_checks(results.conformance))
        note = f"{n_checks - n_failed} of {n_checks} checks passed"
        cards.append(Card("endpoint", "failed" if n_failed else "passed", note, "bad" if n_failed else "good"))
    nodes = len(record.seconds_by_node)
    return [
        *cards,
        Card(
            "time of this run",
            duration(record.seconds),
            f"{count_of(nodes, 'node')} on this machine",
            floor="rented machines: kedro compute cost",
        ),
    ]


def _figures(results: Results) -> Iterator[Section]:
    def place(name: str) -> int:
        return next((i for i, start in enumerate(_FIGURE_ORDER) if name.startswith(start)), len(_FIGURE_ORDER))

    for figure in sorted(results.figures, key=lambda each: place(each.name)):
        caption = figure.caption.replace("{level}", level(results.confidence)) + results.age(figure.name)
        yield Section(figure.heading, figure=figure.figure, caption=caption, alt=figure.heading)


def _evaluation(results: Results) -> Iterator[Section]:
    if results.comparison is not None:
        yield Section("From base to spelling arm", table=comparison_table(results.comparison))
    control = results.control_comparison
    if control is not None and len(control):
        yield Section("Adjusted for the form control", table=control_table(control))


def _endpoint(results: Results) -> Iterator[Section]:
    if results.conformance is None:
        return
    checks = pd.DataFrame(results.conformance["checks"])[["id", "requirement", "passed"]]
    yield Section(
        "Does the endpoint keep non-thinking mode?",
        table=Table(
            checks.sort_values("passed", kind="stable"),
            caption="Details of each check are on the page of the deployment check.",
            labels={"id": "check"},
        ),
    )


def _policy(results: Results) -> Iterator[Section]:
    report = results.policy_report
    if report is None:
        return
    checked = "; ".join(f"{kind}: {len(names)}" for kind, names in report["checked"].items())
    exempted = sum(entry["count"] for entry in report["exemptions_used"])
    yield Section(
        "Was non-thinking mode kept?",
        text=f"{'Yes' if report['kept'] else 'No'}: {count_of(len(report['found']), 'violation')} in this run, "
        f"{count_of(exempted, 'passage')} exempted by name. What was checked, by kind: {checked}.",
        table=Table(
            pd.DataFrame(report_rows(report)),
            caption="The rules of conf/base/policy.yml, checked during the run.",
        ),
    )


def _pages(results: Results) -> Iterator[Section]:
    links = [
        Link(name.removesuffix("_page").replace("_", " ").capitalize(), path, results.age(name).strip())
        for name, path in results.pages.items()
    ]
    if links:
        yield Section("More pages", links=links)


def _run(record: RunRecord, results: Results) -> Iterator[Section]:
    rows = _node_rows(record)
    yield Section(
        "This run",
        text=[
            f"Began {record.started_at:%Y-%m-%d %H:%M} UTC and took {duration(record.seconds)}. "
            f"Pipelines: {', '.join(record.pipelines) or 'all'}. Environment: {record.env or 'base'}.",
            f"Hash of the parameters: {results.parameters_sha256}.",
        ],
        table=Table(
            pd.DataFrame(rows),
            caption="Seconds per node, including loading and saving, with the total of each pipeline.",
            formats={"seconds": ".2f"},
        )
        if rows
        else None,
    )


def _node_rows(record: RunRecord) -> list[dict[str, Any]]:
    by_pipeline: dict[str, dict[str, float]] = {}
    for name, spent in record.seconds_by_node.items():
        pipeline, _, node = name.partition(".")
        by_pipeline.setdefault(pipeline, {})[node or name] = spent
    rows: list[dict[str, Any]] = []
    for pipeline, of_pipeline in by_pipeline.items():
        rows.append({"pipeline": pipeline, "node": "all of it", "seconds": sum(of_pipeline.values())})
        rows += [{"pipeline": pipeline, "node": node, "seconds": spent} for node, spent in of_pipeline.items()]
    return rows


def summary_document(record: RunRecord, results: Results, *, error: str | None = None) -> dict[str, Any]:
    """Returns ``run_summary.json``: everything a script needs to know of a run, times in fields of their own.

    Scores are those of whole tasks on real words of held-out families. ``from_this_run`` says of each part whether this
    run made it.

    Args:
        record: The course of the run.
        results: What the catalog holds.
        error: Why the run stopped early, where it did.
    """
    scores, comparison, control = results.scores, results.comparison, results.control_comparison
    return {
        "format": FORMAT,
        "run_id": record.run_id,
        "status": "finished" if error is None else "failed",
        "error": error,
        "version": __version__,
        "env": record.env,
        "pipelines": record.pipelines,
        "parameters_sha256": results.parameters_sha256,
        "model": results.model_name,
        "prepared": results.prepared,
        "trained": _trained(results),
        "scores": [] if scores is None else _rows(scores[scores["group"] == "all"]),
        "comparison": [] if comparison is None else _rows(_claims(comparison)),
        "control_comparison": [] if control is None else _rows(_claims(control)),
        "findings": _findings(results),
        "verdict": results.verdict,
        "endpoint": _endpoint_document(results.conformance),
        "pages": results.pages,
        "old": dict(results.old),
        "unreadable": dict(results.unreadable),
        "from_this_run": {name: name in results.made for name in RESULTS if getattr(results, name) is not None},
        "started_at": record.started_at.isoformat(timespec="seconds"),
        "seconds": round(record.seconds, 3),
        "seconds_by_node": {name: round(seconds, 3) for name, seconds in record.seconds_by_node.items()},
    }


def _claims(comparison: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(
        [main_rows(comparison), comparison[comparison["measure"].isin(["transfer_score", "transfer_ratio"])]]
    )


def _trained(results: Results) -> dict[str, Any] | None:
    if results.best_config is None:
        return None
    n_trials = None if results.trials is None else len(results.trials)
    return {"n_trials": n_trials, **results.best_config}


def _endpoint_document(conformance: dict[str, Any] | None) -> dict[str, Any] | None:
    if conformance is None:
        return None
    failed = failed_checks(conformance)
    return {"obeys": not failed, "n_checks": len(conformance["checks"]), "failed": failed}


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    # JSON has no NaN.
    return frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[return-value]


class Line(NamedTuple):
    """A label and what is said under it."""

    label: str
    text: str
    tone: str = ""


def summary_lines(results: Results) -> list[Line]:
    """Returns what a run made, in words; nothing for what it did not make.

    Args:
        results: The results, restricted to what is to be spoken of.
    """
    lines = []
    if results.prepared is not None:
        lines.append(Line("prepared", describe_data(results.prepared) + _old(results, "prep_manifest")))
    if results.best_config is not None:
        trained = describe_training(results.model_name, results.trials, results.best_config)
        lines.append(Line("trained", trained + _old(results, "best_config")))
    if results.comparison is not None:
        age = _old(results, "comparison")
        lines += [line._replace(text=line.text + age) for line in _compared(results.comparison, results.verdict)]
    if results.conformance is not None:
        said = describe_endpoint(results.conformance) + _old(results, "conformance")
        lines.append(Line("endpoint", said, "down" if failed_checks(results.conformance) else "up"))
    return lines


def _old(results: Results, name: str) -> str:
    return f" (old: {results.old[name]})" if name in results.old else ""


def _compared(comparison: pd.DataFrame, verdict: dict[str, Any] | None) -> list[Line]:
    rows, shown = main_rows(comparison), core_rows(comparison)
    lines = [
        Line(
            "score" if is_score(row) else str(row["task"]),
            f"{percent(row['reference_score'])} → {percent(row['arm_score'])}, {in_points(row)}: "
            + (f"transfer score, {row['value']} focus" if is_score(row) else VERDICTS[str(row["verdict"])]),
            str(row["verdict"]),
        )
        for row in told_rows(comparison)
    ]
    more = len(rows) - len(shown)
    others = f"; {count_of(more, 'more task')} {'is' if more == 1 else 'are'} on the page" if more else ""
    said = NO_VERDICT if verdict is None else answer_sentence(verdict)
    lines.append(Line(ANSWER, said.removesuffix(".") + others))
    return lines
