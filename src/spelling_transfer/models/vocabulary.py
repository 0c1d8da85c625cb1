"""Token ids of the tokenizer against rows of the embedding: the same for a full model, a map for a trimmed one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spelling_transfer.errors import SpellingTransferError

TOKEN_IDS_FILE = "token_ids.json"
"""In a trimmed model's folder: the token id of each embedding row."""
ALLOWED_IDS_FILE = "allowed_token_ids.json"
"""In a deployable: the token ids an answer may hold."""


class UnknownTokenError(SpellingTransferError):
    """A text needs a token that the trimmed model does not have."""


class Vocabulary:
    """Maps token ids to embedding rows and back.

    A full model has a row for every id. A trimmed model keeps the rows of the ids in use; the rest of the project
    speaks of token ids only.

    Args:
        token_ids: The token id of each row, ascending; ``None`` for a full model.
        n_rows: Number of embedding rows.
    """

    def __init__(self, token_ids: np.ndarray | None, n_rows: int) -> None:
        self.n_rows = n_rows
        self.token_ids = token_ids
        if token_ids is not None:
            if len(token_ids) != n_rows or (np.diff(token_ids) <= 0).any():
                raise SpellingTransferError(
                    f"{TOKEN_IDS_FILE}: {len(token_ids)} ids for {n_rows} rows; expected one ascending id a row."
                )
            self._row_of = np.full(int(token_ids[-1]) + 1, -1, dtype=np.int64)
            self._row_of[token_ids] = np.arange(n_rows)

    @classmethod
    def of_folder(cls, folder: Path, n_rows: int) -> Vocabulary:
        """Reads the map of a model folder; a folder without one holds a full model."""
        file = folder / TOKEN_IDS_FILE
        if not file.is_file():
            return cls(None, n_rows)
        return cls(np.asarray(json.loads(file.read_text()), dtype=np.int64), n_rows)

    def to_rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the row of each id.

        Raises:
            UnknownTokenError: An id has no row in this model.
        """
        ids = np.asarray(ids, dtype=np.int64)
        if self.token_ids is None:
            if ids.size and (ids.min() < 0 or ids.max() >= self.n_rows):
                raise UnknownTokenError(
                    f"Token id {ids.max()} is outside the model's {self.n_rows} rows, so it is another tokenizer's. "
                    "Give the environment the model's own, as conf/smollm2/catalog/shared.yml does."
                )
            return ids
        inside = (ids >= 0) & (ids < len(self._row_of))
        rows = np.where(inside, self._row_of[np.where(inside, ids, 0)], -1)
        if (rows < 0).any():
            missing = sorted(set(ids[rows < 0].tolist()))
            raise UnknownTokenError(
                f"{len(missing)} token ids are not in this model's trimmed vocabulary of {self.n_rows} "
                f"(first: {missing[:5]}). Use words of the prepared list, or a model with the full vocabulary."
            )
        return rows

    def known_rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the rows of those ids that the model has, the others left out."""
        ids = np.asarray(ids, dtype=np.int64)
        if self.token_ids is None:
            return ids[(ids >= 0) & (ids < self.n_rows)]
        ids = ids[(ids >= 0) & (ids < len(self._row_of))]
        rows: np.ndarray = self._row_of[ids]
        return rows[rows >= 0]

    def to_ids(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the token id of each row."""
        rows = np.asarray(rows, dtype=np.int64)
        if self.token_ids is None:
            return rows
        ids: np.ndarray = self.token_ids[rows]
        return ids


def until_end(rows: list[int], end_row: int) -> list[int]:
    """Returns the rows of an answer before the first end."""
    return rows[: rows.index(end_row)] if end_row in rows else rows
