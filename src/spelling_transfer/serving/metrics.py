"""What the endpoint counts, as Prometheus reads it at ``/metrics``. Never a key, a question or an answer.

Everything is counted in the one process that talks to clients, from how each request ended, so nothing has to be
gathered from other processes but their memory. Labels are words of ours alone: a client cannot make new ones.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.vocabulary import ALLOWED_IDS_FILE, Vocabulary
from spelling_transfer.serving.deployable import DeployableCard
from spelling_transfer.serving.outcome import Outcome
from spelling_transfer.serving.process import processes_of

PREFIX = "spelling_transfer"
_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)


class EndpointMetrics:
    """The metrics of one endpoint, in a registry of their own."""

    def __init__(self, folder: ModelFolder, card: DeployableCard, waiting: Callable[[], int]) -> None:
        """Makes the metrics.

        Args:
            folder: The deployable; what it is stands in ``model_info``.
            card: What it says of itself.
            waiting: Returns how many requests wait or are being answered.
        """
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            f"{PREFIX}_requests", "Requests for an answer, by status (499: the client went away).", ["status"],
            registry=registry,
        )  # fmt: skip
        self.refusals = Counter(
            f"{PREFIX}_refusals", "Requests that were refused, by code and by the policy's rule.", ["code", "rule"],
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            f"{PREFIX}_answer_seconds", "From a request's first byte to its answer's last; answers alone.",
            buckets=_BUCKETS, registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            f"{PREFIX}_tokens", "Tokens of answered requests: of prompts, and generated.", ["kind"], registry=registry
        )
        queue = Gauge(f"{PREFIX}_waiting", "Requests that wait or are being answered.", registry=registry)
        queue.set_function(waiting)
        limit = Gauge(f"{PREFIX}_waiting_limit", "Requests that may wait; one more gets a 429.", registry=registry)
        limit.set(card.settings.max_waiting)
        memory = Gauge(
            f"{PREFIX}_memory_bytes", "Resident memory of all processes of the endpoint; shared pages count in each.",
            registry=registry,
        )  # fmt: skip
        memory.set_function(lambda: sum(map(_resident_bytes, processes_of(os.getpgrp()))))
        self._describe(folder, card)

    def _describe(self, folder: ModelFolder, card: DeployableCard) -> None:
        file = folder.path / ALLOWED_IDS_FILE
        subset, share = "", 0.0
        if file.is_file():
            subset = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            n_rows = int(json.loads((folder.path / "config.json").read_text())["vocab_size"])
            known = Vocabulary.of_folder(folder.path, n_rows).known_rows(json.loads(file.read_text()))
            share = 1 - len(known) / n_rows
        filtered = Gauge(
            f"{PREFIX}_filtered_share", "Share of the model's tokens that no answer may hold.", registry=self.registry
        )
        filtered.set(share)
        Info(f"{PREFIX}_model", "What is served.", registry=self.registry).info(
            {
                "model": card.model,
                "fingerprint": card.fingerprint,
                "subset_sha256": subset,
                "engine": card.settings.engine,
            }
        )

    def observe(self, outcome: Outcome) -> None:
        """Counts a request that ended, where it asked for an answer."""
        if outcome.method != "POST" or not outcome.path.startswith("/v1/"):
            return
        self.requests.labels(str(outcome.status)).inc()
        if outcome.status == 200:
            self.seconds.observe(outcome.seconds)
            self.tokens.labels("prompt").inc(outcome.prompt_tokens)
            self.tokens.labels("completion").inc(outcome.completion_tokens)
        elif outcome.code:
            self.refusals.labels(outcome.code, outcome.rule).inc()

    def text(self) -> bytes:
        """Returns all metrics as Prometheus reads them."""
        return generate_latest(self.registry)


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
