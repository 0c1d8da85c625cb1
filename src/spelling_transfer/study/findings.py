"""What a study found: changes of each task against the base model, how they go together, which training helps.

What is found here speaks of trials against the base model. It is no claim of transfer: that needs the form control of
the evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from spelling_transfer.statistics.correlation import correlate
from spelling_transfer.statistics.importance import rate_importance
from spelling_transfer.statistics.intervals import (
    NO_INTERVAL,
    Interval,
    percentile_interval,
    ratio_interval,
    t_interval,
)
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import SCORED_TASKS, StudyResamples
from spelling_transfer.study.choices import NUMBERED
from spelling_transfer.study.config import AnalysisSettings, StudySettings, TrialConfig
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.interfaces import Evaluation, counted
from spelling_transfer.tasks.registry import UNTRAINED_TASKS

FEW_TRIALS = 20
"""Below this, a rank correlation between trials says next to nothing: its 95% interval is wider than ±0.4."""


def measure_changes(trials: pd.DataFrame, resamples: StudyResamples) -> pd.DataFrame:
    """Returns how each trial changed each task, against the base model on the same questions.

    Args:
        trials: One row a trial, as the executor leaves them.
        resamples: The trials' scores in resamples of word families.

    Returns:
        One row a trial and task: ``number``, ``state``, ``task``, ``base``, ``score``, ``gain`` with ``low`` and
        ``high``, its ``verdict``, ``gap_closed`` with ``gap_low`` and ``gap_high``, and ``ratio`` (gain over spelling
        gain) with ``ratio_low`` and ``ratio_high``: missing for spelling, and where the interval of the spelling gain
        is not above zero, as a ratio to what may be nothing can be anything, and one to a loss is no transfer.
    """
    states = trials.set_index("number")["state"]
    gains, gaps, ratios = resamples.gains(), resamples.gaps_closed(), resamples.ratios()
    rows = []
    for place, number in enumerate(resamples.numbers):
        spelling_rose = gains.interval(place, 0).low > 0
        for column, task in enumerate(SCORED_TASKS):
            gain, gap = gains.interval(place, column), gaps.interval(place, column)
            has_ratio = spelling_rose and task in UNTRAINED_TASKS
            ratio: Interval = ratio_interval(ratios.resamples[:, place, column]) if has_ratio else NO_INTERVAL
            rows.append(
                {
                    "number": number,
                    "state": states[number],
                    "task": task,
                    "base": float(resamples.base.value[column]),
                    "score": float(resamples.trials.value[place, column]),
                    "gain": float(gains.value[place, column]),
                    "low": gain.low,
                    "high": gain.high,
                    "verdict": gain.verdict,
                    "gap_closed": float(gaps.value[place, column]),
                    "gap_low": gap.low,
                    "gap_high": gap.high,
                    "ratio": float(ratios.value[place, column]) if has_ratio else float("nan"),
                    "ratio_low": ratio.low,
                    "ratio_high": ratio.high,
                }
            )
    return pd.DataFrame(rows)


def analyse_transfer(
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    base: Evaluation,
    *,
    sampler: str,
    startup_trials: int,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Returns how the gains of the trials go together, over trials and within them.

    Args:
        trials: One row a trial, as the executor leaves them.
        curves: One row an evaluation.
        base: Scores of the base model on the same validation questions.
        sampler: How the trials were chosen.
        startup_trials: How many a sampler draws at random before it looks at results.
        bootstrap: How trials are resampled.

    Returns:
        ``base`` scores; ``over_trials``: for position and count, Spearman's correlation of their gain with spelling
        gain and the partial one given steps, each with its interval from resampled trials; ``within_trials``: the
        correlation of changes between two evaluations of the same trial, with its interval from resampled trials;
        ``counts`` of trials by state, ``evaluations``, and ``warnings``.
    """
    start = {task: float(getattr(base, task)) for task in SCORED_TASKS}
    kept = counted(trials)
    changes = _changes_within(curves[curves["number"].isin(kept["number"])], start)
    over, within = {}, {}
    for task in UNTRAINED_TASKS:
        pair = kept["spelling"] - start["spelling"], kept[task] - start[task]
        over[task] = {
            "spearman": correlate(*pair, bootstrap=bootstrap),
            "partial_given_steps": correlate(*pair, kept["steps"], bootstrap=bootstrap),
        }
        within[task] = correlate(changes["spelling"], changes[task], groups=changes["number"], bootstrap=bootstrap)
    return {
        "base": start,
        "over_trials": over,
        "within_trials": within,
        "counts": {str(state): int(n) for state, n in trials["state"].value_counts().sort_index().items()},
        "evaluations": len(curves),
        "steps_vary": bool(kept["steps"].nunique() > 1),
        "warnings": warnings_of(trials, sampler, startup_trials),
    }


