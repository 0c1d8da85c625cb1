"""Asks a model the questions of a public benchmark in both forms, marks the answers, and sums them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import pandas as pd

from spelling_transfer.bench.base import (
    FORMS,
    BenchError,
    Item,
    PublicSet,
    is_right_leniently,
    read_leniently,
)
from spelling_transfer.evaluation.kept_answers import GREEDY
from spelling_transfer.evaluation.strata import NO_SEED
from spelling_transfer.evaluation.verdict_parts import plain_row
from spelling_transfer.models.generate import Sampling, generate_answers
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.progress import progress_bar
from spelling_transfer.statistics.intervals import CONFIDENCE, clustered_wilson_interval
from spelling_transfer.statistics.paired import paired_difference
from spelling_transfer.tasks.base import Example
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import key_of

ALL_KINDS = "all"
_UNKNOWN_TOKENS = "it holds tokens that this model, trimmed to some words, does not have"

Answers = Sequence[tuple[str, bool] | str]
"""The answer to each question and whether it ended by itself; where there is none to be scored, why."""
DRAWN = "drawn by the policy's sampling"


class Answerer(Protocol):
    """What answers questions."""

    @property
    def decoding(self) -> str:
        """How tokens are chosen: ``greedy``, or how they are drawn. Of an endpoint known once it has answered."""

    def __call__(self, questions: Sequence[str], prefills: Sequence[str]) -> Answers:
        """Answers questions, each beginning with what is given for it."""


def seed_of(question: str) -> int:
    """Returns the seed of a drawn answer: each question has its own, and every engine the same for it."""
    return key_of("seed", question) % 2**31


class LocalAnswerer:
    """Lets a model in memory answer in non-thinking mode.

    A question that holds a token the model does not have (a trimmed vocabulary) is not asked.

    Args:
        generate: Returns the token ids of the answers to prompts; takes ``progress``, and ``seeds`` where it draws.
        vocabulary: The tokens that the model has.
        tokenizer: Its tokenizer.
        max_new_tokens: Longest answer, in tokens, as ``generate`` has it.
        name: Whose answers a progress bar counts.
        decoding: How ``generate`` chooses tokens.
    """

    def __init__(
        self,
        generate: Callable[..., list[list[int]]],
        vocabulary: Vocabulary,
        tokenizer: ChatTokenizer,
        *,
        max_new_tokens: int,
        name: str,
        decoding: str = GREEDY,
    ) -> None:
        self.decoding = decoding
        self._generate, self._vocabulary, self._tokenizer = generate, vocabulary, tokenizer
        self._max_new_tokens, self._name = max_new_tokens, name

    def __call__(self, questions: Sequence[str], prefills: Sequence[str]) -> Answers:
        """Returns the answers."""
        begun = self._tokenizer.encode_texts(prefills)
        prompts = [
            prompt + start for prompt, start in zip(self._tokenizer.encode_prompts(questions), begun, strict=True)
        ]
        askable = [len(self._vocabulary.known_rows(prompt)) == len(prompt) for prompt in prompts]
        asked = [prompt for prompt, may in zip(prompts, askable, strict=True) if may]
        options: dict[str, Any] = {}
        if self.decoding != GREEDY:
            options["seeds"] = [seed_of(question) for question, may in zip(questions, askable, strict=True) if may]
        with progress_bar(f"Answers of {self._name}", total=len(asked)) as advance:
            found = self._generate(asked, progress=advance, **options)
        given = iter((self._tokenizer.decode(ids), len(ids) < self._max_new_tokens) for ids in found)
        return [next(given) if may else _UNKNOWN_TOKENS for may in askable]


def local_answerer(
    loaded: LoadedModel,
    tokenizer: ChatTokenizer,
    *,
    max_new_tokens: int,
    batch_size: int | None,
    name: str,
    sampling: Sampling | None = None,
    allowed_ids: Sequence[int] | None = None,
) -> LocalAnswerer:
    """Returns what lets a model answer by our engine: greedily as the evaluation does, or drawn where said how.

    Args:
        loaded: The model.
        tokenizer: Its tokenizer.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Questions that run side by side.
        name: Whose answers a progress bar counts.
        sampling: How to draw.
        allowed_ids: Tokens that an answer may hold; ``None`` allows all but the think tags.
    """
    return LocalAnswerer(
        partial(
            generate_answers,
            loaded,
            tokenizer,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            sampling=sampling,
            allowed_ids=allowed_ids,
        ),
        loaded.vocabulary,
        tokenizer,
        max_new_tokens=max_new_tokens,
        name=name,
        decoding=GREEDY if sampling is None else DRAWN,
    )


def ask(public_set: PublicSet, items: Sequence[Item], answer: Answerer) -> tuple[pd.DataFrame, dict[str, int]]:
    """Asks the questions as their authors have them and as our tasks do, and marks the answers.

    Args:
        public_set: The set; it marks what its authors ask.
        items: Its questions.
        answer: What answers.

    Returns:
        One row an answer: ``item_id``, ``kind``, ``form``, ``text``, ``question``, ``answer``, ``output``, ``ended``,
        ``correct`` (as the authors mark; in our form exact), ``lenient`` (read by our readers), ``invalid`` (nothing
        could be read) and ``read``. And how many questions got no answer to score, by form and reason.

    Raises:
        BenchError: No question got an answer.
    """
    rows: list[dict[str, Any]] = []
    left_out: dict[str, int] = {}
    for form in FORMS:
        forms = [(item, item if form == "authors" else item.ours) for item in items]
        asked = [(item, put) for item, put in forms if put is not None]
        prefills = [item.prefill if form == "authors" else "" for item, _ in asked]
        answers = answer([put.question for _, put in asked], prefills)
        for (item, put), given in zip(asked, answers, strict=True):
            if isinstance(given, str):
                left_out[f"{form}: {given}"] = left_out.get(f"{form}: {given}", 0) + 1
                continue
            output, ended = given
            rows.append(
                {
                    "item_id": item.item_id,
                    "kind": item.kind,
                    "form": form,
                    "text": item.text,
                    "question": put.question,
                    "answer": put.answer,
                    "output": output,
                    "ended": ended,
                    **_marks(public_set, put, output),
                }
            )
    if not rows:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in left_out.items())
        raise BenchError(f"{public_set.name}: none of its {len(items)} questions got an answer to score: {reasons}.")
    return pd.DataFrame(rows), left_out


def _marks(public_set: PublicSet, put: Item | Example, output: str) -> dict[str, Any]:
    if isinstance(put, Example):
        mark = load_tasks()[put.task].mark(put, output)
        return {"correct": mark.exact, "lenient": mark.lenient, "invalid": mark.invalid, "read": mark.read}
    correct, read = public_set.mark(put, output), read_leniently(put, output)
    return {
        "correct": correct,
        "lenient": correct or is_right_leniently(put, read),
        "invalid": not correct and read is None,
        "read": read or "",
    }


def first_of_each_kind(items: Sequence[Item], count: int | None) -> list[Item]:
    """Returns the first so many questions of each kind; all of them without a count."""
    kinds = pd.Series([item.kind for item in items], dtype=str)
    places = kinds.groupby(kinds).cumcount()
    return [item for item, place in zip(items, places, strict=True) if count is None or place < count]


def score(answers: pd.DataFrame, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Sums up answers by arm, kind of question and form, over all items and over the clean ones.

    Args:
        answers: Rows of ``ask`` with ``arm``, ``seed``, ``seen`` and ``family``.
        confidence: Confidence level of the intervals.

    Returns:
        One row an arm, seed, form, kind (``all`` where there are several) and items (``all``, ``clean``): ``n``,
        ``correct`` with ``low`` and ``high``, ``lenient``, ``invalid`` as shares; NaN where there is no item.
    """
    rows: list[dict[str, Any]] = []
    for (arm, seed, form), part in answers.groupby(["arm", "seed", "form"], sort=False):
        for kind, of_kind in _kinds(part):
            for items, some in (("all", of_kind), ("clean", of_kind[of_kind["seen"] == ""])):
                low, high = clustered_wilson_interval(some["correct"], some["family"], confidence=confidence)
                shares: dict[str, Any] = {
                    name: float(some[name].mean()) if len(some) else float("nan") for name in _SHARES
                }
                named = {"arm": arm, "seed": seed, "form": form, "kind": kind, "items": items, "n": len(some)}
                rows.append({**named, **shares, "low": low, "high": high})
    return pd.DataFrame(rows)


