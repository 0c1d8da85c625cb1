"""Drift: questions of the deployment check asked again, with their seeds, of an endpoint that runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import write_bytes
from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.metrics import PREFIX


class CanaryError(SpellingTransferError):
    """The questions cannot be asked, or what the check wrote down is not there."""


@dataclass(frozen=True)
class CanaryReport:
    """What the canary questions showed.

    Attributes:
        changed: Those whose answer is not the one of the check: ``question``, ``expected``, ``answer``.
        same_model: Whether the endpoint serves the very deployable that was checked.
    """

    n_asked: int
    changed: tuple[dict[str, Any], ...]
    same_model: bool

    @property
    def unchanged_share(self) -> float:
        """Share of the questions whose answer is the same, token by token."""
        return 1 - len(self.changed) / self.n_asked

    def write_metrics(self, file: Path) -> None:
        """Writes the result for the textfile collector of Prometheus' node exporter, whole or not at all."""
        from prometheus_client import CollectorRegistry, Gauge, generate_latest

        registry = CollectorRegistry()
        share = Gauge(
            f"{PREFIX}_canary_unchanged_share", "Canary answers that are those of the check.", registry=registry
        )
        at = Gauge(f"{PREFIX}_canary_asked_timestamp_seconds", "When the canaries were asked.", registry=registry)
        share.set(self.unchanged_share)
        at.set(time.time())
        write_bytes(file, generate_latest(registry))


def ask_canaries(
    client: EndpointClient, conformance: Mapping[str, Any], wait: Callable[[float], object] = time.sleep
) -> CanaryReport:
    """Asks every question whose answer the check of the engine that runs wrote down; its place is its seed.

    Args:
        client: An open client.
        conformance: What the check wrote.
        wait: Waits for so many seconds.

    Raises:
        CanaryError: It holds no answers, or the endpoint cannot be reached.
    """
    served = client.get("/info").body.get("model") or {}
    first = (conformance.get("settings") or {}).get("engine")
    engine = (served.get("settings") or {}).get("engine") or first
    checked = {first or engine: conformance, **(conformance.get("other_engines") or {})}
    answers = checked.get(engine, {}).get("answers")
    if not answers:
        raise CanaryError(f"conformance: holds no answers of the engine {engine}. Check it: deployment_check.engines.")
    changed, fingerprints = [], {served["fingerprint"]} if "fingerprint" in served else set()
    for place, before in enumerate(answers):
        reply = client.ask(before["question"], seed=place, return_token_ids=True)
        if reply.status == 429 and reply.retry_after_seconds is not None:  # a key's rate may be below so many questions
            wait(min(reply.retry_after_seconds, 60.0))
            reply = client.ask(before["question"], seed=place, return_token_ids=True)
        said = reply.error.get("message", "no answer")
        no_path = reply.status in (403, 404, 405) and reply.error.get("code") != "model_not_found"
        if no_path or (reply.ok and "choices" not in reply.body):
            raise CanaryError(f"{said} (status {reply.status}): is this the address of an endpoint?")
        if reply.status in (0, 401, 408, 429) or reply.status >= 500:
            if reply.status in (0, 401):
                raise CanaryError(f"{said}: is the endpoint up, and its key set here?")
            raise CanaryError(f"{said} (status {reply.status}); this is no sign of drift; run it again later.")
        if reply.ok:
            fingerprints.add(reply.body.get("system_fingerprint"))
        if not reply.ok or reply.token_ids != before["token_ids"]:
            answer = reply.text if reply.ok else f"refused: {said}"
            changed.append({"question": before["question"], "expected": before["output"], "answer": answer})
    return CanaryReport(len(answers), tuple(changed), fingerprints <= {conformance.get("fingerprint")})
