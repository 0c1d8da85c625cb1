"""Answers that were given once are kept: an evaluation generates what is new, and an interrupted one resumes.

An answer is known by all that it depends on: the model and the adapter by their content, the type of the weights, the
prompt's tokens (so template, wording, question and all turns before it), the tokenizer, how tokens are chosen, from
which seed, among which, and how many at most. Where one of them differs it is another answer.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from spelling_transfer.models.folder import MANIFEST, ModelFolder
from spelling_transfer.models.generate import Sampling, default_batch_size, generate_answers
from spelling_transfer.models.load import LoadedModel, load_model, pick_device
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.tokenizer.chat import ChatTokenizer

_BATCHES_AT_ONCE = {"cuda": 8}
"""Batches that are asked for in one call; on a GPU answers take one another's place, and each call ends with few."""
_COLUMNS = ("key", "ids", "seconds", "candidates", "head_mb", "peak_mb")


GREEDY = "greedy"
"""The decoding of the evaluation: the most likely token each time."""


class AnswerTable(Protocol):
    """A table that grows, such as ``storage.table_parts.TableParts``."""

    def read(self) -> pd.DataFrame:
        """Returns all rows, in the order in which they were added."""

    def add(self, rows: pd.DataFrame) -> None:
        """Adds rows, at once and for good."""


@dataclass(frozen=True)
class Way:
    """How answers are given.

    Attributes:
        name: What it is called, for whoever reads where an answer came from.
        sampling: How to draw; ``None`` takes the most likely token each time.
        allowed_ids: Token ids an answer may hold; ``None`` allows all but the think tags.
    """

    name: str
    max_new_tokens: int
    sampling: Sampling | None = None
    allowed_ids: tuple[int, ...] | None = None

    def identity(self) -> dict[str, Any]:
        """Returns what the answers depend on."""
        allowed = None if self.allowed_ids is None else np.asarray(self.allowed_ids, dtype="<i8").tobytes()
        return {
            "max_new_tokens": self.max_new_tokens,
            "sampling": None if self.sampling is None else self.sampling.model_dump(),
            "subset": None if allowed is None else hashlib.sha256(allowed).hexdigest(),
        }


class KeptAnswers:
    """The answers that are known, and the table that new ones are added to: at the end of its block, if not before.

    Args:
        table: Where they are kept; ``None`` keeps them as long as this object.
        ask_again: Whether to leave aside what the table holds.
        seconds: How long new answers wait for others before they are written; a killed process loses these, and the
            call that is under way.
    """

    def __init__(self, table: AnswerTable | None = None, *, ask_again: bool = False, seconds: float = 20.0) -> None:
        self._table, self._seconds = table, seconds
        self._new: list[pd.DataFrame] = []
        self._written_at = time.monotonic()
        known = pd.DataFrame(columns=list(_COLUMNS)) if table is None or ask_again else table.read()
        if missing := set(_COLUMNS) - set(known.columns):
            known = known.assign(**dict.fromkeys(missing))[:0]
        self._known: dict[str, dict[str, Any]] = {}
        self._keep(known)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # also by an error or Ctrl-C
        self.write()

    def get(self, key: str) -> dict[str, Any] | None:
        """Returns what is known of an answer: its token ``ids``, ``seconds`` and what else was measured with it."""
        return self._known.get(key)

    def add(self, rows: pd.DataFrame) -> None:
        """Adds answers; they are written with the next ones, or by :meth:`write`."""
        self._keep(rows)
        self._new.append(rows)
        if time.monotonic() - self._written_at >= self._seconds:
            self.write()

    def write(self) -> None:
        """Writes what is not written yet."""
        if self._new and self._table is not None:
            self._table.add(pd.concat(self._new, ignore_index=True))
        self._new, self._written_at = [], time.monotonic()

    def _keep(self, rows: pd.DataFrame) -> None:
        facts = rows[list(_COLUMNS)].to_dict(orient="records")
        self._known.update({fact["key"]: {**fact, "ids": [int(token) for token in fact["ids"]]} for fact in facts})


