"""What makes a study the same study: its settings, its defaults, its data; not how many workers it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig

_MAY_CHANGE = (
    "backend",
    "checkpoint_every",
    "heartbeat_seconds",
    "lightning",
    "n_trials",
    "resume",
    "storage",
    "workers",
)
"""Settings that change how a study is run, or how long it goes on, and no trial of it."""


def study_identity(settings: StudySettings, defaults: TrialConfig, data: Mapping[str, str]) -> str:
    """Returns the identity as JSON.

    Args:
        settings: The study.
        defaults: The configuration its space varies.
        data: Hashes of what it is trained and scored on, by name.
    """
    study = settings.model_dump(mode="json", exclude=set(_MAY_CHANGE))
    trial = defaults.model_dump(mode="json")
    trial["training"].pop("log_every_steps", None)
    data = {**data, "project_version": version("spelling-transfer")}
    return json.dumps({"study": study, "trial": trial, "data": data}, sort_keys=True)


def check_identity(recorded: str, wanted: str, name: str, place: str) -> None:
    """Checks that a recorded study is the one that is wanted.

    Raises:
        StudyConfigError: It is another one; the message names the first differences.
    """
    before, now = _flat(json.loads(recorded)), _flat(json.loads(wanted))
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if not differing:
        return
    shown = "; ".join(
        f"{key} is {_short(before.get(key))} there and {_short(now.get(key))} here" for key in differing[:3]
    )
    more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
    raise StudyConfigError(
        f"study.name: {name!r} is in use in {place} with other settings: {shown}{more}. Trials of different studies "
        "cannot be compared: give this one another name (--name, or study.name), or remove the old one."
    )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {path: value}
    flat: dict[str, Any] = {}
    for name, part in value.items():
        # Names of settings in a space have dots of their own; there the whole entry is what differs.
        flat |= {f"{path}.{name}": part} if path == "study.space" else _flat(part, f"{path}.{name}" if path else name)
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
