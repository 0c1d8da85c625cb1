"""The evaluation's questions through several engines: where answers differ, how often, whether marks change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations

import pandas as pd

from spelling_transfer.bench.asking import ALL_KINDS, Answerer
from spelling_transfer.bench.base import BenchError
from spelling_transfer.evaluation.kept_answers import GREEDY
from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.statistics.intervals import CONFIDENCE, clustered_wilson_interval
from spelling_transfer.statistics.paired import paired_difference
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer

_OF_THE_QUESTION = ["example_id", "task", "word", "stem", "question", "answer", "argument", "separator"]


def ask_engines(sample: pd.DataFrame, engines: Iterable[tuple[str, Answerer]]) -> pd.DataFrame:
    """Asks every engine the same questions and marks the answers as the evaluation does.

    Args:
        sample: The questions, examples of ``sample_test_examples``.
        engines: Name and what answers; each is used up before the next is taken, so one model is in memory at a time.

    Returns:
        One row an engine and question: ``engine``, ``decoding``, what the question is, ``output``, ``ended``,
        ``exact``, ``lenient``, ``invalid`` and ``no_answer``: why there is nothing to score, else empty. Such rows have
        no marks.

    Raises:
        BenchError: Two engines have one name, or one of them answers nothing, or thinks.
    """
    frames: dict[str, pd.DataFrame] = {}
    questions = sample["question"].tolist()
    for name, answer in engines:
        if name in frames:
            raise BenchError(f"{name}: is named twice. Give each engine once, or with another batch: {name}@64.")
        given = answer(questions, [""] * len(questions))
        reasons = [each if isinstance(each, str) else "" for each in given]
        if all(reasons):
            raise BenchError(f"{name}: none of {len(given)} questions got an answer to score: {_counted(reasons)}.")
        asked = sample[_OF_THE_QUESTION].assign(
            engine=name,
            decoding=answer.decoding,
            output=["" if isinstance(each, str) else each[0] for each in given],
            ended=[not isinstance(each, str) and each[1] for each in given],
            no_answer=reasons,
        )
        answered = mark_answers(asked[asked["no_answer"] == ""], load_tasks())[["exact", "lenient", "invalid"]]
        frames[name] = asked.join(answered.astype("boolean"))
    return pd.concat(frames.values(), ignore_index=True)


def score_engines(answers: pd.DataFrame, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Sums up the answers of :func:`ask_engines`.

    Returns:
        One row an engine and task, and one of all tasks: ``decoding``, ``n`` answers scored, ``exact`` with ``low`` and
        ``high`` (Wilson's interval over word families), ``lenient``, ``not_ended`` (answers cut at the limit) and
        ``no_answer`` (questions without an answer to score, by reason).
    """
    rows = []
    for engine, of_engine in answers.groupby("engine", sort=False):
        for task, part in _tasks(of_engine):
            scored = part[part["no_answer"] == ""]
            low, high = clustered_wilson_interval(scored["exact"].astype(bool), scored["stem"], confidence=confidence)
            exact, lenient = (scored[name].astype(float).mean() for name in ("exact", "lenient"))
            rows.append(
                {
                    "engine": engine,
                    "decoding": part["decoding"].iloc[0],
                    "task": task,
                    "n": len(scored),
                    "exact": float(exact),
                    "low": low,
                    "high": high,
                    "lenient": float(lenient),
                    "not_ended": int((~scored["ended"]).sum()),
                    "no_answer": _counted(part["no_answer"].tolist()),
                }
            )
    return pd.DataFrame(rows)