_SHARES = ("correct", "lenient", "invalid")


def differences(
    answers: pd.DataFrame, reference: str, *, confidence: float = CONFIDENCE, seed_spread: float = 0.0
) -> pd.DataFrame:
    """Compares each arm with a reference on the same items, paired, all kinds together.

    Args:
        answers: As for ``score``.
        reference: The arm that the others are compared with.
        confidence: Confidence level of the intervals.
        seed_spread: Assumed standard deviation of a training seed's effect, where an arm has fewer than three.

    Returns:
        One row an arm, form and items (``all``, ``clean``): ``n``, ``difference`` of the shares of right answers with
        ``low``, ``high`` and ``p_value``; empty where there is no other arm.
    """
    rows = []
    for items, some in (("all", answers), ("clean", answers[answers["seen"] == ""])):
        for form, part in some.groupby("form", sort=False):
            families = part.drop_duplicates("item_id").set_index("item_id")["family"]
            grids = {
                arm: of_arm.pivot(index="item_id", columns="seed", values="correct").reindex(families.index)
                for arm, of_arm in part.groupby("arm", sort=False)
            }
            for arm in grids if reference in grids else ():
                both = grids[reference].notna().all(axis=1) & grids[arm].notna().all(axis=1)
                if arm == reference or not both.any():
                    continue
                first, second = (grids[each][both].to_numpy(dtype=bool).T for each in (reference, arm))
                spreads = [0.0 if (grids[each].columns == NO_SEED).all() else seed_spread for each in (reference, arm)]
                found = paired_difference(
                    first, second, families[both].to_numpy(), spreads=(spreads[0], spreads[1]), confidence=confidence
                )
                low, high = found.interval
                named = {"arm": arm, "reference": reference, "form": form, "items": items, "n": found.n}
                rows.append(
                    {**named, "difference": found.difference, "low": low, "high": high, "p_value": found.p_value}
                )
    return pd.DataFrame(rows)


def _kinds(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    kinds = [(str(kind), of_kind) for kind, of_kind in part.groupby("kind", sort=True)]
    return [*kinds, (ALL_KINDS, part)] if len(kinds) > 1 else kinds


def as_documents(frame: pd.DataFrame) -> list[Mapping[str, Any]]:
    """Returns a frame's rows as plain values for JSON, without NaN."""
    return [plain_row(row) for row in frame.to_dict(orient="records")]