class Respondent:
    """An arm that answers; its model is loaded once it is asked something new.

    Args:
        base_model: The model.
        adapter: The arm's adapter, if it has one.
        profile: How the model is loaded.
        tokenizer: The tokenizer.
        kept: What it has answered before.
        batch_size: Questions answered side by side; ``generate_answers`` decides where it is not said.
    """

    def __init__(
        self,
        base_model: ModelFolder,
        adapter: ModelFolder | None,
        profile: ModelProfile,
        tokenizer: ChatTokenizer,
        kept: KeptAnswers,
        *,
        batch_size: int | None = None,
    ) -> None:
        self._base, self._adapter, self._profile, self._tokenizer = base_model, adapter, profile, tokenizer
        self._kept, self._batch_size = kept, batch_size
        self._model: LoadedModel | None = None
        self._identity = {
            "model": content_sha256(base_model),
            "adapter": None if adapter is None else content_sha256(adapter),
            "dtype": profile.dtype,
            "four_bit": profile.four_bit,
            "tokenizer": tokenizer.sha256,
        }

    @property
    def loaded(self) -> LoadedModel:
        """The model, in memory."""
        if self._model is None:
            self._model = load_model(self._base, self._profile, self._adapter)
        return self._model

    def keys(self, prompts: Sequence[Sequence[int]], way: Way, seeds: Sequence[int] | None = None) -> list[str]:
        """Returns what each answer is known by, 32 hexadecimal digits."""
        common = hashlib.sha256(json.dumps({**self._identity, **way.identity()}, sort_keys=True).encode())
        found = []
        drawn_from: Sequence[int | None] = [None] * len(prompts) if seeds is None else seeds
        for prompt, seed in zip(prompts, drawn_from, strict=True):
            each = common.copy()
            each.update(f"/{seed}/".encode() + np.asarray(prompt, dtype="<i8").tobytes())
            found.append(each.hexdigest()[:32])
        return found

    def answer(
        self,
        prompts: Sequence[Sequence[int]],
        way: Way,
        *,
        seeds: Sequence[int] | None = None,
        notes: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> pd.DataFrame:
        """Answers prompts: those that are new are asked, in batches of like length that depend on all prompts.

        So an interrupted call, repeated, asks the same batches as one that was not.

        Args:
            prompts: The prompt of each question, token ids.
            way: How.
            seeds: A seed for each, where answers are drawn.
            notes: What to keep beside the answers, for whoever reads where they came from.
            progress: Called with the number of prompts done.

        Returns:
            One row a prompt: ``key``, ``ids`` (tokens of the answer, its end left out), ``seconds`` (its share of the
            call's), ``candidates`` (tokens it was chosen among), ``head_mb`` (their rows of the head, 10^6 bytes) and
            ``peak_mb`` (the most that the GPU held; missing elsewhere).
        """
        keys = self.keys(prompts, way, seeds)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        device = pick_device()
        size = (self._batch_size or default_batch_size(device)) * _BATCHES_AT_ONCE.get(device, 1)
        for start in range(0, len(order), size):
            chunk = order[start : start + size]
            asked = [i for i in chunk if self._kept.get(keys[i]) is None]
            if asked:
                chosen = None if seeds is None else [seeds[i] for i in asked]
                facts = self._ask([prompts[i] for i in asked], way, chosen, progress)
                self._kept.add(facts.assign(key=[keys[i] for i in asked], way=way.name, **(notes or {})))
            if progress is not None and len(asked) < len(chunk):
                progress(len(chunk) - len(asked))
        rows = [self._kept.get(key) for key in keys]
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    def _ask(
        self,
        prompts: list[Sequence[int]],
        way: Way,
        seeds: list[int] | None,
        progress: Callable[[int], None] | None,
    ) -> pd.DataFrame:
        import torch

        loaded = self.loaded
        cuda = loaded.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        answers = generate_answers(
            loaded,
            self._tokenizer,
            prompts,
            max_new_tokens=way.max_new_tokens,
            sampling=way.sampling,
            seeds=seeds,
            batch_size=self._batch_size,
            allowed_ids=way.allowed_ids,
            progress=progress,
        )
        seconds = (time.perf_counter() - started) / len(prompts)
        head = loaded.model.get_output_embeddings().weight
        candidates = len(head)
        if way.allowed_ids is not None:
            candidates = len(loaded.vocabulary.known_rows([*way.allowed_ids, self._tokenizer.end_id]))
        return pd.DataFrame(
            {
                "ids": answers,
                "seconds": seconds,
                "candidates": candidates,
                "head_mb": round(candidates * head.shape[-1] * head.element_size() / 1e6, 3),
                "peak_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1) if cuda else float("nan"),
                "device": torch.cuda.get_device_name() if cuda else loaded.device.type,
                "threads": torch.get_num_threads(),
                **{name: value for name, value in self._identity.items() if name in ("model", "adapter", "dtype")},
            }
        )


def content_sha256(folder: ModelFolder) -> str:
    """Returns a hash of all that a folder holds: that of its manifest, which has those of its files, or of each file.

    Where there is no manifest, ``ModelFolder.sha256`` does not read all of it.
    """
    if (folder.path / MANIFEST).is_file():
        return folder.sha256
    whole = hashlib.sha256()
    for file in sorted(folder.path.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder.path).parts):
            with file.open("rb") as stream:
                whole.update(f"{file.relative_to(folder.path)}\n".encode())
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def origins(answers: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Returns where answers came from: one row an arm, seed and run.

    Args:
        answers: The answers, with their ``key``.
        kept: The table of kept answers.

    Returns:
        ``arm``, ``seed``, ``run_id``, ``by``, ``version``, ``device``, ``n`` (answers), ``first`` and ``last`` (when
        they were written, UTC). Answers that are not on record have an empty ``run_id``.
    """
    facts = ["run_id", "by", "version", "device"]
    if kept.empty:
        kept = pd.DataFrame(columns=["key", "saved_at", *facts])
    latest = kept.drop_duplicates("key", keep="last")[["key", "saved_at", *facts]]
    joined = answers[["arm", "seed", "key"]].merge(latest, on="key", how="left")
    joined[["saved_at", *facts]] = joined[["saved_at", *facts]].fillna("")
    grouped = joined.groupby(["arm", "seed", *facts], sort=False)["saved_at"]
    return grouped.agg(n="size", first="min", last="max").reset_index()
