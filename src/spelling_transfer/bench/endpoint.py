"""Lets an OpenAI-compatible endpoint answer a public set: in non-thinking mode, checked on what comes back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from spelling_transfer.bench.asking import Answers
from spelling_transfer.bench.base import BenchError
from spelling_transfer.progress import progress_bar
from spelling_transfer.serving.client import EndpointClient, Reply
from spelling_transfer.serving.protocol import text_rules

TRIES = 5
LONGEST_WAIT_SECONDS = 60.0
_AT_ONCE = 8
_AGAIN = (0, 408, 429, 500, 502, 503, 504)
"""Statuses after which the same request may be answered; 0 is a time-out, or nobody there."""
_NOT_THIS_ENDPOINT = (401, 403, 404, 405)
_OPTIONAL = ("chat_template_kwargs", "temperature", "seed")
_NO_PREFILL = "the set's authors begin the answer, which an endpoint cannot"


class EndpointAnswerer:
    """Lets an endpoint answer.

    Greedy answers and non-thinking mode are asked for. An endpoint that refuses to be told so is asked without; that it
    does not think is checked on each answer in any case. Where it is busy, the wait it names (``Retry-After``) is kept.

    Args:
        client: An open client.
        max_new_tokens: Longest answer, in tokens.
        wait: Waits so many seconds.
    """

    def __init__(
        self, client: EndpointClient, max_new_tokens: int, *, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._wait = wait
        self._fields: dict[str, Any] = {
            "max_tokens": max_new_tokens,
            "seed": 0,
            "temperature": 0.0,
            "chat_template_kwargs": {"enable_thinking": False},
        }

    @property
    def decoding(self) -> str:
        """How answers are chosen; known once the first is there."""
        return "greedy" if "temperature" in self._fields else "the endpoint's own sampling: it refuses another"

    def __call__(self, questions: Sequence[str], prefills: Sequence[str]) -> Answers:
        """Returns the answers; a question whose answer is to begin with something is not asked.

        Raises:
            BenchError: The endpoint takes no questions from us, or thinks.
        """
        answers: list[tuple[str, bool] | str] = [_NO_PREFILL for _ in questions]
        places = [place for place, begun in enumerate(prefills) if not begun]
        with (
            progress_bar("Answers of the endpoint", total=len(places)) as advance,
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            # The first question alone finds out which fields the endpoint takes.
            for some in (places[:1], places[1:]):
                try:
                    given = pool.map(self._ask, [questions[place] for place in some])
                    for place, answer in zip(some, given, strict=True):
                        answers[place] = answer
                        advance(1)
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        return answers

    def _ask(self, question: str) -> tuple[str, bool] | str:
        reply = Reply(0, 0.0)
        for attempt in range(TRIES):
            reply = self._client.ask(question, **self._fields)
            if reply.ok:
                return _read(question, reply)
            if reply.status not in _AGAIN:
                refused = [name for name in _OPTIONAL if name in self._fields and name in str(reply.error)]
                if not refused and reply.status in _NOT_THIS_ENDPOINT:
                    said = reply.error.get("message") or "no reason"
                    raise BenchError(f"The endpoint refuses with status {reply.status}: {said}")
                if not refused:
                    return f"the endpoint refuses it with status {reply.status} ({reply.error.get('code')})"
                self._fields.pop(refused[0], None)
            elif attempt + 1 < TRIES:
                self._wait(min(reply.retry_after_seconds or 2.0**attempt, LONGEST_WAIT_SECONDS))
        why = reply.error.get("code") or f"status {reply.status}"
        return f"no answer in {TRIES} tries ({why})"


def open_endpoint(url: str) -> EndpointClient:
    """Returns a client of an endpoint for the model that it names first; the key is in ``SPELLING_TRANSFER_API_KEY``.

    Raises:
        BenchError: There is no such endpoint, or it names no model.
    """
    key = os.environ.get("SPELLING_TRANSFER_API_KEY")
    client = EndpointClient(url.rstrip("/").removesuffix("/v1"), "", api_key=key)
    reply = client.get("/v1/models")
    try:
        client.model = str(reply.body["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        said = reply.error.get("message") or f"status {reply.status}"
        raise BenchError(
            f"--endpoint {url}: names no model at /v1/models ({said}). Is it an OpenAI-compatible one?"
        ) from error
    return client


def _read(question: str, reply: Reply) -> tuple[str, bool] | str:
    """Returns the answer and whether it ended, or why it is none.

    Raises:
        BenchError: The endpoint thinks.
    """
    try:
        choice = reply.body["choices"][0]
        message, text = choice["message"], choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return "the response holds no answer"
    thought = message.get("reasoning_content") or message.get("reasoning")
    rules = text_rules()
    if thought or (isinstance(text, str) and rules.tags(rules.normalise(text))):
        raise BenchError(
            f"The endpoint thinks: its answer to {question[:60]!r} holds reasoning. Nothing of it is scored. Serve the "
            "model in non-thinking mode (chat_template_kwargs.enable_thinking: false) and ask again."
        )
    if not isinstance(text, str) or choice.get("finish_reason") not in ("stop", "length"):
        return f"half an answer (finish_reason {choice.get('finish_reason')!r})"
    return text, choice["finish_reason"] == "stop"
