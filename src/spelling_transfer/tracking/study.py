"""A study that is tracked: watched by Weights & Biases, or chosen by one of its sweeps."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import NoTrialLeftError, Objective, ObjectiveSource, StudyObserver, StudyResult
from spelling_transfer.study.records import Proposal
from spelling_transfer.study.run import StudySession, run_study
from spelling_transfer.study.space import read_space
from spelling_transfer.tracking.delivery import Ledger
from spelling_transfer.tracking.runs import TrackingSettings, require_target
from spelling_transfer.tracking.sweep import SweepAgent, proposal_of, sweep_config
from spelling_transfer.tracking.watch import WandbObserver


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
        settings: The study. With ``sweep`` the server of Weights & Biases chooses its trials; a sweep that was begun is
            continued.
        defaults: The configuration its space varies.
        objective: Trains and scores one configuration, or makes what does.
        tracking: Whether and where it is logged; a sweep is online whatever the mode.
        folder: The study's folder.
        observers: Others who watch it.

    Raises:
        TrackingError: A sweep chooses the trials, and nobody is signed in, or its server cannot be reached. Otherwise
            the tracking never fails.
        StudyConfigError: Sweeps have no such sampler, or there is more than one worker.
        SpellingTransferError: As `spelling_transfer.study.run.run_study`.
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
    config = sweep_config(settings, read_space(settings.space, defaults))
    online = tracking.model_copy(update={"mode": "online"})
    session = StudySession(settings.model_copy(update={"workers": 1}), defaults, objective, folder)
    try:
        if session.is_finished():
            return session.result()
        agent = SweepAgent(require_target(online, folder))
        ledger = Ledger(folder)
        if ledger.sweep is None:
            ledger.note_sweep(agent.create(config))
        agent.register(str(ledger.sweep))

        def propose(number: int, stop: threading.Event) -> Proposal:
            job = agent.next(stop)
            if job is None:
                raise NoTrialLeftError
            proposal = proposal_of(session.plan.space, job.chosen)
            ledger.adopt(number, job.run_id)
            return proposal

        try:
            session.run([*observers, WandbObserver(online, folder, ledger)], propose=propose)
        finally:
            agent.close()
        return session.result()
    finally:
        session.close()