def compare_engines(answers: pd.DataFrame, changes: pd.DataFrame, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Compares the engines of :func:`ask_engines` in pairs, on the questions that both answered.

    Args:
        answers: The answers.
        changes: Those that differ, of :func:`differing_answers`.
        confidence: Confidence level of the intervals.

    Returns:
        One row a pair (``engine``, ``other``) and task, and one of all tasks: ``n`` questions, ``differ`` (answers that
        are other texts), ``share`` with ``low`` and ``high`` (Wilson's interval over word families), ``first_place``
        (the median of the token, from 1, at which they part), ``gained`` and ``lost`` (marks: right in ``other`` alone,
        and in ``engine`` alone), ``difference`` of the shares of right answers with ``difference_low``,
        ``difference_high`` and ``p_value`` (paired). A pair of which one draws its answers has ``problem`` and no
        numbers: that they differ says nothing.
    """
    rows = []
    for first, second in _pairs(answers):
        named = {"engine": first["engine"].iloc[0], "other": second["engine"].iloc[0]}
        decodings = {frame["decoding"].iloc[0] == GREEDY for frame in (first, second)}
        both = _both(first, second)
        if len(decodings) > 1 or both.empty:
            problem = "one draws its answers" if len(decodings) > 1 else "no question was answered by both"
            rows.append({**named, "task": ALL_KINDS, "n": 0, "problem": problem})
            continue
        differing = changes[(changes["engine"] == named["engine"]) & (changes["other"] == named["other"])]
        for task, part in _tasks(both):
            differs = part["output"] != part["output_other"]
            low, high = clustered_wilson_interval(differs, part["stem"], confidence=confidence)
            right, right_other = part["exact"].astype(bool), part["exact_other"].astype(bool)
            marks = paired_difference(right, right_other, part["stem"], confidence=confidence)
            places = differing.loc[differing["example_id"].isin(part["example_id"]), "place"]
            rows.append(
                {
                    **named,
                    "task": task,
                    "n": len(part),
                    "differ": int(differs.sum()),
                    "share": float(differs.mean()),
                    "low": low,
                    "high": high,
                    "first_place": float(places.median()),
                    "gained": int((right_other & ~right).sum()),
                    "lost": int((right & ~right_other).sum()),
                    "difference": marks.difference,
                    "difference_low": marks.interval.low,
                    "difference_high": marks.interval.high,
                    "p_value": marks.p_value,
                    "problem": "",
                }
            )
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


PAIR_COLUMNS = (
    *("engine", "other", "task", "n", "differ", "share", "low", "high", "first_place", "gained", "lost"),
    *("difference", "difference_low", "difference_high", "p_value", "problem"),
)


def differing_answers(answers: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns each answer that is another text in another engine, of pairs that choose tokens in the same way.

    Returns:
        ``engine``, ``other``, ``example_id``, ``task``, ``question``, ``answer``, ``output``, ``output_other``,
        ``place`` (the first token that is another one, from 1), ``exact`` and ``exact_other``.
    """
    shown = ["example_id", "task", "question", "answer", "output", "output_other", "exact", "exact_other"]
    frames = [pd.DataFrame(columns=["engine", "other", *shown[:6], "place", *shown[6:]])]
    for first, second in _pairs(answers):
        if (first["decoding"].iloc[0] == GREEDY) != (second["decoding"].iloc[0] == GREEDY):
            continue
        both = _both(first, second)
        both = both.loc[both["output"] != both["output_other"], shown]
        places = [
            first_difference(one, other, tokenizer)
            for one, other in zip(both["output"], both["output_other"], strict=True)
        ]
        both.insert(6, "place", places)
        both.insert(0, "other", second["engine"].iloc[0])
        both.insert(0, "engine", first["engine"].iloc[0])
        frames.append(both)
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def first_difference(text: str, other: str, tokenizer: ChatTokenizer) -> int:
    """Returns the first token, from 1, at which two texts part; one more than the shorter has where it goes on."""
    ids, others = tokenizer.encode_texts([text, other])
    same = (i for i, (one, two) in enumerate(zip(ids, others, strict=False)) if one != two)
    return next(same, min(len(ids), len(others))) + 1


def other_prompts(questions: Iterable[str], prompt_tokens: dict[str, int], tokenizer: ChatTokenizer) -> dict[int, int]:
    """Returns how many prompts of an endpoint are longer (or shorter, below 0) than ours by how many tokens.

    Another length means another template: a system prompt, or one that thinks, whose empty think block is missing.
    """
    asked = [question for question in questions if question in prompt_tokens]
    ours = tokenizer.encode_prompts(asked)
    off = pd.Series([prompt_tokens[q] - len(ids) for q, ids in zip(asked, ours, strict=True)], dtype=int)
    return dict(Counter(off[off != 0].tolist()).most_common())


def _pairs(answers: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    return combinations([part for _, part in answers.groupby("engine", sort=False)], 2)


def _both(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Returns the questions that both answered, with the second's answers and marks as ``…_other``."""
    answered = [frame[frame["no_answer"] == ""] for frame in (first, second)]
    return answered[0].merge(answered[1][["example_id", "output", "exact"]], on="example_id", suffixes=("", "_other"))


def _tasks(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield from ((str(task), part) for task, part in frame.groupby("task", sort=False))
    yield ALL_KINDS, frame


def _counted(reasons: list[str]) -> str:
    counts = pd.Series([reason for reason in reasons if reason], dtype=str).value_counts()
    return "; ".join(f"{reason} ({count:,})" for reason, count in counts.items())
