"""The page of a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd
import yaml

from spelling_transfer.pages.findings import (
    RANKED_BY,
    describe_best,
    describe_confirmation,
    describe_control,
    describe_correlations,
    describe_ratios,
    describe_search,
)
from spelling_transfer.pages.numbers import POINTS, count_of, duration, percent, points
from spelling_transfer.pages.page import Card, Section, command_to_repeat, download_links, links_from, render_page
from spelling_transfer.pages.study_figures import short_name
from spelling_transfer.pages.tables import Table
from spelling_transfer.statistics.importance import METHODS
from spelling_transfer.statistics.scores import SCORED_TASKS, transfer_score
from spelling_transfer.study.findings import StudyFindings

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_GAIN = ("gain", "low", "high")


def render_tuning_page(found: StudyFindings, figures: Mapping[str, Figure], *, env: str = "") -> str:
    """Returns the study's page: what was tried, what it scored, what carried over, what to take, what it cost.

    Args:
        found: Everything the study found.
        figures: ``curves``, ``transfer``, ``paths``, ``pareto``, ``importance``, ``parallel``, ``patterns``,
            ``history``.
        env: The environment of the run; empty for the default.
    """
    sections = [
        *_summary(found),
        *_transfer(found, figures),
        *_search(found, figures),
        *_tables(found, figures),
        *_setup(found),
    ]
    weights = found.study.weights
    most = transfer_score(1, 1, 1, weights)
    subtitle = (
        f"Focus {found.study.focus_name}: position counts {weights.position:g}, count {weights.count:g}; a transfer "
        f"score is {most:.0%} at most"
    )
    return render_page(
        f"Tuning: {found.study.name}",
        sections,
        subtitle=subtitle,
        lead=_lead(found),
        pages=links_from("Tuning"),
        repeat=command_to_repeat("tuning", env),
    )


def _lead(found: StudyFindings) -> str:
    seen = found.confirmation["tasks"]["spelling"]
    base = found.analysis["base"]["spelling"]
    n = count_of(len(found.confirmation["seeds"]), "new seed")
    return (
        f"Trial {found.best['trial']} was selected ({count_of(len(found.trials), 'trial')}, numbered from 0): trained "
        f"again with {n}, it spells {percent(seen)} of the validation words; the base spells {percent(base)}."
    )


def _summary(found: StudyFindings) -> Iterator[Section]:
    yield Section(text=describe_search(found), cards=_cards(found))
    yield Section("What was found", text=[describe_best(found), describe_confirmation(found), describe_control(found)])
    if found.best["warnings"]:
        yield Section("Caveats", text=found.best["warnings"])
    yield Section(
        "Recommended settings",
        text=f"What the search chose in trial {found.best['trial']}; all settings are under “Full configuration”, and "
        "as a file under “Download”.",
        code=yaml.safe_dump(found.best["choices"], sort_keys=False) if found.best["choices"] else "",
    )
    changes = found.best["next_study"]["study"]
    yield Section(
        "Next study",
        text=found.best["next_study"]["reasons"],
        code=yaml.safe_dump({"study": changes}, sort_keys=False) if changes else "",
    )


def _cards(found: StudyFindings) -> list[Card]:
    seen = found.confirmation
    ends = seen["gain_interval"]
    tone = "good" if ends and ends[0] > 0 else "bad" if ends and ends[1] < 0 else "neutral"
    n = len(seen["seeds"])
    cards = [
        Card(
            f"transfer score, {n} new seed{'' if n == 1 else 's'}",
            percent(seen["mean"]),
            f"base {percent(seen['base'])}",
            tone,  # type: ignore[arg-type]
        )
    ]
    for task in SCORED_TASKS:
        base = found.analysis["base"][task]
        score = seen["tasks"][task]
        cards.append(Card(task, percent(score), f"base {percent(base)}, {points(score - base)} points"))
    n_others = len(found.best["equivalent"])
    worse = f"by {RANKED_BY[found.study.select_by]} all others are clearly worse"
    note = f"{count_of(n_others, 'other')} may be as good" if n_others else worse
    return [
        *cards,
        Card("finished trials", str(found.best["finished"]), note if len(found.finished) > 1 else ""),
        Card(
            "time of all trials",
            duration(found.total_seconds),
            f"{found.trials['steps'].sum():,.0f} steps in {count_of(len(found.trials), 'trial')}",
        ),
    ]


def _equivalent_table(found: StudyFindings) -> Table:
    seconds = found.seconds.set_index("number")["seconds"]
    rows = [
        {
            "trial": row["trial"],
            "selection_score": row["selection_score"],
            "difference": row["difference"],
            "low": row["difference_interval"][0] if row["difference_interval"] else None,
            "high": row["difference_interval"][1] if row["difference_interval"] else None,
            "steps": row["cost"]["steps"],
            "examples_seen": row["cost"]["examples"],
            "seconds": seconds.get(row["trial"]),
            **row["choices"],
        }
        for row in found.best["equivalent"]
    ]
    return Table(
        pd.DataFrame(rows),
        caption="Difference to the best in percentage points, with its 95% interval over word families.",
        formats={
            "selection_score": ".1%",
            **dict.fromkeys(("difference", "low", "high"), POINTS),
            "seconds": ".1f",
            **_setting_formats(found),
        },
        labels=_setting_labels(found),
    )


def _transfer(found: StudyFindings, figures: Mapping[str, Figure]) -> Iterator[Section]:
    yield Section(
        "Does spelling carry over?",
        text=[*describe_correlations(found), describe_ratios(found)],
        figure=figures["transfer"],
        caption="Gain over the base in points, two markers per trial; the star is the recommended one. Bars (shown for "
        "few trials only) are 95% intervals over word families.",
        alt="Gain in spelling against gain in position and count. The numbers are in the table of changes below.",
    )
    yield Section(
        "Spelling against transfer, step by step",
        figure=figures["paths"],
        caption="Each line is a trial, from the base on, with a marker at each evaluation. Right is better spelling, "
        "up is better position and count.",
    )
    yield Section(
        "Learning curves",
        figure=figures["curves"],
        caption="Exact match on validation words, one line per trial, the recommended one thick; step 0 is the base.",
    )
    yield Section(
        "Which training helps where",
        text="Mean gain over the base, by kind of validation word; bars are 95% intervals over word families.",
        figure=figures["patterns"],
        caption="Mean over finished trials.",
        table=_patterns_table(found),
    )


def _patterns_table(found: StudyFindings) -> Table | None:
    rows = found.settings_patterns
    if rows.empty:
        return None
    return Table(
        rows[["name", "value", "task", "trials", *_GAIN]],
        caption="Mean gain in percentage points by the value of a setting, with its 95% interval over trials. Settings "
        "vary together, so this is not the effect of one alone. Values with fewer than three trials are left out.",
        formats=dict.fromkeys(_GAIN, POINTS),
        labels={"name": "setting"},
    )


def _search(found: StudyFindings, figures: Mapping[str, Figure]) -> Iterator[Section]:
    yield Section(
        "Settings and scores",
        figure=figures["parallel"],
        caption="One line per finished trial, coloured by transfer score; drag along an axis to select trials.",
        alt="Parallel coordinates of settings and scores. The numbers are in the table of trials below.",
    )
    yield Section(
        "Spelling or transfer",
        figure=figures["pareto"],
        caption="Final scores of each trial. No trial is better in both than one on the dotted line (Pareto front).",
    )
    methods = [f"{name}: {what}." for name, what in METHODS.items()]
    if found.importance.empty:
        yield Section(
            "Which settings matter",
            text=["Too few trials finished, or nothing varied, so no importance is given.", *methods],
        )
        return
    seeds = int(found.importance["seeds"].iloc[0])
    yield Section(
        "Which settings matter",
        text=[*methods, "Within a method the settings add up to 100%, however little they explain together."],
        figure=figures["importance"],
        caption=f"Bars: all finished trials. Whiskers: 95% range over {seeds} resampled sets of trials. Settings whose "
        "whiskers overlap cannot be ranked.",
        table=Table(found.importance, formats=dict.fromkeys(("importance", "low", "high"), ".1%")),
    )


def _tables(found: StudyFindings, figures: Mapping[str, Figure]) -> Iterator[Section]:
    seconds = found.seconds["seconds"]
    steps = int(found.trials["steps"].sum())
    yield Section(
        "Time",
        text=f"{steps:,} steps in {duration(found.total_seconds)}: {seconds.median():.1f} seconds a trial "
        f"in the median ({seconds.min():.1f} to {seconds.max():.1f}), scoring included. "
        "'kedro compute cost' shows what was spent on rented machines.",
        figure=figures["history"],
        caption="Trials in order, as if run one after the other.",
    )
    scores = ["selection_score", "transfer_score", *SCORED_TASKS]
    ends = ["steps", "seconds", "loss", "seed"]
    trials = found.trials.merge(found.seconds, on="number")
    trials = trials[
        ["number", "state", *scores, *(n for n in trials if n not in {"number", "state", *scores, *ends}), *ends]
    ]
    yield Section(
        "Trials",
        table=Table(
            trials,
            caption="Every trial with its final scores. Each trial's seed is derived from its number.",
            formats={**dict.fromkeys(scores, ".1%"), "seconds": ".1f", "seed": "d", **_setting_formats(found)},
            labels={"number": "trial", **_setting_labels(found)},
        ),
    )
    if found.best["equivalent"]:
        yield Section("Trials that are not clearly worse than the best", table=_equivalent_table(found))
    shares = ("base", "score", "gap_closed")
    changes = found.changes.drop(columns=["gap_low", "gap_high"])
    yield Section(
        "Changes against the base",
        table=Table(
            changes,
            caption="Gain in percentage points; low and high are its 95% interval. The ratio is the gain for each "
            "point of spelling gained; it is left out where the interval of the spelling gain is not above zero.",
            formats={
                **dict.fromkeys(shares, ".1%"),
                **dict.fromkeys(_GAIN, POINTS),
                **dict.fromkeys(("ratio", "ratio_low", "ratio_high"), "+.2f"),
            },
            labels={"number": "trial"},
        ),
    )
    yield Section(
        "Download",
        text="The tables as CSV, embedded in this page.",
        html=download_links(
            {
                "trials.csv": trials,
                "learning_curves.csv": found.curves,
                "transfer_by_trial.csv": found.changes,
                "training_patterns.csv": found.patterns,
                "parameter_importance.csv": found.importance,
                "best_config.yml": yaml.safe_dump(found.best["config"], sort_keys=False),
            }
        ),
    )


def _setup(found: StudyFindings) -> Iterator[Section]:
    study = found.study.model_dump(mode="json", exclude={"storage"})
    yield Section(
        "Full configuration",
        text="The recommended trial, with the seed of the adapter that is kept:",
        code=yaml.safe_dump(found.best["config"], sort_keys=False),
    )
    configuration = {"study": {**study, "space": found.search_space}, "trial": found.defaults.model_dump(mode="json")}
    yield Section(
        text="The study, and the defaults of every trial before the search space varies them:",
        code=yaml.safe_dump(configuration, sort_keys=False),
    )
    seeds = ", ".join(str(seed) for seed in found.confirmation["seeds"])
    yield Section(
        "Environment and seeds",
        text=f"Seed of the study: {found.study.seed}. A trial's seed is in the table of trials. New seeds of the "
        f"confirmation: {seeds}; the adapter that is kept has {found.confirmation['kept_seed']}.",
        code=yaml.safe_dump(found.environment, sort_keys=False),
    )


def _setting_labels(found: StudyFindings) -> dict[str, str]:
    return {name: short_name(name) for name in found.settings}


def _setting_formats(found: StudyFindings) -> dict[str, str]:
    return {
        name: ".2e" if found.trials[name].max() < 0.01 else ".3g"
        for name in found.settings
        if pd.api.types.is_float_dtype(found.trials[name])
    }
