"""What a study says in words: made from its numbers, in either direction, with what it does not show."""

from __future__ import annotations

import math
from typing import Any

from spelling_transfer.pages.findings import interval_in_points, points
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.results import StudyFindings
from spelling_transfer.tasks.registry import UNTRAINED_TASKS

_ENOUGH_SEEDS = 3
_MOST_NAMES = 8

NO_CLAIM = (
    "This is a correlation between trials, and no claim of transfer: trials that train better do better at everything "
    "they learn, the form of the answers included. Only the evaluation's comparison with the control arm, on held-out "
    "words, can claim it."
)


def describe_search(found: StudyFindings) -> str:
    """Returns what was tried."""
    counts = ", ".join(f"{n} {state}" for state, n in found.analysis["counts"].items())
    trials = f"{_number(len(found.trials), 'trial').capitalize()} ({counts})"
    searched = f"with the {found.study.sampler} sampler over {', '.join(found.settings)}"
    return (
        f"{trials} {searched if found.settings else 'of the default configuration'}, each scored on "
        f"{found.study.validation_words} validation words a task. Training and scoring took "
        f"{duration(found.total_seconds)} in all."
    )


def describe_best(found: StudyFindings) -> list[str]:
    """Returns which configuration is recommended, how sure that is, and which others would do."""
    best = found.best
    text = (
        f"Trial {best['trial']} has the best transfer score on validation words, {best['transfer_score']:.3f}"
        f"{_interval(best['interval'])}."
    )
    if not best["equivalent"]:
        others = "No other trial was finished." if best["finished"] == 1 else "Every other trial is surely worse."
        return [f"{text} {others}"]
    names = [str(row["trial"]) for row in best["equivalent"]]
    shown = _and(names) if len(names) <= _MOST_NAMES else f"{', '.join(names[:_MOST_NAMES])} and more"
    n_others = best["finished"] - 1
    if n_others == 1:
        told = "The other finished trial cannot be told from it"
    elif len(names) == n_others:
        told = f"Not one of the {n_others} other finished trials can be told from it"
    else:
        told = f"{len(names)} of the {n_others} other finished trials cannot be told from it ({shown})"
    text += f" {told}: the interval of the difference, on the same questions, holds zero."
    cheapest = best["cheapest"]
    if cheapest["trial"] == best["trial"]:
        return [f"{text} It is the cheapest of these."]
    return [
        f"{text} The cheapest of these is trial {cheapest['trial']}: {cheapest['cost']['examples']:,} examples seen "
        f"and rank {cheapest['config']['lora']['r']}, against {best['cost']['examples']:,} and rank "
        f"{best['config']['lora']['r']}, for a score of {cheapest['transfer_score']:.3f}."
    ]


def describe_confirmation(found: StudyFindings) -> str:
    """Returns what the recommended configuration scored with seeds that did not choose it."""
    seen = found.confirmation
    n = len(seen["seeds"])
    text = (
        f"Trained again with {_number(n, 'new seed')}, the configuration scores {seen['mean']:.3f}"
        f"{_interval(seen['interval_over_words'], 'over words')}"
    )
    if seen["interval_over_seeds"]:
        low, high = seen["interval_over_seeds"]
        text += f", from {seen['lowest']:.3f} to {seen['highest']:.3f} (over seeds, 95%: {low:.3f} to {high:.3f})"
    text += f"; the trial that was chosen had {seen['selected']:.3f}"
    if found.best["finished"] > 1:
        text += f" as the best of {found.best['finished']}, which is biased upwards"
    text += f". The base model has {seen['base']:.3f}: a change of {_signed(seen['gain'])}"
    if seen["gain_interval"]:
        low, high = seen["gain_interval"]
        sure = "" if low > 0 or high < 0 else ", which is no sure change"
        text += f" ({_signed(low)} to {_signed(high)}{sure})"
    if n < _ENOUGH_SEEDS:
        text += f". {_number(n, 'seed').capitalize()} cannot show how far seeds differ; set recommendation.seeds to 3"
    return f"{text}."


