"""What was sent of a study, and under which ids: one small file in its folder, so that nothing is sent twice."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from spelling_transfer.errors import SpellingTransferError

FILE_NAME = "wandb.json"
_VERSION = 1
_STUDY = "study"


class LedgerError(SpellingTransferError):
    """The file of what was sent cannot be read or written."""


class Ledger:
    """Remembers what was sent of one study.

    The id of a run comes from a token of the study and the trial's number: the same however often it is sent, and
    another one for another study of the same name.

    Args:
        folder: The study's folder.

    Raises:
        LedgerError: The file is there but not readable.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE_NAME
        self._data: dict[str, Any] = {
            "version": _VERSION,
            "token": uuid.uuid4().hex,
            "sweep": None,
            "runs": {},
            "sent": {},
        }
        try:
            found = json.loads(self.file.read_text(encoding="utf-8"))
            if found["version"] != _VERSION:
                raise ValueError(f"version {found['version']}, this release reads {_VERSION}")
            self._data = {name: found[name] for name in self._data}
        except FileNotFoundError:
            self._write()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"{self.file}: says what Weights & Biases has of the study, and is not readable ({error!r}). Restore "
                "it; without it the study would be sent a second time, as other runs."
            ) from error

    def run_id(self, number: int | None) -> str:
        """Returns the id of a trial's run, or of the study's own where ``number`` is ``None``."""
        key = _STUDY if number is None else str(number)
        given = self._data["runs"].get(key)
        return given or hashlib.sha256(f"{self._data['token']}/{key}".encode()).hexdigest()[:12]

    @property
    def sweep(self) -> str | None:
        """The id of the sweep that chooses the trials, if one does."""
        return None if self._data["sweep"] is None else str(self._data["sweep"])

    def note_sweep(self, sweep: str) -> None:
        """Notes that a sweep chooses the trials."""
        self._data["sweep"] = sweep
        self._write()

    def sweep_of(self, number: int) -> str | None:
        """Returns the sweep that chose a trial, if one did."""
        return self.sweep if str(number) in self._data["runs"] else None

    def adopt(self, number: int, run_id: str) -> None:
        """Notes that a trial's run was made by the sweep, under an id of its own."""
        self._data["runs"][str(number)] = run_id
        self._write()

    def was_sent(self, target: str, number: int) -> bool:
        """Whether a finished trial was sent as a whole."""
        return str(number) in self._data["sent"].get(target, {})

    def sent(self, target: str, number: int) -> None:
        """Notes that a finished trial was sent as a whole."""
        self._data["sent"].setdefault(target, {})[str(number)] = True
        self._write()

    def study_sent(self, target: str) -> int:
        """Returns how many finished trials the study's own run spoke of when it was sent last."""
        return int(self._data["sent"].get(target, {}).get(_STUDY, 0))

    def note_study(self, target: str, n_finished: int) -> None:
        """Notes that the study's own run was sent."""
        self._data["sent"].setdefault(target, {})[_STUDY] = n_finished
        self._write()

    def _write(self) -> None:
        partial = self.file.with_name(f".{FILE_NAME}.{os.getpid()}.partial")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self._data, indent=2) + "\n", encoding="utf-8")
            partial.replace(self.file)
        except OSError as error:
            raise LedgerError(f"{self.file}: cannot be written ({error.strerror}).") from error
