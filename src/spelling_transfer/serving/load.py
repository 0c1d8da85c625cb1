"""How fast the endpoint answers: latency, throughput and memory at several numbers of clients at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from spelling_transfer.serving.client import EndpointClient, Reply

PERCENTILES = (50, 90, 95, 99)


class LoadSettings(BaseModel):
    """How the endpoint is put under load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clients: tuple[int, ...] = Field((1, 4, 8), min_length=1, description="Clients at once, one measurement each.")
    n_requests: int = Field(40, ge=1, le=100_000, description="Requests in each measurement.")
    n_warm_up: int = Field(8, ge=0, le=1_000, description="Requests before the first measurement, not counted.")


def measure_load(
    client: EndpointClient, questions: Sequence[str], settings: LoadSettings, memory_mib: Callable[[], float]
) -> pd.DataFrame:
    """Asks the questions in turn, from several clients at once.

    Args:
        client: An open client.
        questions: What to ask, repeated as often as needed.
        settings: How much.
        memory_mib: Called after each measurement.

    Returns:
        A row a number of clients: ``n_clients, n_requests, n_failed, seconds, answers_per_second, tokens_per_second,
        latency_p50_ms … latency_p99_ms, latency_max_ms, memory_mib``. Latencies are those of answered requests.
    """
    _ask_all(client, questions, settings.n_warm_up, 1)
    rows = []
    for n_clients in settings.clients:
        started = time.perf_counter()
        replies = _ask_all(client, questions, settings.n_requests, n_clients)
        seconds = time.perf_counter() - started
        rows.append(_row(replies, n_clients, seconds) | {"memory_mib": memory_mib()})
    return pd.DataFrame(rows)


def _ask_all(client: EndpointClient, questions: Sequence[str], n_requests: int, n_clients: int) -> list[Reply]:
    def ask(place: int) -> Reply:
        return client.ask(questions[place % len(questions)], seed=place)

    with ThreadPoolExecutor(n_clients) as pool:
        return list(pool.map(ask, range(n_requests)))


def _row(replies: Sequence[Reply], n_clients: int, seconds: float) -> dict[str, float]:
    answered = [reply for reply in replies if reply.ok]
    latencies_ms = np.array([reply.seconds * 1000 for reply in answered] or [np.nan])
    return {
        "n_clients": n_clients,
        "n_requests": len(replies),
        "n_failed": len(replies) - len(answered),
        "seconds": seconds,
        "answers_per_second": len(answered) / seconds,
        "tokens_per_second": sum(reply.n_generated for reply in answered) / seconds,
        **{f"latency_p{p}_ms": float(np.percentile(latencies_ms, p)) for p in PERCENTILES},
        "latency_max_ms": float(latencies_ms.max()),
    }