def describe_control(found: StudyFindings) -> str:
    """Returns what is left of the change once the control arm's is taken off, on validation words."""
    rows = {row["measure"]: row for row in found.confirmation["control"]}
    if not rows:
        return (
            "There is no control arm (recommendation.control is false), so nothing here can be told from learning the "
            "form of the answers."
        )
    parts = []
    for task in SCORED_TASKS:
        row = rows[task]
        if row["interval"] is None:
            parts.append(f"{task} {points(row['difference'])} points")
            continue
        unclear = "" if row["excludes_zero"] else ", which holds zero"
        parts.append(f"{task} {points(row['difference'])} points ({interval_in_points(*row['interval'])}{unclear})")
    above = [task for task in UNTRAINED_TASKS if rows[task]["excludes_zero"] and rows[task]["difference"] > 0]
    gains = found.confirmation["task_gains"]
    carried = [task for task in above if gains[task] and gains[task][0] > 0]
    if carried:
        verdict = (
            f"On these validation words {_and(carried)} did better than form alone explains; the evaluation on "
            "held-out words decides."
        )
    elif above:
        verdict = f"But {_and(above)} is not surely above the base model, so no transfer is claimed."
    else:
        verdict = "So no transfer is claimed."
    return (
        "Against the control arm, which had the same steps on the same prompts with other words' letters: "
        f"{'; '.join(parts)}. {verdict}"
    )


def describe_correlations(found: StudyFindings) -> list[str]:
    """Returns how gains go together over trials and within them."""
    lines = []
    for task in UNTRAINED_TASKS:
        over = found.analysis["over_trials"][task]
        text = f"Spelling gain and {task} gain: {_correlation(over['spearman'], 'finished trials')}"
        if found.analysis["steps_vary"] and over["spearman"]["rho"] is not None:
            text += f"; given the steps taken, {_correlation(over['partial_given_steps'], 'trials')}"
        within = _correlation(found.analysis["within_trials"][task], "changes between two evaluations of a trial")
        lines.append(f"{text}. Within trials: {within}.")
    return [*lines, NO_CLAIM]


def describe_ratios(found: StudyFindings) -> str:
    """Returns the transfer ratios of the recommended trial, where there are any."""
    rows = found.changes[(found.changes["number"] == found.best["trial"]) & found.changes["ratio"].notna()]
    if rows.empty:
        return (
            f"Trial {found.best['trial']} has no transfer ratio: the interval of its spelling gain holds zero, and a "
            "ratio to what may be nothing can be anything."
        )
    parts = []
    for row in rows.to_dict("records"):
        sure = "no interval"
        if not math.isnan(row["ratio_low"]):
            sure = f"{_signed(row['ratio_low'], 2)} to {_signed(row['ratio_high'], 2)}"
        parts.append(f"{row['task']} {_signed(row['ratio'], 2)} ({sure})")
    return (
        f"Transfer ratio of trial {found.best['trial']}, the gain for each point of spelling gained: "
        f"{_and(parts)}. Not adjusted for the control arm."
    )


def describe_next(found: StudyFindings) -> list[str]:
    """Returns what is worth running next, and why."""
    return list(found.best["next_study"]["reasons"])


def duration(seconds: float) -> str:
    """Writes a time: ``95`` as ``1 min 35 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _correlation(row: dict[str, Any], what: str) -> str:
    if row["rho"] is None:
        return f"no correlation can be given over {row['n']} {what}"
    interval = " (too few for an interval)"
    if row["low"] is not None:
        interval = f" ({_signed(row['low'], 2)} to {_signed(row['high'], 2)})"
    return f"Spearman's ρ {_signed(row['rho'], 2)}{interval} over {row['n']} {what}"


def _interval(ends: list[float] | None, what: str = "95%") -> str:
    if ends is None:
        return " (no interval: fewer than 30 word families)"
    prefix = "95%" if what == "95%" else f"95% {what}"
    return f" ({prefix}: {ends[0]:.3f} to {ends[1]:.3f})"


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _number(n: int, noun: str) -> str:
    words = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
    return f"{words.get(n, n)} {noun}{'' if n == 1 else 's'}"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
