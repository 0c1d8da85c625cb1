"""The answer to the question of the study, in words: yes, no, or why it is inconclusive and what is excluded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from spelling_transfer.evaluation.comparison import core_rows, transfer_row
from spelling_transfer.evaluation.plotted import ALL
from spelling_transfer.evaluation.strata import HELD_OUT
from spelling_transfer.pages.names import STRATUM_NAMES, arm_name, value_name
from spelling_transfer.pages.numbers import POINTS, count_of, in_points, level, listed, percent, points, signed, span
from spelling_transfer.pages.tables import Table
from spelling_transfer.tasks.arms import FORM_CONTROL, SPELLING_ARM
from spelling_transfer.tasks.registry import TRAINED_TASK

NO_VERDICT = "There is no verdict yet: it comes with 'kedro run --pipelines=evaluation'."
_MOST_STRATA = 3
_STRATA = {"template_held_out": "wording", "n_tokens": "tokens of the word"}
_VALUES = {("template_held_out", "False"): "trained", ("template_held_out", "True"): "held out"}


def describe_verdict(verdict: Mapping[str, Any], effects: pd.DataFrame | None = None) -> list[str]:
    """Returns the answer and what goes with it, a sentence or two each.

    Args:
        verdict: ``verdict.json``, or ``Verdict.document()``.
        effects: ``arm_effects``; without it nothing is said of kinds of questions.
    """
    lines = [answer_sentence(verdict)]
    if unfit := list(_unfit(verdict)):
        lines.append(f"The base model is not suitable for this study: {'; '.join(unfit)}.")
    if bounds := bound_sentence(verdict):
        lines.append(bounds)
    lines += _headline(verdict)
    if effects is not None:
        lines += _where_it_rose(verdict["tasks"], effects)
    lines += _harm(verdict["tasks"])
    lines += _notes(verdict)
    return lines


def answer_sentence(verdict: Mapping[str, Any]) -> str:
    """Returns the first sentence: yes, no, or that the result is inconclusive and why, with its numbers."""
    tasks = verdict["tasks"]
    if verdict["answer"] == "yes":
        parts = [
            f"{task['task']}: {points(task['transfer'])} points ({span(task['low'], task['high'])}; p = "
            f"{task['p_adjusted']:.2g}, adjusted for {len(tasks)} tasks)"
            for task in tasks
            if task["answer"] == "yes"
        ]
        rest = [_no_yes(task) for task in tasks if task["answer"] != "yes"]
        return f"Yes, spelling carried over to {'; '.join([*parts, *rest])}."
    if verdict["answer"] == "no":
        return (
            f"No, spelling carried over neither to {' nor to '.join(task['task'] for task in tasks)}: at most "
            f"{listed([_at_most(task) for task in tasks])}."
        )
    told = [f"; {_no_yes(task)}" for task in tasks if task["answer"] == "no"]
    return f"The result is inconclusive, because {'; '.join(_reasons(verdict))}{''.join(told)}."


def bound_sentence(verdict: Mapping[str, Any]) -> str:
    """Returns how much transfer can be excluded, and what this set of questions can detect.

    Empty if the answer is no. If it is yes, only the inconclusive tasks are described.
    """
    if verdict["answer"] == "no":
        return ""
    tasks = [task for task in verdict["tasks"] if task["high"] is not None]
    if verdict["answer"] == "yes":
        tasks = [task for task in tasks if task["answer"] not in ("yes", "no")]
    if not tasks:
        return ""
    alone = all(len(task["comparisons"]) == 1 for task in tasks)
    against = f" (against the {arm_name(tasks[0]['comparisons'][0]['reference'])} alone)" if alone else ""
    found = listed([f"{_detectable(task)} in {task['task']}" for task in tasks])
    strictest = level((1 - verdict["confidence"]) / len(verdict["tasks"]))  # of Holm's first step
    return (
        f"Transfer above {listed([_at_most(task) for task in tasks])} can be excluded{against}. With these questions "
        f"and seeds, a single comparison has 80% power to detect {found}, tested at {strictest}."
    )


def _detectable(task: Mapping[str, Any]) -> str:
    return f"{points(task['detectable'])} points" if task["detectable"] <= 1 else "no difference"


def gates_table(verdict: Mapping[str, Any]) -> Table:
    """Returns what had to hold, and whether it did, one row a comparison."""
    rows = []
    for gate in verdict["gates"]:
        row = {"gate": " ".join(filter(None, (gate["gate"], gate["task"]))), "passed": gate["passed"]}
        if gate["missing"] or not gate["comparisons"]:
            rows.append({**row, "compared": f"missing: {_named(gate['missing'])}" if gate["missing"] else "all there"})
        rows += [
            {
                **row,
                "compared": f"{arm_name(each['arm'])} against {arm_name(each['reference'])}",
                **{name: each[name] for name in ("n", "difference", "low", "high", "p_value")},
                "needed": gate["needed"],
            }
            for each in gate["comparisons"]
        ]
    shares = dict.fromkeys(("difference", "low", "high", "needed"), POINTS)
    return Table(
        pd.DataFrame(rows),
        caption="A gate is passed if the whole interval of each difference is above the required value and its test "
        "excludes chance. Differences are in percentage points.",
        formats={**shares, "n": ".0f", "p_value": ".2g"},
        labels={"p_value": "p", "needed": "required: above"},
    )


def secondary_table(verdict: Mapping[str, Any]) -> Table | None:
    """Returns the comparisons that were not declared, with adjusted p-values; ``None`` without any."""
    if not verdict["secondary"]:
        return None
    frame = pd.DataFrame(verdict["secondary"])
    values = [_VALUES.get((row["stratum"], str(row["value"])), row["value"]) for row in verdict["secondary"]]
    kinds = frame["stratum"].replace(_STRATA).str.replace("_", " ")
    frame = frame.assign(reference=frame["reference"].map(arm_name), stratum=kinds, value=values)
    frame = frame[
        ["task", "stratum", "value", "reference", "n", "difference", "low", "high", "p_value", "p_adjusted", "verdict"]
    ]
    return Table(
        frame,
        caption="The spelling arm against base and form control, in percentage points. The p-values are adjusted "
        f"together (Benjamini and Hochberg): {level(1 - verdict['confidence'])} of the rows called up or down may "
        "be chance.",
        formats={
            **dict.fromkeys(("difference", "low", "high"), POINTS),
            **dict.fromkeys(("p_value", "p_adjusted"), ".2g"),
        },
        labels={"p_value": "p", "p_adjusted": "p, adjusted"},
    )


def _at_most(task: Mapping[str, Any]) -> str:
    return f"{points(task['high'])} points in {task['task']}"


def _no_yes(task: Mapping[str, Any]) -> str:
    if task["answer"] == "no":
        return f"no transfer to {task['task']} (at most {points(task['high'])} points)"
    return f"for {task['task']} the result is inconclusive"


def _reasons(verdict: Mapping[str, Any]) -> Iterator[str]:
    shut = [gate for gate in verdict["gates"] if not gate["passed"]]
    gone = {name for gate in shut if gate["gate"] == "arms" for name in gate["missing"]}
    if gone:
        yield f"there are no answers of the {_named(sorted(gone))}"
    if shut and any(_unfit(verdict)):
        yield "the base model is not suitable for this study"
    ceilings = [gate for gate in shut if gate["gate"] == "ceiling"]
    for gate in shut:
        if gate["gate"] == "treatment" and not gate["missing"]:
            yield f"the treatment did not work: the spelling arm spells {_short(gate, verdict['confidence'])}"
    unasked = [gate["task"] for gate in shut if "base" in gate["missing"] and "base" not in gone]
    if unasked:
        yield f"there are no questions of {listed(unasked)}"
    for gate in shut:
        own = [name for name in gate["missing"] if name not in gone]
        if gate["gate"] == "treatment" and own and gate["task"] not in unasked:
            yield f"there are no answers of the {_named(own)} to questions of {gate['task']}"
    untrained = [
        gate["task"]
        for gate in ceilings
        if gate["task"] not in unasked and any(name.startswith("direct") for name in gate["missing"])
    ]
    if untrained:
        yield f"the ceiling was not trained: no direct arm learned {listed(untrained)}"
    confidence = verdict["confidence"]
    if flat := [f"{gate['task']} ({_short(gate, confidence)})" for gate in ceilings if not gate["missing"]]:
        yield f"direct training did not raise {' or '.join(flat)}"
    least = verdict["settings"]["negligible"]
    for task in verdict["tasks"]:
        if task["answer"] not in ("yes", "no") and not task["shut"]:
            changed = f"the interval for {task['task']} is {span(task['low'], task['high'])} points"
            if task["low"] > 0:
                p_value = f"p = {task['p_adjusted']:.2g}, adjusted for {len(verdict['tasks'])} tasks"
                yield f"{changed}, but the test does not exclude chance ({p_value})"
            else:
                yield f"{changed}, which excludes neither zero nor {points(least)} points"


def _short(gate: Mapping[str, Any], confidence: float) -> str:
    """Returns the comparison that keeps a gate shut; of several, the one that is furthest from opening it."""
    alpha = 1 - confidence
    shut = [each for each in gate["comparisons"] if each["low"] <= gate["needed"] or each["p_value"] > alpha]
    worst = min(shut, key=lambda each: float(each["low"]))
    needed = f", but the whole interval must be above {points(gate['needed'])}" if gate["needed"] else ""
    if worst["low"] > gate["needed"]:
        needed = f", but the test does not exclude chance, p = {worst['p_value']:.2g}"
    return (
        f"{points(worst['difference'])} points over the {arm_name(worst['reference'])}, "
        f"{span(worst['low'], worst['high'])}{needed}"
    )


def _unfit(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yields what the base model fails in, with what is needed of it."""
    settings = verdict["settings"]
    for note in verdict["notes"]:
        task, value = note["subject"], note["value"]
        if note["kind"] == "base guesses":
            least = points(settings["base_above_guess"])
            yield f"in {task} it is {points(value)} points from the best guess, and {least} are required"
        elif note["kind"] == "base invalid":
            most = percent(settings["base_invalid"], 0)
            yield f"{percent(value)} of its answers to {task} are invalid, and at most {most} may be"
        elif note["kind"] == "base full":
            most = percent(1 - settings["dose" if task == TRAINED_TASK else "base_room"], 0)
            yield f"it answers {percent(value)} of {task} correctly, and above {most} there is no room to improve"


