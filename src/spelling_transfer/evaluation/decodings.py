"""Other ways of choosing the tokens of an answer, beside the most likely ones that every claim rests on.

``policy_sampling`` draws with the values of the project's policy, which the endpoint is held to, ``advised_sampling``
with the temperature and top-p that Qwen's model card gives for non-thinking mode
(https://huggingface.co/Qwen/Qwen3-4B, "Best Practices"). ``english_subset`` takes the most likely token of the English
subset. Each draw has a seed of its own, so an answer does not depend on the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.kept_answers import GREEDY, Respondent, Way
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.evaluation.settings import Decoding, EvaluationSettings
from spelling_transfer.models.generate import Sampling
from spelling_transfer.progress import progress_bar
from spelling_transfer.statistics.contrast import contrast, family_values
from spelling_transfer.statistics.intervals import NO_INTERVAL, t_interval, wilson_interval
from spelling_transfer.tasks.arms import BASE, FORM_CONTROL, SPELLING_ARM
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import key_of

DECODED_ARMS = (BASE, SPELLING_ARM, FORM_CONTROL)
"""Arms whose answers are decoded in other ways: of each the first seed, asked the core tasks on held-out words."""
ADVISED = {"temperature": 0.7, "top_p": 0.8}
_MEASURED = ("seconds", "candidates", "head_mb", "peak_mb")


def way_of(
    decoding: Decoding, max_new_tokens: int, english_ids: Sequence[int], policy_sampling: Sampling | None
) -> Way:
    """Returns how answers are given under a decoding.

    Args:
        decoding: Its name.
        max_new_tokens: Longest answer.
        english_ids: Token ids of the English subset.
        policy_sampling: The values of the project's policy.

    Raises:
        EvaluationError: The English subset, or the policy's sampling, is asked for and not known.
    """
    if decoding == "english_subset":
        if not len(english_ids):
            raise EvaluationError(
                "evaluation.decodings: english_subset needs the subset, and there is none. Run 'kedro run "
                "--pipelines=token_analysis' first, or take it out."
            )
        return Way(decoding, max_new_tokens, allowed_ids=tuple(int(token) for token in english_ids))
    if policy_sampling is None:
        raise EvaluationError(f"evaluation.decodings: {decoding} needs the sampling values of conf/base/policy.yml.")
    changed = ADVISED if decoding == "advised_sampling" else {}
    return Way(decoding, max_new_tokens, sampling=policy_sampling.model_copy(update=changed))


def answers_by_decoding(
    sample: pd.DataFrame,
    prompts: list[list[int]],
    settings: EvaluationSettings,
    english_ids: Sequence[int],
    policy_sampling: Sampling | None,
    *,
    respondent: Respondent,
    arm: str,
    seed: int,
    tokenizer: ChatTokenizer,
) -> pd.DataFrame:
    """Lets an arm answer questions under each decoding of the settings, and greedily.

    Args:
        sample: The examples asked.
        prompts: The prompt of each, token ids.
        settings: Which decodings, and how many draws a question.
        english_ids: Token ids of the English subset.
        policy_sampling: The values of the project's policy.
        respondent: The arm.
        arm: Its name.
        seed: The seed that it was trained with.
        tokenizer: Decodes the answers.

    Returns:
        One row a decoding, question and draw: ``arm``, ``seed``, ``decoding``, ``draw``, ``output``, what the question
        is, and ``key``, ``seconds``, ``candidates``, ``head_mb``, ``peak_mb`` (see ``Respondent.answer``). No rows
        where no decoding is asked for.
    """
    about = ["example_id", "task", "word", "stem", "question", "answer", "argument", "separator"]
    ways = [way_of(decoding, settings.max_new_tokens, english_ids, policy_sampling) for decoding in settings.decodings]
    columns = ("arm", "seed", "decoding", "draw", "output", "key", *_MEASURED)
    frames = [sample[about].iloc[:0].assign(**{name: [] for name in columns})]
    for way in [Way(GREEDY, settings.max_new_tokens), *ways] if ways else []:
        draws = settings.samples if way.sampling is not None else 1
        asked = sample.loc[sample.index.repeat(draws), about].assign(draw=np.tile(np.arange(draws), len(sample)))
        seeds = None
        if way.sampling is not None:
            pairs = zip(asked["example_id"], asked["draw"], strict=True)
            seeds = [
                key_of(f"draw {settings.seed}", f"{example}/{draw}") % 2**63 for example, draw in pairs
            ]  # fmt: skip
        repeated = [prompt for prompt in prompts for _ in range(draws)]
        with progress_bar(f"Answers of {arm}, {way.name}", total=len(repeated)) as advance:
            notes = {"arm": arm, "seed": seed}
            answers = respondent.answer(repeated, way, seeds=seeds, notes=notes, progress=advance)
        output = [tokenizer.decode(ids) for ids in answers["ids"]]
        facts = {name: answers[name].to_numpy() for name in ("key", *_MEASURED)}
        frames.append(asked.assign(arm=arm, seed=seed, decoding=way.name, output=output, **facts))
    return pd.concat(frames[1:] or frames, ignore_index=True)


def compare_decodings(marked: pd.DataFrame, *, confidence: float) -> pd.DataFrame:
    """Compares the decodings of each arm and task with its greedy answers.

    Draws are averaged by question, and questions by word family: the interval is Student's over families, of one answer
    a question Wilson's; that of the difference is the paired one of ``contrast``.

    Args:
        marked: What ``answers_by_decoding`` returns, with ``exact``.
        confidence: Confidence level of the intervals.

    Returns:
        One row an arm, seed, decoding and task: ``n`` questions, ``draws`` of each, ``families``, ``exact_match`` with
        ``low`` and ``high``, ``difference`` from greedy with ``difference_low`` and ``difference_high`` (none of greedy
        itself), ``changed`` (share of answers that are not the greedy one), ``gained`` and ``lost`` (share of answers
        that are right where greedy is wrong, and the other way), ``answers_per_second``, ``candidates``, ``head_mb``
        and ``peak_mb``.
    """
    rows = [
        {"arm": arm, "seed": seed, "decoding": decoding, "task": task, **_compare(part, greedy, confidence)}
        for (arm, seed, task), of_task in marked.groupby(["arm", "seed", "task"], sort=False)
        for greedy in [of_task[of_task["decoding"] == GREEDY].set_index("example_id")]
        for decoding, part in of_task.groupby("decoding", sort=False)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


COLUMNS = (
    *("arm", "seed", "decoding", "task", "n", "draws", "families", "exact_match", "low", "high"),
    *("difference", "difference_low", "difference_high", "changed", "gained", "lost"),
    *("answers_per_second", "candidates", "head_mb", "peak_mb"),
)


def changed_answers(marked: pd.DataFrame) -> pd.DataFrame:
    """Returns each answer that differs from the greedy one: arm, decoding, question, both answers and their marks."""
    keys = ["arm", "seed", "example_id"]
    greedy = marked.loc[marked["decoding"] == GREEDY, [*keys, "output", "exact"]]
    both = marked[marked["decoding"] != GREEDY].merge(greedy, on=keys, suffixes=("", "_greedy"))
    both = both[both["output"] != both["output_greedy"]]
    named = ["arm", "decoding", "task", "question", "answer", "output_greedy", "output", "exact_greedy", "exact"]
    return both[named].reset_index(drop=True)


def _compare(part: pd.DataFrame, greedy: pd.DataFrame, confidence: float) -> dict[str, Any]:
    right = part.groupby("example_id", sort=False)["exact"].mean()
    before = greedy.reindex(right.index)
    families = before["stem"].to_numpy()
    (values, sizes), (greedy_values, _) = (
        family_values(each.to_numpy(dtype=float), families) for each in (right, before["exact"])
    )
    low, high = t_interval(values[0], confidence=confidence)
    # One answer a question makes a share, with the interval that it has in the scores; so do all right or all wrong.
    if len(part) == len(right) or math.isnan(low):
        low, high = wilson_interval(round(right.mean() * len(sizes)), len(sizes), confidence=confidence)
    paired = contrast([greedy_values, values], [-1.0, 1.0], sizes).interval(confidence)
    paired = NO_INTERVAL if part["decoding"].iloc[0] == GREEDY else paired
    of_answer = greedy.loc[part["example_id"]]
    was_right, is_right = of_answer["exact"].to_numpy(dtype=bool), part["exact"].to_numpy(dtype=bool)
    same = part["output"].to_numpy() == of_answer["output"].to_numpy()
    seconds = float(part["seconds"].sum())
    return {
        "n": len(right),
        "draws": len(part) // len(right),
        "families": len(sizes),
        "exact_match": float(right.mean()),
        "low": max(low, 0.0),
        "high": min(high, 1.0),
        "difference": float(right.mean() - before["exact"].mean()),
        "difference_low": paired.low,
        "difference_high": paired.high,
        "changed": float(1 - same.mean()),
        "gained": float((is_right & ~was_right).mean()),
        "lost": float((was_right & ~is_right).mean()),
        "answers_per_second": len(part) / seconds if seconds else float("nan"),
        "candidates": int(part["candidates"].max()),
        "head_mb": float(part["head_mb"].max()),
        "peak_mb": float(part["peak_mb"].max()),
    }
