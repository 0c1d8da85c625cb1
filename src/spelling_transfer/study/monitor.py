"""Between a trial and the records: what the objective reports goes there, whether it goes on comes from there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spelling_transfer.statistics.scores import transfer_score
from spelling_transfer.study.config import StudySettings
from spelling_transfer.study.executor import Evaluation, TrialOutcome, Verdict
from spelling_transfer.study.history import History
from spelling_transfer.study.records import ClaimLostError, RecordKind, Records, TrialRow
from spelling_transfer.study.storage import StorageError


class TrialInterruptedError(Exception):
    """The worker was asked to stop; the trial goes on another time."""


class TrialMonitor:
    """What an objective is given to report to.

    Args:
        row: The trial as it was claimed.
        records: The study's records.
        history: Optuna's view, for the pruner; ``None`` where nothing is pruned.
        settings: The study.
        folder: Where the trial keeps its checkpoints.
        stop: Set when the worker is to stop.
    """

    def __init__(
        self,
        row: TrialRow,
        records: Records,
        history: History | None,
        settings: StudySettings,
        folder: Path,
        stop: threading.Event,
    ) -> None:
        self.folder = folder
        self.checkpoint_every = settings.checkpoint_every
        self._row = row
        self._records = records
        self._history = history
        self._settings = settings
        self._stop = stop
        self._lost = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[RecordKind, Mapping[str, Any]]] = []
        self._step = row.step
        self._began = time.monotonic()
        self._known = {
            int(each["step"]): each for each in records.records("evaluation", [row.number]).get(row.number, [])
        }

    @property
    def curve(self) -> list[Evaluation]:
        """The evaluations recorded so far, by earlier attempts too."""
        return [_evaluation(self._known[step]) for step in sorted(self._known)]

    @property
    def seconds(self) -> float:
        """Seconds spent on the trial, over all attempts."""
        return self._row.seconds + time.monotonic() - self._began

    def __call__(self, evaluation: Evaluation) -> Verdict:
        """Records an evaluation and says whether to go on; a step that is recorded already keeps its verdict."""
        if known := self._known.get(evaluation.step):
            return known["verdict"]  # type: ignore[no-any-return]
        scored = scored_row(evaluation, self._settings)
        verdict, attrs = self._judge(evaluation.step, scored["transfer_score"])
        scored["verdict"] = verdict
        self._step = evaluation.step
        # One transaction: a trial killed here was either not scored at this step, or scored and judged.
        changed: dict[str, Any] = {} if attrs is None else {"attrs": attrs}
        self._write([("evaluation", scored)], **changed)
        self._known[evaluation.step] = scored
        return verdict

    def progress(self, step: int) -> None:
        """Takes note of a finished step.

        Raises:
            TrialInterruptedError: The worker is to stop.
            ClaimLostError: The trial belongs to another worker by now.
        """
        self._step = step
        if self._lost:
            raise ClaimLostError(f"trial {self._row.number}")
        if step % self.checkpoint_every == 0:
            self._write()  # before the checkpoint: what it will not report again must be recorded
        if self._stop.is_set():
            raise TrialInterruptedError

    def metrics(self, row: Mapping[str, float]) -> None:
        """Takes a row of metrics, with its ``step``."""
        with self._lock:
            self._waiting.append(("metrics", dict(row)))

    def beat(self) -> None:
        """Says that the worker lives and how far it is; called from a thread of its own."""
        try:
            self._write(wait=False)
        except ClaimLostError:
            self._lost = True
        except StorageError:
            return  # the next evaluation waits for the storage; a heartbeat may be missed

    def finish(self, outcome: TrialOutcome, adapter: str = "") -> None:
        """Records that the trial has ended."""
        missing = [each for each in outcome.curve if each.step not in self._known]
        self._step = outcome.steps
        self._write(
            [("evaluation", {**scored_row(each, self._settings), "verdict": outcome.verdict}) for each in missing],
            state=outcome.verdict,
            loss=outcome.final_loss,
            adapter=adapter,
            error="",
        )

    def fail(self, error: str) -> None:
        """Records that the trial cannot be trained."""
        self._write(state="failed", error=error)

    def let_go(self, error: str = "") -> None:
        """Records that the trial can be taken up by another worker."""
        self._write(state="waiting", error=error)

    def _write(
        self, records: Sequence[tuple[RecordKind, Mapping[str, Any]]] = (), *, wait: bool = True, **values: Any
    ) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        try:
            self._records.write(
                self._row,
                records=[*waiting, *records],
                wait=wait,
                step=max(self._step, self._row.step),
                seconds=self.seconds,
                **values,
            )
        except BaseException:
            with self._lock:
                self._waiting = waiting + self._waiting
            raise

    def _judge(self, step: int, score: float) -> tuple[Verdict, dict[str, Any] | None]:
        attrs = None
        if self._history is not None:
            number = self._row.number
            follow_records(self._history, self._records)
            hopeless = self._history.is_hopeless(number, step, score)
            attrs = self._history.attrs(number)
            if hopeless:
                return "pruned", attrs
        patience = self._settings.patience
        if patience is not None:
            scores = [float(self._known[each]["transfer_score"]) for each in sorted(self._known) if each < step]
            if _without_gain([*scores, score]) >= patience:
                return "stopped", attrs
        return "complete", attrs


def follow_records(history: History, records: Records) -> None:
    """Shows Optuna what the records hold."""
    history.follow(records.trials(), lambda numbers: records.records("evaluation", numbers))


def scored_row(evaluation: Evaluation, settings: StudySettings) -> dict[str, Any]:
    """Returns an evaluation as a row with its transfer score."""
    score = transfer_score(evaluation.spelling, evaluation.position, evaluation.count, settings.weights)
    return {**asdict(evaluation), "transfer_score": float(score)}


def _evaluation(row: Mapping[str, Any]) -> Evaluation:
    return Evaluation(int(row["step"]), row["spelling"], row["position"], row["count"], row.get("marks", ""))


def _without_gain(scores: Sequence[float]) -> int:
    """Returns how many scores at the end are no better than the best before them."""
    best, without = float("-inf"), 0
    for score in scores:
        without = 0 if score > best else without + 1
        best = max(best, score)
    return without


class Heartbeat:
    """Calls a function every so often from a thread, until the block ends."""

    def __init__(self, call: Callable[[], None], every_seconds: float) -> None:
        self._call = call
        self._every = every_seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def _run(self) -> None:
        while not self._end.wait(self._every):
            self._call()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