def warnings_of(trials: pd.DataFrame, sampler: str, startup_trials: int) -> list[str]:
    """Returns what a reader must know before believing anything about trials as a sample of the space."""
    found = []
    n = len(counted(trials))
    if n < FEW_TRIALS:
        found.append(
            f"{n} finished trial{'' if n == 1 else 's'}: too few to say how settings or gains go together; at least "
            f"{FEW_TRIALS} are needed."
        )
    at_random = startup_trials if sampler in ("tpe", "gp") else 1
    if sampler not in NUMBERED and int(trials["state"].ne("failed").sum()) > at_random:
        found.append(
            f"The {sampler} sampler chose later trials by the results of earlier ones, so trials are no random sample "
            "of the space: correlations and importances describe where it looked. A random study would tell more."
        )
    pruned = int(trials["state"].eq("pruned").sum())
    if pruned:
        found.append(
            f"{pruned} pruned trial{' was' if pruned == 1 else 's were'} left out of correlations and importances, "
            "which leaves those that looked good early."
        )
    failed = int(trials["state"].eq("failed").sum())
    if failed:
        found.append(
            f"{failed} trial{'' if failed == 1 else 's'} failed and {'is' if failed == 1 else 'are'} left out."
        )
    return found


def _changes_within(curves: pd.DataFrame, start: dict[str, float]) -> pd.DataFrame:
    frames = []
    for number, curve in curves.sort_values("step", kind="stable").groupby("number"):
        scores = pd.concat([pd.DataFrame([start]), curve[list(SCORED_TASKS)]], ignore_index=True)
        frames.append(scores.diff().iloc[1:].assign(number=number))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*SCORED_TASKS, "number"])


COLUMNS = ["pattern", "name", "value", "task", "trials", "questions", "gain", "low", "high"]
FEWEST_TRIALS = 3
"""A mean over fewer trials than this has no interval."""
_MOST_VALUES = 6
"""A setting with more values than this is cut into three ranges with equally many trials."""
_MOST_TOKENS = 4
_DIFFICULTIES = ("easy", "medium", "hard")


