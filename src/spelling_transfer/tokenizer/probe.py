"""What a token's embedding tells of its letters: a cross-validated linear probe beside one with shuffled labels.

A linear probe that reads letters from embeddings shows what a model knows of spelling before any training
(Kaushal and Mahowald 2022, "What do tokens know about their characters?", NAACL). Its control has the same inputs and
shuffled labels (Hewitt and Liang 2019, "Designing and interpreting probes with control tasks", EMNLP): what it
reaches needs no knowledge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.statistics import Bootstrap, percentile_interval
from spelling_transfer.statistics.probes import PENALTIES, read_linearly

TARGETS = ("first letter", "last letter", "length", "letter set")

_N_LETTERS = 26


class LetterProbeError(SpellingTransferError):
    """There is nothing that a probe could be fitted to."""


class LetterProbe(FrozenModel):
    """How the probe is fitted."""

    enabled: bool = Field(True, description="Whether to probe at all; the rest of the analysis does not need it.")
    max_tokens: int = Field(4_000, ge=100, le=200_000, description="Most tokens that are probed, drawn at random.")
    folds: int = Field(5, ge=2, le=20, description="Parts of the cross-validation; tokens of equal letters share one.")
    ridge_penalties: tuple[float, ...] = Field(
        PENALTIES, min_length=1, description="Ridge penalties; each letter has the best one of each training part."
    )
    resamples: int = Field(500, ge=100, le=100_000, description="Bootstrap resamples of the intervals.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the draw, the shuffle and the bootstrap.")


@dataclass(frozen=True)
class _Labels:
    """Letters of tokens: places of first and last letter, length, and which letters occur, ``(tokens, 26)``."""

    first: np.ndarray
    last: np.ndarray
    length: np.ndarray
    letters: np.ndarray

    def encoded(self) -> np.ndarray:
        """Returns what the regression predicts: one column a letter or number, ``(tokens, 79)``."""
        identity = np.eye(_N_LETTERS)
        return np.concatenate([identity[self.first], identity[self.last], self.length[:, None], self.letters], axis=1)

    def shuffled(self, order: np.ndarray) -> _Labels:
        return _Labels(self.first[order], self.last[order], self.length[order], self.letters[order])


def probe_letters(
    vocabulary: pd.DataFrame, token_ids: np.ndarray, embedding: np.ndarray, settings: LetterProbe
) -> dict[str, Any]:
    """Predicts the letters of tokens from their embedding.

    Looks at tokens of at least two letters, with or without a space in front. All targets are read by one ridge
    regression: for a letter the class with the highest output is taken, the length is rounded, and of the letter set
    as many letters with the highest outputs as the token has are compared with those it has.

    Args:
        vocabulary: The table of :func:`~spelling_transfer.tokenizer.vocabulary.vocabulary_table`.
        token_ids: The token of each row of the embedding, shape ``(rows,)``; ids without a token are passed over.
        embedding: The input embedding, float, shape ``(rows, hidden)``.
        settings: How to fit.

    Returns:
        ``tokens``, ``hidden``, ``folds``, and a row for each of ``TARGETS``: ``target``, ``score`` (share right),
        ``control`` (the same with shuffled labels), ``majority`` (always the most frequent answer), ``gain`` (score
        less control) and 95% intervals ``score_low``, ``score_high``, ``gain_low``, ``gain_high`` by bootstrap over
        groups of tokens with the same letters.

    Raises:
        LetterProbeError: The embedding holds too few tokens of letters, or numbers that are not finite.
    """
    from sklearn.model_selection import GroupKFold

    rng = np.random.default_rng(settings.seed)
    rows, texts = _tokens_of_letters(vocabulary, token_ids, settings, rng)
    inputs = np.asarray(embedding[rows], dtype=np.float64)
    if not np.isfinite(inputs).all():
        raise LetterProbeError("letter probe: the embedding holds numbers that are not finite; the model is damaged.")
    labels = _labels_of(texts)
    control = labels.shuffled(rng.permutation(len(texts)))
    groups = np.unique(texts, return_inverse=True)[1]
    # One regression for both: the inputs are decomposed once a fold, whatever the number of targets.
    wanted = np.concatenate([labels.encoded(), control.encoded()], axis=1)
    outputs = np.empty_like(wanted)
    for train, test in GroupKFold(settings.folds).split(inputs, groups=groups):
        outputs[test] = read_linearly(inputs[train], wanted[train], inputs[test], settings.ridge_penalties).outputs
    half = wanted.shape[1] // 2
    right, right_control = _right(outputs[:, :half], labels), _right(outputs[:, half:], control)
    return {
        "tokens": len(texts),
        "hidden": int(inputs.shape[1]),
        "folds": settings.folds,
        "targets": [
            {"target": target, **_interval(right[target], right_control[target], groups, settings), "majority": share}
            for target, share in _majority(labels).items()
        ],
    }


def _tokens_of_letters(
    vocabulary: pd.DataFrame, token_ids: np.ndarray, settings: LetterProbe, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of the embedding whose tokens are letters, in random order, and these letters in small ones."""
    rows = np.flatnonzero(token_ids < len(vocabulary))
    described = vocabulary.take(token_ids[rows])
    texts = described["text"].str.strip().str.lower().to_numpy(dtype=object)
    of_letters = ((described["token_class"] == "letters") & (described["n_characters"] >= 2)).to_numpy(dtype=bool)
    of_letters &= np.fromiter((isinstance(text, str) and len(text) > 1 for text in texts), dtype=bool, count=len(texts))
    chosen = rng.permutation(np.flatnonzero(of_letters))[: settings.max_tokens]
    texts = texts[chosen].astype(str)
    if len(np.unique(texts)) < 10 * settings.folds:
        raise LetterProbeError(
            f"letter probe: the embedding holds {len(np.unique(texts))} tokens of two letters or more; "
            f"{10 * settings.folds} are needed. Set letter_probe.enabled to false for this model."
        )
    return rows[chosen], texts


