"""Lets an OpenAI-compatible endpoint answer a public benchmark: in non-thinking mode, checked on what comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from spelling_transfer.bench.asking import Answers, seed_of
from spelling_transfer.bench.base import BenchError
from spelling_transfer.evaluation.kept_answers import GREEDY
from spelling_transfer.progress import progress_bar
from spelling_transfer.serving.client import EndpointClient, Reply
from spelling_transfer.serving.protocol import text_rules
from spelling_transfer.serving.settings import endpoint_keys

TRIES = 5
LONGEST_WAIT_SECONDS = 60.0
_AGAIN = (0, 408, 429, 500, 502, 503, 504)
"""Statuses after which the same request may be answered; 0 is a time-out, or nobody there."""
_NOT_THIS_ENDPOINT = (401, 403, 404, 405)
_OPTIONAL = ("chat_template_kwargs", "temperature", "seed", "return_token_ids")
_NO_PREFILL = "the set's authors begin the answer, which an endpoint cannot"


class EndpointAnswerer:
    """Lets an endpoint answer.

    Greedy answers and non-thinking mode are asked for. An endpoint that refuses to be told so is asked without; that it
    does not think is checked on each answer in any case. Where it is busy, the wait it names (``Retry-After``) is kept.

    Args:
        client: An open client.
        max_new_tokens: Longest answer, in tokens.
        at_once: Requests at once, so the answers that it may compute side by side.
        think_ids: Tokens of the think tags, looked for where an endpoint shows the tokens of its answers.
        wait: Waits so many seconds; by default until then or until the answers are given up.

    Attributes:
        prompt_tokens: Of each question that was answered, how long its prompt was by the endpoint's own count.
    """

    def __init__(
        self,
        client: EndpointClient,
        max_new_tokens: int,
        *,
        at_once: int = 8,
        think_ids: Collection[int] = (),
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.prompt_tokens: dict[str, int] = {}
        self._client = client
        self._at_once, self._think_ids = at_once, frozenset(think_ids)
        self._given_up = threading.Event()
        self._wait = wait or self._given_up.wait
        self._fields: dict[str, Any] = {
            "max_tokens": max_new_tokens,
            "temperature": 0.0,
            "chat_template_kwargs": {"enable_thinking": False},
            "return_token_ids": True,
            "seed": None,
        }

    @property
    def decoding(self) -> str:
        """How answers are chosen; known once the first is there."""
        return GREEDY if "temperature" in self._fields else "the endpoint's own sampling: it refuses another"

    def __call__(self, questions: Sequence[str], prefills: Sequence[str]) -> Answers:
        """Returns the answers; a question whose answer is to begin with something is not asked.

        Raises:
            BenchError: The endpoint takes no questions from us, or thinks.
        """
        answers: list[tuple[str, bool] | str] = [_NO_PREFILL for _ in questions]
        places = [place for place, begun in enumerate(prefills) if not begun]
        with (
            progress_bar("Answers of the endpoint", total=len(places)) as advance,
            ThreadPoolExecutor(self._at_once) as pool,
        ):
            # The first question alone finds out which fields the endpoint takes.
            for some in (places[:1], places[1:]):
                try:
                    given = pool.map(self._ask, [questions[place] for place in some])
                    for place, answer in zip(some, given, strict=True):
                        answers[place] = answer
                        advance(1)
                except BaseException:
                    self._given_up.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        return answers

    def _ask(self, question: str) -> tuple[str, bool] | str:
        reply = Reply(0, 0.0)
        for attempt in range(TRIES):
            if self._given_up.is_set():
                break
            fields = self._fields | ({"seed": seed_of(question)} if "seed" in self._fields else {})
            reply = self._client.ask(question, **fields)
            if reply.ok:
                if isinstance(count := (reply.body.get("usage") or {}).get("prompt_tokens"), int):
                    self.prompt_tokens[question] = count
                return _read(question, reply, self._think_ids)
            if reply.status not in _AGAIN:
                # LM Studio's error is a text. Beside it may stand the request; and it may name words of the question.
                said = str(reply.body.get("error") or reply.body.get("message") or "")
                refused = [name for name in _OPTIONAL if name in fields and name in said and name not in question]
                if not refused and reply.status in _NOT_THIS_ENDPOINT:
                    why = reply.error.get("message") or "no reason"
                    raise BenchError(f"The endpoint refuses with status {reply.status}: {why}")
                if not refused:
                    return f"the endpoint refuses it with status {reply.status} ({reply.error.get('code')})"
                self._fields.pop(refused[0], None)
            elif attempt + 1 < TRIES:
                self._wait(min(reply.retry_after_seconds or 2.0**attempt, LONGEST_WAIT_SECONDS))
        why = reply.error.get("code") or f"status {reply.status}"
        return f"no answer in {TRIES} tries ({why})"


def open_endpoint(url: str) -> EndpointClient:
    """Returns a client of an endpoint for the model that it names first.

    The key is the first in ``SPELLING_TRANSFER_API_KEY`` or the file of keys; no other is sent.

    Raises:
        BenchError: There is no such endpoint, or it names no model.
        EndpointRefusedError: A key is of no use; no message shows one.
    """
    key = next(iter(endpoint_keys().values()), None)
    client = EndpointClient(url, "", api_key=key)
    reply = client.get("/v1/models")
    try:
        client.model = str(reply.body["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        said = reply.error.get("message") or f"status {reply.status}"
        raise BenchError(f"{url}: names no model at /v1/models ({said}). Is it an OpenAI-compatible one?") from error
    return client


def _read(question: str, reply: Reply, think_ids: frozenset[int]) -> tuple[str, bool] | str:
    """Returns the answer and whether it ended, or why it is none.

    Raises:
        BenchError: The endpoint thinks.
    """
    try:
        choice = reply.body["choices"][0]
        message, ended = dict(choice["message"]), choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return "the response holds no answer"
    if _thinks(reply.body, choice, message, think_ids):
        raise BenchError(
            f"The endpoint thinks: its answer to {question[:60]!r} holds reasoning. Nothing of it is scored. Serve the "
            "model in non-thinking mode (chat_template_kwargs.enable_thinking: false) and try again."
        )
    if "content" not in message:
        return "the response holds no answer"
    text = message["content"]
    if ended == "length" and not str(text or "").strip():
        return "as many tokens as were allowed, and no text: the endpoint hides what was generated"
    if not isinstance(text, str) or ended not in ("stop", "length"):
        return f"half an answer (finish_reason {ended!r})"
    return text, ended == "stop"


def _thinks(body: dict[str, Any], choice: dict[str, Any], message: dict[str, Any], think_ids: frozenset[int]) -> bool:
    """Whether an answer shows thoughts: as a field, as tags in the text, as tokens, or as a count of them."""
    rules, text = text_rules(), message.get("content")
    counted = ((body.get("usage") or {}).get("completion_tokens_details") or {}).get("reasoning_tokens")
    return bool(
        message.get("reasoning_content")
        or message.get("reasoning")
        or counted
        or (isinstance(text, str) and rules.tags(rules.normalise(text)))
        or think_ids.intersection(choice.get("token_ids") or ())
    )
