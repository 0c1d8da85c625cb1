"""One place through which every request goes: errors in our words, repeats only where they do no harm."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from ..errors import (
    ConflictError,
    NotFoundError,
    NotSignedInError,
    PlatformError,
    QuotaError,
    TransientError,
)

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

_ATTEMPTS = 6
_LONGEST_WAIT_SECONDS = 20.0
_SHOWN_CHARACTERS = 300
_STATUS = re.compile(r"(?:HTTP|Status code:) (\d{3})\b")


class Calls:
    """Makes requests and translates what goes wrong."""

    def __init__(self, timeout_seconds: tuple[float, float] = (10.0, 30.0), first_wait_seconds: float = 0.5) -> None:
        """Makes requests with these limits.

        Args:
            timeout_seconds: To connect, and to read an answer.
            first_wait_seconds: Before the first repeat; it doubles from there.
        """
        self.timeout_seconds = timeout_seconds
        self._first_wait_seconds = first_wait_seconds
        self._hidden: set[str] = set()

    def hide(self, secret: str) -> None:
        """Keeps a value out of every message, also where the platform repeats it in its answer."""
        if secret:
            self._hidden.add(secret)

    def read(self, what: str, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Makes a request that changes nothing, or that does no more when it is repeated; repeats it in an outage.

        Raises:
            PlatformError: The platform refused, or did not answer any of several attempts.
        """
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential(self._first_wait_seconds, _LONGEST_WAIT_SECONDS) + wait_random(0, 0.1),
            reraise=True,
            sleep=time.sleep,
        )
        return cast("Result", retrying(self.once, what, function, *args, **kwargs))

    def once(self, what: str, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Makes a request a single time, as one must that creates something.

        Raises:
            PlatformError: The platform refused, or nobody knows whether it did what was asked.
        """
        try:
            return function(*args, **kwargs)
        except PlatformError:
            raise
        except Exception as error:  # noqa: BLE001  (some of the SDK's errors are of no other class)
            raise translate(what, error, self._hidden) from None


def make_once(
    find: Callable[[], Result | None], make: Callable[[], Result], *, look_first: bool = True, attempts: int = 8
) -> Result:
    """Makes something of which there must not be two, unless it is there.

    A request without an answer may have been done. So what was asked for is looked for before it is asked for again.
    Without ``look_first`` it is asked for at once.

    Raises:
        PlatformError: The platform refused, or did not answer for long.
    """
    for attempt in range(attempts):
        if (attempt or look_first) and (found := find()) is not None:
            return found
        try:
            return make()
        except (ConflictError, TransientError) as error:
            if attempt + 1 == attempts or isinstance(error, ConflictError):
                if (found := find()) is not None:
                    return found
                raise
            logger.info("%s Looking whether it was done.", error)
            time.sleep(min(_LONGEST_WAIT_SECONDS, 0.25 * 2**attempt))
    raise AssertionError("The last attempt returns or raises.")


def translate(what: str, error: BaseException, hidden: Iterable[str] = ()) -> PlatformError:
    """Returns our error for one of the SDK's. Its own classes differ by method; the answer is in the context of some.

    Args:
        what: What was asked, for the message; never an argument that could be secret.
        error: What the SDK raised.
        hidden: Values that must not be in the message.
    """
    answer = _answer(error)
    if answer is None:
        return TransientError(f"{what}: no answer from the platform ({type(error).__name__}).")
    status, body = answer
    for secret in hidden:
        body = body.replace(secret, "***")
    body = body[:_SHOWN_CHARACTERS].rstrip(".")  # last: of a secret that is cut, the beginning would be shown
    text = f"{what}: the platform answered {status}{': ' + body if body else ''}."
    if status == 0:
        return TransientError(f"{what}: no connection to the platform could be secured.")
    if status == 401:
        return NotSignedInError(
            f"{text} The key is not valid (any more); run 'lightning login' or set LIGHTNING_API_KEY.", status
        )
    if status == 402:
        return QuotaError(f"{text} There is no credit left; add some on the platform's billing page.", status)
    if status == 404:
        return NotFoundError(text, status)
    if status == 409:
        return ConflictError(text, status)
    if status in (403, 422, 400):
        if any(word in body.lower() for word in ("quota", "limit", "balance", "credit")):
            return QuotaError(f"{text} A limit of the account is reached.", status)
        return PlatformError(text, status)
    if status in (408, 425, 429) or status >= 500:
        return TransientError(text, status)
    return PlatformError(text, status)


def _answer(error: BaseException) -> tuple[int, str] | None:
    """Returns status and body of the answer that is behind an error, if there was one."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        status = getattr(cause, "status", None)
        if not isinstance(status, int):
            status = getattr(cause, "status_code", None) or getattr(
                getattr(cause, "response", None), "status_code", None
            )
        if isinstance(status, int):
            return status, _message(getattr(cause, "body", None) or getattr(cause, "server_message", None))
        if isinstance(cause, RuntimeError) and (named := _STATUS.search(str(cause))):
            return int(named[1]), ""  # transfers of files give the status in the text alone
        cause = cause.__cause__ or cause.__context__
    return None


def _message(body: Any) -> str:
    if isinstance(body, bytes):
        body = body.decode("utf-8", errors="replace")
    if not body:
        return ""
    try:
        content = json.loads(body)
    except (TypeError, ValueError):
        content = body
    text = str(content.get("message") or content.get("error") or "") if isinstance(content, dict) else str(content)
    return " ".join(text.split())
