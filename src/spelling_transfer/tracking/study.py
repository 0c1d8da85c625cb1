"""A study that is tracked: watched by Weights & Biases, or chosen by one of its sweeps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.executor import Objective, ObjectiveSource, StudyResult, run_study
from spelling_transfer.study.observer import StudyObserver
from spelling_transfer.study.records import Proposal
from spelling_transfer.study.session import StudySession
from spelling_transfer.study.worker import Worker
from spelling_transfer.tracking.delivery import Ledger
from spelling_transfer.tracking.runs import TrackingSettings, require_target
from spelling_transfer.tracking.sweep import SweepAgent, proposal_of, sweep_config
from spelling_transfer.tracking.watch import WandbObserver

_LOGGER = logging.getLogger(__name__)


class _SweepEndedError(Exception):
    """The server has no trial left."""


class _SweepWorker(Worker):
    """A worker whose new trials are the server's choice; taken up, run and recorded like all others."""

    agent: SweepAgent
    ledger: Ledger

    def _propose(self, number: int) -> Proposal:
        job = self.agent.next(self.stop)
        if job is None:
            raise _SweepEndedError
        proposal = proposal_of(self.space, job.chosen)
        self.ledger.adopt(number, job.run_id)
        return proposal


class _SweepSession(StudySession):
    agent: SweepAgent
    ledger: Ledger

    def _run_here(self, stop: threading.Event) -> None:
        worker = self._make_worker(_SweepWorker, stop)
        worker.agent, worker.ledger = self.agent, self.ledger
        try:
            worker.run()
        except _SweepEndedError:
            _LOGGER.info("The sweep has no further trial for %s.", self.settings.name)


def run_tracked_study(
    settings: StudySettings,
    defaults: TrialConfig,
    objective: Objective | ObjectiveSource,
    tracking: TrackingSettings,
    *,
    folder: Path,
    observers: Sequence[StudyObserver] = (),
) -> StudyResult:
    """Runs what is left to run of a study, and logs it.

    Args:
        settings: The study. With ``sweep`` the server of Weights & Biases chooses its trials; a study that has a sweep
            already goes on with it.
        defaults: The configuration its space varies.
        objective: Trains and scores one configuration, or makes what does.
        tracking: Whether and where it is logged; a sweep is online whatever the mode.
        folder: The study's folder.
        observers: Others who watch it.

    Raises:
        TrackingError: A sweep chooses the trials, and nobody is signed in, or its server cannot be reached. Otherwise
            the tracking never fails.
        StudyConfigError: Sweeps have no such sampler, or there is more than one worker.
        SpellingTransferError: As `spelling_transfer.study.executor.run_study`.
    """
    if settings.sweep:
        return _run_sweep(settings, defaults, objective, tracking, folder, observers)
    watching = [*observers, WandbObserver(tracking, folder)]
    return run_study(settings, defaults, objective, folder=folder, observers=watching)


def _run_sweep(
    settings: StudySettings,
    defaults: TrialConfig,
    objective: Objective | ObjectiveSource,
    tracking: TrackingSettings,
    folder: Path,
    observers: Sequence[StudyObserver],
) -> StudyResult:
    if settings.workers not in (1, "auto"):
        raise StudyConfigError(
            f"study.workers: {settings.workers}: with --mode sweep one trial runs at a time. Leave --workers out, or "
            "take another mode."
        )
    online = tracking.model_copy(update={"mode": "online"})
    session = _SweepSession(settings.model_copy(update={"workers": 1}), defaults, objective, folder)
    try:
        if session.is_finished():
            return session.result()
        config = sweep_config(settings, session.space)
        agent = SweepAgent(require_target(online, folder))
        ledger = Ledger(folder)
        if ledger.sweep is None:
            ledger.note_sweep(agent.create(config))
        agent.register(str(ledger.sweep))
        session.agent, session.ledger = agent, ledger
        try:
            session.run([*observers, WandbObserver(online, folder, ledger)], None)
        finally:
            agent.close()
        return session.result()
    finally:
        session.close()