def _labels_of(texts: np.ndarray) -> _Labels:
    letters = np.zeros((len(texts), _N_LETTERS))
    for place, text in enumerate(texts.tolist()):
        letters[place, [ord(letter) - ord("a") for letter in text]] = 1
    return _Labels(
        first=np.array([ord(text[0]) - ord("a") for text in texts.tolist()]),
        last=np.array([ord(text[-1]) - ord("a") for text in texts.tolist()]),
        length=np.array([len(text) for text in texts.tolist()]),
        letters=letters,
    )


def _right(outputs: np.ndarray, labels: _Labels) -> dict[str, np.ndarray]:
    """Returns how right each prediction is, between 0 and 1, for each target; shape ``(tokens,)``."""
    n = _N_LETTERS
    first, last, length, letters = outputs[:, :n], outputs[:, n : 2 * n], outputs[:, 2 * n], outputs[:, 2 * n + 1 :]
    n_letters = labels.letters.sum(axis=1)
    ranks = np.argsort(np.argsort(-letters, axis=1, kind="stable"), axis=1)
    hits = (labels.letters * (ranks < n_letters[:, None])).sum(axis=1)
    values = (
        first.argmax(axis=1) == labels.first,
        last.argmax(axis=1) == labels.last,
        np.rint(length) == labels.length,
        hits / n_letters,
    )
    return {target: value.astype(np.float64) for target, value in zip(TARGETS, values, strict=True)}


def _majority(labels: _Labels) -> dict[str, float]:
    frequent = np.argsort(-labels.letters.sum(axis=0), kind="stable")
    ranks = np.empty(_N_LETTERS, dtype=np.int64)
    ranks[frequent] = np.arange(_N_LETTERS)
    n_letters = labels.letters.sum(axis=1)
    in_set = (labels.letters * (ranks < n_letters[:, None])).sum(axis=1) / n_letters
    shares = [np.bincount(values).max() / len(values) for values in (labels.first, labels.last, labels.length)]
    return {target: round(float(share), 4) for target, share in zip(TARGETS, [*shares, in_set.mean()], strict=True)}


def _interval(right: np.ndarray, control: np.ndarray, groups: np.ndarray, settings: LetterProbe) -> dict[str, float]:
    n_groups = int(groups.max()) + 1
    sums = np.stack([np.bincount(groups, values, n_groups) for values in (right, control, np.ones(len(right)))])
    drawn = Bootstrap(n_resamples=settings.resamples, seed=settings.seed + 1).counts(n_groups)
    scores, controls, counts = drawn @ sums[0], drawn @ sums[1], drawn @ sums[2]
    low, high = percentile_interval(scores / counts)
    gain_low, gain_high = percentile_interval((scores - controls) / counts)
    values = {
        "score": right.mean(), "score_low": low, "score_high": high, "control": control.mean(),
        "gain": right.mean() - control.mean(), "gain_low": gain_low, "gain_high": gain_high,
    }  # fmt: skip
    return {name: round(float(value), 4) for name, value in values.items()}
