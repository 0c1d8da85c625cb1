"""What was found, in words: the first sentences of every page and the lines in the terminal.

They are made from the numbers, in either direction, with what the numbers do not show. A change is called one only
where its interval excludes zero and its adjusted test rejects; transfer is spoken of by ``pages.verdict`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from spelling_transfer.evaluation.comparison import core_rows, main_rows, transfer_row
from spelling_transfer.evaluation.plotted import FLOORS
from spelling_transfer.pages.numbers import count_of, duration, level, listed, percent, points, signed, span
from spelling_transfer.pages.run_results import failed_checks
from spelling_transfer.pages.verdict import NO_VERDICT, describe_done, describe_verdict, first_seed_note
from spelling_transfer.statistics.correlation import FEWEST_GROUPS
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.tasks.registry import CORE_TASKS, TRAINED_TASK, UNTRAINED_TASKS

if TYPE_CHECKING:
    from spelling_transfer.study.findings import StudyFindings

QUESTION = (
    "Language models read tokens, not letters. This study trains a model on spelling and measures whether that "
    "transfers to where letters stand and how many there are."
)
NO_CLAIM = (
    "This is a correlation between trials, not evidence of transfer: trials that train better do better at everything "
    "they learn, including the form of the answers. Only the verdict of the evaluation, on held-out words, can claim "
    "transfer."
)
VERDICTS = {"up": "improved", "down": "got worse", "unclear": "no clear change"}
RANKED_BY = {"spelling": "spelling", "weighted": "sum of spelling and weighted position and count"}
"""What the score that trials are ranked by is called."""
RHO = "Spearman's ρ"
_ENOUGH_SEEDS = 3
_MOST_NAMES = 8


# The evaluation.


def describe_comparison(
    comparison: pd.DataFrame,
    control: pd.DataFrame | None = None,
    verdict: Mapping[str, Any] | None = None,
    *,
    confidence: float,
    floors: pd.DataFrame | None = None,
    effects: pd.DataFrame | None = None,
) -> list[str]:
    """Returns the findings as sentences: the answer to the question of the study, what was done, each task, the rest.

    Args:
        comparison: The comparison with the base.
        control: The comparison with the form control, where there is one.
        verdict: The answer as ``Verdict.document`` gives it; without one nothing is said of transfer.
        confidence: Confidence level of the intervals.
        floors: What answerers score that do not know how a word is spelled.
        effects: Every arm on each kind of question.
    """
    sentences = [NO_VERDICT]
    if verdict is not None:
        answer, *more = describe_verdict(verdict, effects)
        done = f"{describe_done(verdict, comparison)} {first_seed_note(verdict)}".strip()
        sentences = [answer, done, *more]
    sentences += [describe_change(row, confidence=confidence) for row in told_rows(comparison)]
    others = describe_other_tasks(comparison, floors)
    ratio = [] if control is None else _ratio(control)
    return [*sentences, *([others] if others else []), *ratio]


def told_rows(comparison: pd.DataFrame) -> list[pd.Series[Any]]:
    """Returns the rows that every summary speaks of: the tasks of the research question, then the transfer score."""
    score = transfer_row(comparison)
    return [*(row for _, row in core_rows(comparison).iterrows()), *([] if score is None else [score])]


def is_score(row: pd.Series[Any]) -> bool:
    """Whether a row of a comparison is of the transfer score, and of no task."""
    return bool(row["measure"] == "transfer_score")


def describe_change(row: pd.Series[Any], *, confidence: float) -> str:
    """Returns a sentence on how the score of a task changed, or the transfer score."""
    what, asked = str(row["task"]).capitalize(), f" of {row['n']:,} questions"
    if is_score(row):
        what, asked = f"The transfer score ({row['value']} focus)", ""
    values = f"from {percent(row['reference_score'])} to {percent(row['arm_score'])}{asked}"
    interval = "no interval" if pd.isna(row["low"]) else f"{level(confidence)} interval {span(row['low'], row['high'])}"
    difference = f"{points(row['difference'])} points ({interval})"
    if row["verdict"] == "unclear":
        return f"{what} shows no clear change: {values}, {difference}."
    return f"{what} {'rose' if row['verdict'] == 'up' else 'fell'} {values}: {difference}."


def floor_note(row: pd.Series[Any], floors: pd.DataFrame | None) -> str:
    """Returns whether the spelling arm does a task at all: whether it is above every answerer that cannot spell.

    Args:
        row: The row of the task in the comparison.
        floors: What ``evaluation.plotted.floors`` returns; without it nothing is said.
    """
    if floors is None or not (floors["task"] == row["task"]).any():
        return ""
    of_task = floors[floors["task"] == row["task"]].set_index("answerer")["score"].astype(float)
    best = str(of_task.idxmax())
    if row["arm_high"] < of_task["commonest"]:
        return f"cannot do this task: below {FLOORS['commonest']} ({percent(of_task['commonest'])})"
    if row["arm_low"] <= of_task[best]:
        return f"cannot do this task: not above {FLOORS[best]} ({percent(of_task[best])})"
    return f"above every guess (at best {percent(of_task[best])})"


def describe_other_tasks(comparison: pd.DataFrame, floors: pd.DataFrame | None = None) -> str:
    """Returns a sentence on the tasks beside those of the research question; empty where there are none."""
    rows = main_rows(comparison)
    rows = rows[~rows["task"].isin(CORE_TASKS)]
    if rows.empty:
        return ""
    by_verdict = rows.groupby("verdict", sort=False)["task"]
    parts = []
    for verdict, tasks in by_verdict:
        changed = VERDICTS[str(verdict)] if verdict != "unclear" else f"show{'s' * (len(tasks) == 1)} no clear change"
        parts.append(f"{listed(list(tasks))} {changed}")
    unable = [str(row["task"]) for _, row in rows.iterrows() if floor_note(row, floors).startswith("cannot")]
    if unable:
        parts.append(f"the spelling arm cannot do {listed(unable)}, where it is not above its floor")
    return f"Of the other tasks, {'; '.join(parts)}."


def _ratio(control: pd.DataFrame) -> list[str]:
    rows = control[control["measure"] == "transfer_ratio"]
    parts = [
        f"{row['task']} {signed(row['difference'], 2)} ({span(row['low'], row['high'], lambda end: signed(end, 2))})"
        for _, row in rows.iterrows()
    ]
    return [f"For each point of spelling gained over the form control: {listed(parts)} points."] if parts else []


# A study.


def describe_search(found: StudyFindings) -> str:
    """Returns what was tried."""
    counts = ", ".join(f"{n} {state}" for state, n in found.analysis["counts"].items())
    trials = f"{count_of(len(found.trials), 'trial').capitalize()} ({counts})"
    searched = f"with the {found.study.sampler} sampler over {', '.join(found.settings)}"
    return (
        f"{trials} {searched if found.settings else 'of the default configuration'}, each scored on "
        f"at most {found.study.validation_words} validation words a task. Training and scoring took "
        f"{duration(found.total_seconds)} in all."
    )


def describe_best(found: StudyFindings) -> str:
    """Returns which configuration is recommended, how clearly, and which others would do."""
    best = found.best
    text = (
        f"Trial {best['trial']} has the best {RANKED_BY[found.study.select_by]} on validation words, "
        f"{percent(best['selection_score'])}"
        f"{_interval(best['interval'])}."
    )
    if not best["equivalent"]:
        worse = f"Every other trial is clearly worse by {RANKED_BY[found.study.select_by]}."
        return f"{text} {'No other trial was finished.' if best['finished'] == 1 else worse}"
    names = [str(row["trial"]) for row in best["equivalent"]]
    shown = listed(names) if len(names) <= _MOST_NAMES else f"{', '.join(names[:_MOST_NAMES])} and more"
    n_others = best["finished"] - 1
    if n_others == 1:
        text += " The other finished trial cannot be distinguished from it"
    elif len(names) == n_others:
        text += f" None of the {n_others} other finished trials can be distinguished from it"
    else:
        text += f" {len(names)} of the {n_others} other finished trials cannot be distinguished from it ({shown})"
    if all(row["difference_interval"] for row in best["equivalent"]):
        text += ": the interval of the difference, on the same questions, includes zero."
    else:
        text += ": there are too few word families for an interval of the difference."
    cheapest = best["cheapest"]
    if cheapest["trial"] == best["trial"]:
        return f"{text} It is also the cheapest of these, and the arms were trained with it."
    return (
        f"{text} The arms were trained with the best. A cheaper trial that may do as well is {cheapest['trial']} "
        f"with {percent(cheapest['selection_score'])}: {cheapest['cost']['examples']:,} examples seen and rank "
        f"{cheapest['config']['lora']['r']}, against {best['cost']['examples']:,} and rank "
        f"{best['config']['lora']['r']}."
    )


def describe_confirmation(found: StudyFindings) -> str:
    """Returns what the recommended configuration scored with new seeds, which did not select it."""
    seen = found.confirmation
    n = len(seen["seeds"])
    text = (
        f"Trained again with {count_of(n, 'new seed')}, the configuration has a transfer score of "
        f"{percent(seen['mean'])}"
        f"{_interval(seen['interval_over_words'], 'over words')}"
    )
    if seen["interval_over_seeds"]:
        low, high = seen["interval_over_seeds"]
        text += (
            f", from {percent(seen['lowest'])} to {percent(seen['highest'])} (over seeds, 95%: "
            f"{span(low, high, percent)})"
        )
    elif n > 1:
        text += ", the same with each"
    text += f"; the selected trial had {percent(seen['selected'])}"
    if found.best["finished"] > 1:
        ranked_by = RANKED_BY[found.study.select_by]
        biased = ", so biased upwards by the selection" if found.study.select_by == "weighted" else ""
        text += f" (the best of {found.best['finished']} by {ranked_by}{biased})"
    text += f". The base has {percent(seen['base'])}: a difference of {points(seen['gain'])} points"
    if seen["gain_interval"]:
        low, high = seen["gain_interval"]
        unclear = "" if low > 0 or high < 0 else ", no clear change"
        text += f" ({span(low, high)}{unclear})"
    if n < _ENOUGH_SEEDS:
        text += f". {count_of(n, 'seed').capitalize()} cannot show how far seeds differ; set arms.seeds to 3"
    return f"{text}."


def describe_control(found: StudyFindings) -> str:
    """Returns the difference from the form control on validation words."""
    rows = {row["measure"]: row for row in found.confirmation["control"]}
    if not rows:
        return (
            "There is no form control (it is not in arms.trained, or could not be trained), so no gain here can be "
            "separated from learning the form of the answers."
        )
    parts = []
    for task in SCORED_TASKS:
        row = rows[task]
        interval = ""
        if row["interval"] is not None:
            interval = f" ({span(*row['interval'])}{'' if row['excludes_zero'] else ', no clear difference'})"
        parts.append(f"{task} {points(row['difference'])} points{interval}")
    above = [task for task in UNTRAINED_TASKS if rows[task]["excludes_zero"] and rows[task]["difference"] > 0]
    gains = found.confirmation["task_gains"]
    better = [task for task in above if gains[task] and gains[task][0] > 0]
    if better:
        verdict = (
            f"On these validation words {listed(better)} did better than form alone explains; the evaluation on "
            "held-out words decides."
        )
    elif above:
        verdict = f"But {listed(above)} is not clearly above the base, so no transfer is claimed."
    else:
        verdict = "So no transfer is claimed."
    # The control is one run, that of the adapter that is kept, whatever the number of seeds.
    seen = found.confirmation
    one = f" of seed {seen['kept_seed']}" if len(seen["seeds"]) > 1 else ""
    return (
        f"Compared with the form control{one}, which had the same steps on the base's own answers: "
        f"{'; '.join(parts)}. {verdict}"
    )


def describe_correlations(found: StudyFindings) -> list[str]:
    """Returns how gains correlate over trials and within them."""
    lines = []
    for task in UNTRAINED_TASKS:
        over = found.analysis["over_trials"][task]
        text = f"Spelling gain and {task} gain: {_correlation(over['spearman'], 'finished trial{s}')}"
        if found.analysis["steps_vary"] and over["spearman"]["low"] is not None:
            text += f"; given the steps taken, {_correlation(over['partial_given_steps'], 'trial{s}')}"
        within = _correlation(found.analysis["within_trials"][task], "change{s} between two evaluations of a trial")
        lines.append(f"{text}. Within trials: {within}.")
    return [*lines, NO_CLAIM] if any(RHO in line for line in lines) else lines


def describe_ratios(found: StudyFindings) -> str:
    """Returns the transfer ratios of the recommended trial, where there are any."""
    of_best = found.changes[found.changes["number"] == found.best["trial"]]
    rows = of_best[of_best["ratio"].notna()]
    if rows.empty and of_best.loc[of_best["task"] == TRAINED_TASK, "low"].isna().any():
        return (
            f"Trial {found.best['trial']} has no transfer ratio: its spelling gain has no interval (fewer than 30 word "
            "families)."
        )
    if rows.empty:
        return (
            f"Trial {found.best['trial']} has no transfer ratio: the interval of its spelling gain is not above zero."
        )
    parts = []
    for row in rows.to_dict("records"):
        interval = "no interval"
        if not math.isnan(row["ratio_low"]):
            interval = span(row["ratio_low"], row["ratio_high"], lambda end: signed(end, 2))
        parts.append(f"{row['task']} {signed(row['ratio'], 2)} ({interval})")
    return (
        f"Transfer ratio of trial {found.best['trial']}, the gain for each point of spelling gained: "
        f"{listed(parts)}. Not adjusted for the form control."
    )


def _correlation(row: dict[str, Any], what: str) -> str:
    what = what.format(s="" if row["n"] == 1 else "s")
    if row["rho"] is None or row["low"] is None:
        # Changes within trials are many, but whole trials are resampled.
        few = "" if row["rho"] is None or row["n"] < FEWEST_GROUPS else ": too few trials, or gains that hardly vary"
        return f"no correlation can be estimated from {row['n']} {what}{few}"
    return (
        f"{RHO} {signed(row['rho'], 2)} ({span(row['low'], row['high'], lambda end: signed(end, 2))}) over {row['n']} "
        f"{what}"
    )


def _interval(ends: list[float] | None, what: str = "") -> str:
    if ends is None:
        return " (no interval: fewer than 30 word families)"
    return f" (95%{what and f' {what}'}: {span(ends[0], ends[1], percent)})"


# Data, training and endpoint of a run.


def describe_data(prepared: dict[str, int]) -> str:
    """Returns how much was prepared."""
    return f"{prepared['words']:,} words, {prepared['examples']:,} examples"


def describe_training(model_name: str, trials: pd.DataFrame | None, best: dict[str, Any]) -> str:
    """Returns what was trained: model, method, and the settings that were searched over."""
    text = f"{model_name} with LoRA"
    if trials is None:
        return text
    seeds = len(best.get("confirmation", {}).get("seeds", []))
    # As many as it was the best of: the trials may be of a later study.
    n_trials = best.get("finished", len(trials))
    text += f", best of {n_trials} trials" if n_trials > 1 else ", one trial"
    text += f", {seeds} new seed{'' if seeds == 1 else 's'}" if seeds else ""
    searched = [name for name in trials.columns if "." in name]
    chosen = [f"{name.partition('.')[2]} {_setting(best.get('config', {}), name)}" for name in searched]
    return f"{text}: {', '.join(chosen)}" if chosen else text


def describe_endpoint(conformance: dict[str, Any]) -> str:
    """Returns whether the endpoint passed its checks."""
    n_checks, failed = len(conformance["checks"]), failed_checks(conformance)
    if not failed:
        return f"passed all {n_checks} checks of non-thinking mode"
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"FAILED {len(failed)} of {n_checks} checks of non-thinking mode ({', '.join(failed[:3])}{more})"


def _setting(config: dict[str, Any], dotted: str) -> str:
    value: Any = config
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return f"{value:.3g}" if isinstance(value, float) else str(value)
