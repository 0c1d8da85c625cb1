"""The worker's loop: waits without burning a core, answers what is waiting side by side, fails one request at a time.

LitServe's own `BatchedLoop` polls (with ``batch_timeout=0`` an idle endpoint keeps one core at 100%, with 10 ms at
14% and 10 ms are added to each answer), and one refused request fails every other in its batch.
"""

import logging
import time
from queue import Empty
from typing import Any

from fastapi import HTTPException
from litserve import LitAPI
from litserve.loops import LitLoop
from litserve.utils import LitAPIStatus, LoopResponseType

logger = logging.getLogger("litserve")


class WaitingBatchLoop(LitLoop):  # type: ignore[misc]  # litserve has no types
    """Blocks for the first request, then takes along whatever else is in the queue, up to ``max_batch_size``."""

    def __call__(
        self,
        lit_api: LitAPI,
        device: str,
        worker_id: int,
        request_queue: Any,
        transport: Any,
        workers_setup_status: Any,
        callback_runner: Any,
    ) -> None:
        """Runs until the queue is gone, which is when the server is."""
        while True:
            try:
                waiting = self._take(request_queue, lit_api.max_batch_size)
                if waiting:
                    self._answer(lit_api, waiting, transport)
            except (KeyboardInterrupt, EOFError, OSError):
                return

    def _take(self, request_queue: Any, at_most: int) -> list[tuple[Any, ...]]:
        waiting = []
        try:
            waiting.append(request_queue.get(timeout=5.0))
            while len(waiting) < at_most:
                waiting.append(request_queue.get_nowait())
        except Empty:
            pass
        return waiting

    def _answer(self, lit_api: LitAPI, waiting: list[tuple[Any, ...]], transport: Any) -> None:
        fit: list[tuple[Any, Any, Any]] = []
        for queue_id, uid, sent_at, payload in waiting:
            try:
                if lit_api.request_timeout and time.monotonic() - sent_at > lit_api.request_timeout:
                    raise HTTPException(503, f"the endpoint is busy: no answer within {lit_api.request_timeout} s.")
                fit.append((queue_id, uid, lit_api.decode_request(payload)))
            except Exception as error:  # noqa: BLE001  one request's fault is not the others'
                self._send_error(transport, queue_id, uid, error)
        if not fit:
            return
        try:
            outputs = lit_api.predict([prepared for _, _, prepared in fit])
        except Exception as error:  # noqa: BLE001  it is logged, and the worker goes on
            for queue_id, uid, _ in fit:
                self._send_error(transport, queue_id, uid, error)
            return
        for (queue_id, uid, _), output in zip(fit, outputs, strict=True):
            encoded = lit_api.encode_response(output)
            self.put_response(transport, queue_id, uid, encoded, LitAPIStatus.OK, LoopResponseType.REGULAR)

    def _send_error(self, transport: Any, queue_id: int, uid: str, error: Exception) -> None:
        if not isinstance(error, HTTPException):
            logger.exception("The worker failed on request %s", uid, exc_info=error)
            error = HTTPException(500, "internal error; see the log of the endpoint.")
        # Positional arguments only: an exception made with keywords does not survive pickling.
        self.put_response(
            transport,
            queue_id,
            uid,
            HTTPException(error.status_code, error.detail),
            LitAPIStatus.ERROR,
            LoopResponseType.REGULAR,
        )
