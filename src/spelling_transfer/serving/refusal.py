"""How the endpoint says no: one exception, one JSON shape (that of OpenAI's API)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NON_THINKING_ONLY = "non_thinking_only"
"""Code of every refusal that is due to the non-thinking policy."""

_OWN_CODES = frozenset({NON_THINKING_ONLY, "streaming_unsupported", "single_turn_only", "unsupported_role"})


class RefusedRequestError(Exception):
    """A request the endpoint does not answer.

    Attributes:
        status: HTTP status.
        code: Short name of the reason, stable for programs.
        message: What is wrong and what is allowed, for people.
        param: The field that is wrong, as a path (``messages[0].role``).
    """

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param

    def detail(self) -> dict[str, Any]:
        """Returns what stands under ``error`` in the response."""
        return error_detail(self.status, self.code, self.message, self.param)


def error_detail(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Returns the ``error`` object of OpenAI's API (https://platform.openai.com/docs/guides/error-codes)."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"message": message, "type": kind, "param": param, "code": code}


def refusal_of_validation(errors: Sequence[Mapping[str, Any]]) -> RefusedRequestError:
    """Returns the refusal of a request that pydantic found wrong, a breach of policy before anything else.

    Args:
        errors: pydantic's errors; ``loc`` may start with ``body``, as in FastAPI's ``RequestValidationError``.
    """
    first = min(errors, key=lambda error: error["type"] != NON_THINKING_ONLY)
    context = first.get("ctx") or {}
    location = first["loc"][1:] if first["loc"][:1] == ("body",) else first["loc"]
    param = str(context["field"]) if "field" in context else _path(location)
    if first["type"] == "extra_forbidden":
        message = f"{param}: unknown field. It is refused because an ignored field would be a silent surprise."
    elif first["type"] == "missing" and not param:
        message = "the request has no body; send a JSON object with 'model' and 'messages'."
    elif first["type"] == "json_invalid":
        message, param = f"the body is not valid JSON ({context.get('error', first['msg'])}).", ""
    elif "field" in context or not param:
        message = str(first["msg"])
    else:
        message = f"{param}: {first['msg']}"
    known = first["type"]
    code = known if known in _OWN_CODES else "unknown_field" if known == "extra_forbidden" else "invalid_value"
    return RefusedRequestError(400, code, message, param or None)


def _path(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
