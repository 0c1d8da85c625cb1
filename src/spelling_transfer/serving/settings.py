"""Limits of an endpoint and where it listens."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from kedro_lightning import clean_secret
from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel

API_KEY_VARIABLE = "SPELLING_TRANSFER_API_KEY"
"""Environment variable with the keys that clients may send as ``Authorization: Bearer …``, with commas between them;
unset means no key. ``name:key`` gives a key a name for the log."""

API_KEYS_FILE_VARIABLE = "SPELLING_TRANSFER_API_KEYS_FILE"
"""Environment variable with the path of a file of such keys, one a line."""

Engine = Literal["slots", "vllm"]
"""What draws an endpoint's tokens."""


class EndpointRefusedError(SpellingTransferError):
    """The endpoint will not start with these settings."""


def endpoint_keys() -> dict[str, str]:
    """Returns the keys that clients may send, by name, of the variable and of the file; none where none is set.

    Raises:
        EndpointRefusedError: A key is empty, or no client could send it, or the file cannot be read; no message shows a
            key.
    """
    entries: list[tuple[str, str]] = []
    if (value := os.environ.get(API_KEY_VARIABLE)) is not None:
        entries += [(API_KEY_VARIABLE, entry) for entry in clean_secret(value).split(",")]
    if (path := os.environ.get(API_KEYS_FILE_VARIABLE)) is not None:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            said = f"{API_KEYS_FILE_VARIABLE}: {path} cannot be read ({type(error).__name__}). Name a file of keys."
            raise EndpointRefusedError(said) from error
        named = [(f"{path}, line {i}", line.strip()) for i, line in enumerate(lines, start=1)]
        entries += [(place, line) for place, line in named if line and not line.startswith("#")] or [(path, "")]
    keys: dict[str, str] = {}
    for number, (place, entry) in enumerate(entries, start=1):
        name, colon, key = entry.strip().partition(":")
        name, key = (name, key) if colon else (f"key-{number}", name)
        if not key.strip():
            raise EndpointRefusedError(
                f"{place} is set but empty, or has an empty key between commas: give it a value, or unset it to serve "
                "without a key."
            )
        # Visible ASCII is what every client can put into a header (RFC 9110, 5.5).
        if not all("!" <= character <= "~" for character in key):
            raise EndpointRefusedError(
                f"{place} holds a blank, a line break or another character that clients cannot send. "
                "Set a key of visible ASCII characters, as 'openssl rand -hex 24' makes."
            )
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", name) or name in keys:
            raise EndpointRefusedError(
                f"{place}: the part before the colon of a key is its name, of letters, digits, dots and dashes, "
                "and no two keys have the same."
            )
        keys[name] = key
    return keys


class EndpointSettings(FrozenModel):
    """Limits and defaults of an endpoint. How tokens are drawn is not among them: the deployable says that."""

    default_max_tokens: int = Field(48, ge=1, le=4096, description="Longest answer when the request names none.")
    max_tokens_limit: int = Field(256, ge=1, le=4096, description="Longest answer that a request may set, in tokens.")
    max_question_characters: int = Field(8_000, ge=1, le=1_000_000, description="Longest question accepted.")
    max_body_bytes: int = Field(131_072, ge=1_024, le=10_000_000, description="Largest request body accepted.")
    max_batch_size: int = Field(32, ge=1, le=256, description="Answers generated side by side; each is a slot.")
    max_choices: int = Field(16, ge=1, le=128, description="Maximum number of choices (``n``) of one request.")
    max_waiting: int = Field(
        128, ge=1, le=10_000, description="Requests that may wait or be answered at once; one more gets a 429."
    )
    health_timeout_seconds: float = Field(
        5.0, gt=0.0, le=60.0, description="Longest wait for an answer before /health says 503."
    )
    drain_seconds: float = Field(
        8.0, gt=0.0, le=600.0, description="Longest wait for answers in flight before the endpoint ends."
    )
    read_timeout_seconds: float = Field(
        10.0, gt=0.0, le=600.0, description="Longest wait for a whole request before a 408."
    )
    requests_per_minute: int | None = Field(
        None, ge=1, le=1_000_000, description="Requests of one key in a minute before a 429; any number if null."
    )
    queue_timeout_seconds: float = Field(30.0, gt=0.0, le=3600.0, description="Longest wait before a 503.")

    @model_validator(mode="after")
    def _default_within_limit(self) -> EndpointSettings:
        if self.default_max_tokens > self.max_tokens_limit:
            raise ValueError(
                f"default_max_tokens: {self.default_max_tokens} is above max_tokens_limit ({self.max_tokens_limit})"
            )
        return self


class ServedSettings(EndpointSettings):
    """All that decides how a deployable is served, as it stands beside the model: what was checked is what runs."""

    engine: Engine = Field(
        "slots", description="What serves it: slots, which is ours, or vllm, in a virtual environment of its own."
    )
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads of the model; the library's choice if null."
    )


class ListenSettings(FrozenModel):
    """Where an endpoint listens."""

    # Other interfaces are a choice of the user's, and need a key (`check_key`).
    host: Literal["127.0.0.1", "0.0.0.0", "::"] = Field(  # noqa: S104
        "127.0.0.1", description="Interface; loopback by default."
    )
    port: int = Field(8000, ge=1024, le=65535, description="TCP port.")


def check_key(listen: ListenSettings) -> None:
    """Checks that a key is set where one is needed.

    Raises:
        EndpointRefusedError: The key is of no use, or missing on an interface that other machines can reach.
    """
    keys = endpoint_keys()
    if listen.host != "127.0.0.1" and not keys:
        raise EndpointRefusedError(
            f"host: {listen.host} lets other machines in and {API_KEY_VARIABLE} is not set. "
            "Set it to the key clients must send, or listen on 127.0.0.1."
        )


class DeploymentCheckSettings(FrozenModel):
    """What is exported, how it is checked, and what a failed check means."""

    english_only: bool = Field(True, description="Whether answers may hold tokens of the English subset only.")
    n_questions: int = Field(24, ge=20, le=10_000, description="Questions of the test split that are sent.")
    seed: int = Field(0, ge=0, description="Which questions are chosen.")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where the endpoint runs.")
    engines: tuple[Engine, ...] = Field(
        ("slots",), min_length=1, description="What is checked; the first one serves by default."
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="CPU threads of the model, in the check and wherever it is served; the library's choice if null.",
    )
    start_timeout_seconds: float = Field(120.0, gt=0, le=3600, description="Longest wait for the endpoint to answer.")
    stop_timeout_seconds: float = Field(
        15.0, gt=0, le=600, description="Longest wait for it to end before it is killed."
    )
    fail_on_violation: bool = Field(True, description="Whether a failed check ends the run with an error, at its end.")

    @field_validator("engines")
    @classmethod
    def _each_once(cls, engines: tuple[Engine, ...]) -> tuple[Engine, ...]:
        if len(set(engines)) < len(engines):
            raise ValueError(f"{', '.join(engines)}: name each engine once")
        return engines