def find_patterns(
    trials: pd.DataFrame, marks: pd.DataFrame, base: dict[str, float], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Returns mean gains over the base model, by setting and by kind of question.

    Settings of a search vary together, so a mean by setting is no effect of the setting alone; the importance methods
    look at that. Kinds of questions are compared within the same trials.

    Returns:
        One row a pattern, value and task. ``pattern`` is ``setting`` (``name`` is the setting; the interval is
        Student's over its trials), ``difficulty`` or ``tokens`` (of the word; the interval is of the mean over trials,
        from resampled word families). ``gain`` is a difference of exact match.
    """
    kept = counted(trials)
    rows = [*_by_setting(kept, base, bootstrap.confidence)]
    marks = marks[marks["number"].isin(kept["number"])]
    difficulty = marks["difficulty"].astype(str)
    tokens = marks["n_tokens"].clip(upper=_MOST_TOKENS)
    for pattern, keys, label in (
        ("difficulty", difficulty, {name: name for name in _DIFFICULTIES}),
        ("tokens", tokens, {n: f"{n}+" if n == _MOST_TOKENS else str(n) for n in range(1, _MOST_TOKENS + 1)}),
    ):
        for key, value in label.items():
            part = marks[keys == key]
            if len(part):
                rows += _by_question(part, pattern, value, bootstrap)
    return pd.DataFrame(rows, columns=COLUMNS)


def rate_settings(trials: pd.DataFrame, search_space: dict[str, Any], analysis: AnalysisSettings) -> pd.DataFrame:
    """Returns the importance of each searched setting for the score that trials are ranked by; see ``rate_importance``.

    Args:
        trials: One row a trial; the columns with a dot are the settings that were varied.
        search_space: The entries of the space by setting name.
        analysis: How often the trials are drawn anew, and the first seed.
    """
    kept = counted(trials).dropna(subset=["selection_score"])
    names = [name for name in kept.columns if "." in name and kept[name].notna().all()]
    return rate_importance(
        kept[names], kept["selection_score"], search_space, seeds=analysis.importance_seeds, seed=analysis.seed
    )


def _by_setting(trials: pd.DataFrame, base: dict[str, float], confidence: float) -> Iterator[dict[str, Any]]:
    for name in (column for column in trials.columns if "." in column):
        values = trials[name].dropna()
        if values.nunique() < 2:
            continue
        for value, part in trials.loc[values.index].groupby(_labels(values), observed=True):
            for task in SCORED_TASKS:
                gains = part[task].to_numpy(dtype=float) - base[task]
                several = len(gains) >= FEWEST_TRIALS  # resampling few repeats the same ones
                low, high = t_interval(gains, confidence=confidence) if several else NO_INTERVAL
                yield {
                    "pattern": "setting",
                    "name": name,
                    "value": str(value),
                    "task": task,
                    "trials": len(part),
                    "questions": None,
                    "gain": float(gains.mean()),
                    "low": low,
                    "high": high,
                }


def _labels(values: pd.Series[Any]) -> pd.Series[Any]:
    # In order of the values, so that a table reads from the lowest to the highest.
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if values.nunique() <= _MOST_VALUES or not is_number:
        order = sorted(values.unique())
        ways = (_written(order, digits) for digits in range(3, 18)) if is_number else [list(map(str, order))]
        texts = next(each for each in ways if len(set(each)) == len(order))  # 17 digits tell any two numbers apart
        return values.map(dict(zip(order, texts, strict=True))).astype(pd.CategoricalDtype(texts, ordered=True))
    thirds = pd.qcut(values.rank(method="first"), 3, labels=False)
    ends = values.groupby(thirds).agg(["min", "max"])
    texts = [" to ".join(_written(pair, 3)) for pair in zip(ends["min"], ends["max"], strict=True)]
    return thirds.map(dict(enumerate(texts))).astype(pd.CategoricalDtype(list(dict.fromkeys(texts)), ordered=True))


def _written(values: Iterable[float], digits: int) -> list[str]:
    return [f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}g}" for value in values]


def _by_question(marks: pd.DataFrame, pattern: str, value: str, bootstrap: Bootstrap) -> Iterator[dict[str, Any]]:
    resamples = resample_correctness(marks, bootstrap)
    gains = resamples.gains()
    for column, task in enumerate(SCORED_TASKS):
        questions = marks.loc[marks["task"] == task, "example_id"].nunique()
        if not questions:
            continue
        low, high = percentile_interval(gains.resamples[:, :, column].mean(axis=1))
        yield {
            "pattern": pattern,
            "name": {"difficulty": "difficulty of the word", "tokens": "tokens of the word"}[pattern],
            "value": value,
            "task": task,
            "trials": len(resamples.numbers),
            "questions": questions,
            "gain": float(gains.value[:, column].mean()),
            "low": low,
            "high": high,
        }


@dataclass(frozen=True)
class StudyFindings:
    """The parts of the tuning as their nodes left them.

    Attributes:
        trials: ``trials``.
        curves: ``learning_curves``.
        seconds: ``trial_seconds``.
        analysis: ``transfer_analysis``.
        changes: ``transfer_by_trial``.
        patterns: ``training_patterns``.
        importance: ``parameter_importance``.
        best: ``best_config``.
        search_space: ``search_space``.
        environment: ``study_environment``.
        study: The settings of the study.
        defaults: The configuration that its trials varied.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    seconds: pd.DataFrame
    analysis: dict[str, Any]
    changes: pd.DataFrame
    patterns: pd.DataFrame
    importance: pd.DataFrame
    best: dict[str, Any]
    search_space: dict[str, Any]
    environment: dict[str, Any]
    study: StudySettings
    defaults: TrialConfig

    @property
    def finished(self) -> pd.DataFrame:
        """The trials that ended as they should."""
        return counted(self.trials)

    @property
    def confirmation(self) -> dict[str, Any]:
        """What the recommended configuration scored with new seeds."""
        return dict(self.best["confirmation"])

    @property
    def settings(self) -> list[str]:
        """Names of the settings that were varied."""
        return [name for name in self.trials.columns if "." in name]

    @property
    def settings_patterns(self) -> pd.DataFrame:
        """The gains by value of a setting that rest on enough trials to say something."""
        return self.patterns[(self.patterns["pattern"] == "setting") & (self.patterns["trials"] >= FEWEST_TRIALS)]

    @property
    def total_seconds(self) -> float:
        """Seconds of training and scoring of all trials."""
        return float(self.seconds["seconds"].sum())