def _named(arms: Sequence[str]) -> str:
    return listed([arm_name(arm) for arm in arms])


def first_seed_note(verdict: Mapping[str, Any]) -> str:
    """Returns that single scores are of one training seed where there are several; else nothing."""
    several = max((seeds for arm, seeds in verdict["seeds"].items() if arm != "base"), default=1) > 1
    if not several:
        return ""
    spread = points(verdict["settings"]["seed_spread"]).removeprefix("+")
    return (
        "The answer uses all seeds; scores and changes shown beside it are those of each arm's first seed, and their "
        f"intervals assume a standard deviation of {spread} points between seeds."
    )


def describe_done(verdict: Mapping[str, Any], comparison: pd.DataFrame) -> str:
    """Returns what was done, in a sentence.

    Args:
        verdict: ``verdict.json``, or ``Verdict.document()``.
        comparison: The comparison of the spelling arm with the base.
    """
    trained = {arm: seeds for arm, seeds in verdict["seeds"].items() if arm != "base"}
    seeds = sorted(set(trained.values()))
    n_seeds = count_of(seeds[0], "training seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} training seeds"
    rows = core_rows(comparison)
    numbers = list(zip(rows["n"], rows["task"], strict=True))
    asked = listed([f"{n:,} of {task}" for n, task in numbers])
    if rows["n"].nunique() == 1:
        asked = f"{rows['n'].iloc[0]:,} each of {listed(list(rows['task']))}"
    # Tasks may be asked about different families: the transfer score has those of all of them.
    score = transfer_row(comparison)
    families = int(rows["families"].max() if score is None else score["families"])
    return (
        f"What was done: {_named(['base', *trained])} answered the same questions, {asked}, on words of "
        f"{families:,} families that no arm was trained on; {n_seeds} per arm. Intervals, in parentheses, are at "
        f"{level(verdict['confidence'])}."
    )


def _headline(verdict: Mapping[str, Any]) -> Iterator[str]:
    ratio = verdict["headline"]
    if ratio is not None:
        tasks = [gate["task"] for gate in verdict["gates"] if gate["gate"] == "ceiling" and gate["passed"]]
        taken = f"{listed(tasks)} taken together" if len(tasks) > 1 else tasks[0]
        yield (
            f"In {taken}, direct training gains {points(ratio['denominator'])} points over the form control; training "
            f"on spelling gains {percent(ratio['ratio'], 0)} of that "
            f"({span(ratio['low'], ratio['high'], lambda end: percent(end, 0))})."
        )


def _where_it_rose(tasks: Sequence[Mapping[str, Any]], effects: pd.DataFrame) -> Iterator[str]:
    """Yields in which kinds of questions a task rose, where there are others of the same sort in which it did not."""
    of_arm = effects[
        (effects["endpoint"] == HELD_OUT)
        & (effects["arm"] == SPELLING_ARM)
        & (effects["reference"] == FORM_CONTROL)
        & (effects["stratum"] != ALL)
        & effects["difference"].notna()
    ]
    for task in (task["task"] for task in tasks if task["answer"] == "yes"):
        for stratum, rows in of_arm[of_arm["task"] == task].groupby("stratum", sort=False):
            if (rows["clear"] == "up").any() and (rows["difference"] <= 0).any():
                parts = [
                    f"{STRATUM_NAMES[str(stratum)]} {value_name(str(row['value']))} {in_points(row)}"
                    for _, row in rows.iterrows()
                ]
                yield (
                    f"{str(task).capitalize()} over the form control by kind of question (exploratory, not declared "
                    f"in advance): {'; '.join(parts)}."
                )


def _harm(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for task in tasks:
        if task["fell"]:
            base = next(each for each in task["comparisons"] if each["reference"] == "base")
            yield f"Training on spelling lowered {task['task']}: {in_points(base)} against the base."


def _notes(verdict: Mapping[str, Any]) -> Iterator[str]:
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for note in verdict["notes"]:
        by_kind.setdefault(note["kind"], []).append(note)
    if fell := by_kind.get("control fell"):
        lost = listed([f"{points(note['value'])} points in {note['subject']}" for note in fell])
        yield f"The form control fell below the base ({lost}), so part of any gain over it is the control's own loss."
    if assumed := by_kind.get("assumed spread"):
        spread = signed(100 * assumed[0]["value"], 1).removeprefix("+")
        yield (
            f"Fewer than three training seeds for {_named([note['subject'] for note in assumed])}: intervals assume "
            f"a standard deviation of {spread} points between seeds."
        )
    without = {"no questions": "without a question", "few": "with too few word families to compare"}
    for kind, what in without.items():
        if named := by_kind.get(kind):
            shown = [_kind(note["subject"]) for note in named[:_MOST_STRATA]]
            more = f" and {len(named) - len(shown)} more" if len(named) > len(shown) else ""
            yield f"Kinds of question {what}: {'; '.join(shown)}{more}."


def _kind(subject: str) -> str:
    """Returns what a kind of question is called: ``count, n_tokens 2`` is ``count (tokens of the word: 2)``."""
    task, _, kind = subject.partition(", ")
    stratum, _, value = kind.partition(" ")
    return f"{task} ({_STRATA.get(stratum, stratum).replace('_', ' ')}: {_VALUES.get((stratum, value), value)})"
