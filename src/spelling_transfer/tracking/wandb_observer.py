"""Watches a study for Weights & Biases from a thread of its own: the study waits at its end alone, and not long."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from spelling_transfer.study.observer import StudySnapshot
from spelling_transfer.tracking.wandb_delivery import Delivery
from spelling_transfer.tracking.wandb_ledger import Ledger
from spelling_transfer.tracking.wandb_runs import Target, find_target, let_go
from spelling_transfer.tracking.wandb_settings import NETWORK_SECONDS, TrackingSettings

_LOGGER = logging.getLogger(__name__)
_OFFLINE_SECONDS = 5.0


class WandbObserver:
    """Logs a study to Weights & Biases: to files beside it, or to the server while it runs.

    Args:
        settings: The tracking.
        folder: The study's folder.
        ledger: What was sent before; read from the folder by default.
    """

    def __init__(self, settings: TrackingSettings, folder: Path, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.folder = folder
        self._ledger = ledger
        self._latest: StudySnapshot | None = None
        self._seen: StudySnapshot | None = None
        self._delivery: Delivery | None = None
        self._news = threading.Condition()
        self._ending = False
        self._warned = False
        self._thread: threading.Thread | None = None

    def update(self, study: StudySnapshot) -> None:
        """Takes note of where the study stands; returns at once."""
        if self.settings.mode == "disabled":
            return
        with self._news:
            self._latest = study
            self._news.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wandb", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the watch; waits a bounded time for what is still on its way."""
        with self._news:
            self._ending = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join(NETWORK_SECONDS)
            if self._thread.is_alive():
                self._warn("not all of the study has arrived in time")
                # Else the end of this process would wait for it again. What is left is written offline.
                let_go()
                self._thread.join(_OFFLINE_SECONDS)

    def _run(self) -> None:
        try:
            target = find_target(self.settings, self.folder)
            if target is None:
                return
            ledger = self._ledger or Ledger(self.folder)
            self._delivery = Delivery(target, ledger)
            if not self._watch(self._delivery) and target.online:
                let_go()
                self._delivery = Delivery(Target(self.settings, self.folder, online=False), ledger)
                self._watch(self._delivery)
        except Exception as error:  # noqa: BLE001  (a watcher never ends a study)
            self._warn(str(error))

    def _watch(self, delivery: Delivery) -> bool:
        """Delivers until the end; tells whether all of it arrived."""
        self._seen = None
        while True:
            with self._news:
                self._news.wait_for(lambda: self._ending or self._latest is not self._seen)
                ending, study = self._ending, self._latest
            if study is None:
                return True
            try:
                delivery.deliver(study, live=True)
                if ending:
                    delivery.deliver_study(study)
                    delivery.close()
                    return True
            except Exception as error:  # noqa: BLE001  (also one of wandb's own)
                self._warn(str(error))
                return False
            with self._news:
                self._seen = study
                self._news.notify_all()

    def _warn(self, what: str) -> None:
        name = self._latest.name if self._latest else ""
        if not self._warned:
            _LOGGER.warning(
                "Weights & Biases: %s. Nothing is lost: 'kedro tune sync %s' sends what is missing.",
                what.rstrip("."),
                name,
            )
        self._warned = True
