"""Between a trial and the records: what the objective reports goes there, whether it continues comes from there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spelling_transfer.statistics.scores import transfer_score
from spelling_transfer.study.config import StudySettings
from spelling_transfer.study.interfaces import Evaluation, TrialOutcome, Verdict, evaluation_of
from spelling_transfer.study.plan import StudyPlan
from spelling_transfer.study.records import ClaimLostError, RecordKind, Records, TrialRow
from spelling_transfer.study.selection import selection_score
from spelling_transfer.study.storage import StorageError

if TYPE_CHECKING:
    from spelling_transfer.study.samplers import History

_LOGGER = logging.getLogger(__name__)


class TrialInterruptedError(Exception):
    """The worker was asked to stop; the trial is resumed another time."""


class TrialMonitor:
    """What an objective is given to report to.

    Args:
        row: The trial as it was claimed.
        records: The study's records.
        history: What Optuna knows of the study, for the pruner; ``None`` where nothing is pruned.
        plan: The study.
        stop: Set when the worker is to stop.
    """

    def __init__(
        self, row: TrialRow, records: Records, history: History | None, plan: StudyPlan, stop: threading.Event
    ) -> None:
        self.folder = plan.trial_folder(row.number)
        self.checkpoint_every = plan.settings.checkpoint_every
        self._row = row
        self._records = records
        self._history = history
        self._settings = plan.settings
        self._stop = stop
        self._lost = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[RecordKind, Mapping[str, Any]]] = []
        self._step = row.step
        self._began = time.monotonic()
        known = records.steps("evaluation", [row.number]).get(row.number, [])
        self._known: dict[int, Mapping[str, Any]] = {int(each["step"]): each for each in known}

    @property
    def curve(self) -> list[Evaluation]:
        """The evaluations recorded so far, by earlier attempts too."""
        return [evaluation_of(self._known[step]) for step in sorted(self._known)]

    @property
    def seconds(self) -> float:
        """Seconds spent on the trial, over all attempts."""
        return self._row.seconds + time.monotonic() - self._began

    def __call__(self, evaluation: Evaluation) -> Verdict:
        """Records an evaluation and says whether to continue; a step that is recorded already keeps its verdict."""
        if known := self._known.get(evaluation.step):
            return known["verdict"]  # type: ignore[no-any-return]
        scored = scored_row(evaluation, self._settings)
        verdict, attrs = self._judge(evaluation.step, scored["selection_score"])
        scored["verdict"] = verdict
        self._step = evaluation.step
        # One transaction: a trial killed here was either not scored at this step, or scored and judged.
        self._write([("evaluation", scored)], **attrs)
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

    def heartbeat(self) -> None:
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

    def release(self, error: str = "") -> None:
        """Records that the trial can be resumed by another worker."""
        self._write(state="waiting", error=error)

    def _write(
        self, steps: Sequence[tuple[RecordKind, Mapping[str, Any]]] = (), *, wait: bool = True, **values: Any
    ) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        try:
            self._records.write(
                self._row,
                steps=[*waiting, *steps],
                wait=wait,
                step=max(self._step, self._row.step),
                seconds=self.seconds,
                **values,
            )
        except BaseException:
            with self._lock:
                self._waiting = waiting + self._waiting
            raise

    def _judge(self, step: int, score: float) -> tuple[Verdict, dict[str, Any]]:
        """Returns the verdict on an evaluation, and what of the trial's row it changes."""
        changed: dict[str, Any] = {}
        if self._history is not None:
            hopeless = self._history.is_hopeless(self._row.number, step, score)
            changed["attrs"] = self._history.attrs(self._row.number)
            if hopeless:
                return "pruned", changed
        patience = self._settings.patience
        if patience is not None:
            scores = [float(self._known[each]["selection_score"]) for each in sorted(self._known) if each < step]
            scores.append(score)
            if len(scores) - 1 - scores.index(max(scores)) >= patience:  # so many since the best
                return "stopped", changed
        return "complete", changed


def scored_row(evaluation: Evaluation, settings: StudySettings) -> dict[str, Any]:
    """Returns an evaluation as a row with its transfer score, and with the score that trials are ranked by."""
    scores = evaluation.spelling, evaluation.position, evaluation.count
    return {
        **asdict(evaluation),
        "transfer_score": float(transfer_score(*scores, settings.weights)),
        "selection_score": float(selection_score(*scores, settings.select_by, settings.weights)),
    }


@contextmanager
def repeating(call: Callable[[], None], every_seconds: float) -> Iterator[None]:
    """Calls a function every so often from a thread of its own, until the block ends.

    A call that fails does not end the others; the first such error is logged.
    """
    end = threading.Event()

    def run() -> None:
        has_failed = False
        while not end.wait(every_seconds):
            try:
                call()
            except Exception as error:  # noqa: BLE001  (the next call may succeed)
                if not has_failed:
                    name = getattr(call, "__qualname__", repr(call))
                    _LOGGER.warning("%s failed and is tried again: %s: %s", name, type(error).__name__, error)
                has_failed = True

    thread = threading.Thread(target=run, name="repeating", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
