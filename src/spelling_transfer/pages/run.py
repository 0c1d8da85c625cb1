"""The summary page: the whole study on one page, with the way to the others."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kedro_non_thinking import report_rows
from spelling_transfer.pages.evaluation import comparison_cards, comparison_table, control_table
from spelling_transfer.pages.findings import describe_comparison
from spelling_transfer.pages.page import Card, Link, Section, Table, render_page
from spelling_transfer.pages.run_lines import describe_data, describe_endpoint, describe_training
from spelling_transfer.pages.run_record import RunRecord
from spelling_transfer.pages.run_results import Results

QUESTION = (
    "Language models read tokens, not letters. This study trains a model on spelling and measures whether that "
    "transfers to where letters stand and how many there are."
)
_FIGURE_ORDER = ("evaluation", "tuning", "token", "deployment")


def render_summary_page(record: RunRecord, results: Results, *, error: str | None = None) -> str:
    """Returns the page as HTML.

    Args:
        record: The course of the run.
        results: Everything the catalog holds, of this run or an earlier one.
        error: Why the run stopped early, where it did.
    """
    sections = [
        *_opening(results, error),
        *_figures(results),
        *_evaluation(results),
        *_endpoint(results),
        *_policy(results),
        *_pages(results),
        *_run(record, results),
    ]
    subtitle = f"{results.model_name}, run {record.run_id}"
    return render_page("Spelling transfer", sections, subtitle=subtitle)


def _opening(results: Results, error: str | None) -> Iterator[Section]:
    opening = [QUESTION]
    if error is not None:
        opening.append(f"The run stopped early: {error} What is shown was finished in it or in an earlier run.")
    text: list[str] = []
    if results.prepared is not None:
        text.append(f"Prepared: {describe_data(results.prepared)}.{_age(results, 'prep_manifest')}")
    if results.best_config is not None:
        text.append(f"Trained: {describe_training(results)}.{_age(results, 'best_config')}")
    cards: list[Card] = []
    if results.comparison is not None:
        text += describe_comparison(results.comparison, results.control_comparison, confidence=results.confidence)
        cards = comparison_cards(results.comparison)
        if age := _age(results, "comparison"):
            text.append(f"These scores are{age.removeprefix(' This is').removesuffix('.')}.")
    if results.conformance is not None:
        obeys = all(check["passed"] for check in results.conformance["checks"])
        n_checks = len(results.conformance["checks"])
        n_passed = sum(bool(check["passed"]) for check in results.conformance["checks"])
        text.append(f"The endpoint {describe_endpoint(results.conformance)}.{_age(results, 'conformance')}")
        note = f"{n_passed} of {n_checks} checks passed"
        cards.append(Card("endpoint", "obeys" if obeys else "disobeys", note, "good" if obeys else "bad"))
    if results.comparison is None:
        text.append("No scores yet: they come with 'kedro run', or with 'kedro run --pipelines=tuning,evaluation'.")
    yield Section("Summary", text=opening, cards=cards)
    yield Section(text=text)


def _age(results: Results, name: str) -> str:
    return "" if name in results.made else " This is from an earlier run."


def _figures(results: Results) -> Iterator[Section]:
    def place(name: str) -> int:
        return next((i for i, start in enumerate(_FIGURE_ORDER) if name.startswith(start)), len(_FIGURE_ORDER))

    for figure in sorted(results.figures, key=lambda each: place(each.name)):
        caption = figure.caption + _age(results, figure.name)
        yield Section(figure.heading, figure=figure.figure, caption=caption, alt=figure.heading)


def _evaluation(results: Results) -> Iterator[Section]:
    if results.comparison is not None:
        yield Section("Comparison in numbers", table=comparison_table(results.comparison))
    control = results.control_comparison
    if control is not None and len(control):
        yield Section("Adjusted for the control arm", table=control_table(control))


def _endpoint(results: Results) -> Iterator[Section]:
    if results.conformance is None:
        return
    checks = pd.DataFrame(results.conformance["checks"])[["id", "requirement", "passed"]]
    yield Section(
        "Does the endpoint obey?",
        table=Table(
            checks.sort_values("passed", kind="stable"),
            caption="Each check with what was seen is on the page of the deployment check.",
            labels={"id": "check"},
        ),
    )


def _policy(results: Results) -> Iterator[Section]:
    report = results.policy_report
    if report is None:
        return
    checked = ", ".join(f"{len(names)} {kind}" for kind, names in report["checked"].items())
    exempted = sum(entry["count"] for entry in report["exemptions_used"])
    yield Section(
        "Was non-thinking mode kept?",
        text=f"{'Yes' if report['kept'] else 'No'}: {len(report['found'])} violations in this run, {exempted} passages "
        f"exempted by name. Looked at: {checked}.",
        table=Table(
            pd.DataFrame(report_rows(report)),
            caption="The rules of conf/base/policy.yml, checked while the run went on.",
        ),
    )


def _pages(results: Results) -> Iterator[Section]:
    links = [
        Link(name.removesuffix("_page").replace("_", " ").capitalize(), path, _age(results, name).strip())
        for name, path in results.pages.items()
    ]
    if links:
        yield Section("More pages", links=links)


def _run(record: RunRecord, results: Results) -> Iterator[Section]:
    seconds = record.seconds_by_node
    yield Section(
        "This run",
        text=[
            f"Began {record.started_at:%Y-%m-%d %H:%M} UTC and took {record.seconds:.0f} seconds. "
            f"Pipelines: {', '.join(record.pipelines) or 'all'}. Environment: {record.env or 'base'}.",
            f"Hash of the parameters: {results.parameters_sha256}.",
        ],
        table=Table(
            pd.DataFrame({"node": list(seconds), "seconds": list(seconds.values())}),
            caption="Seconds of each node, loading and saving included.",
            formats={"seconds": ".2f"},
        )
        if seconds
        else None,
    )
