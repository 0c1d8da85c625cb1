"""The project's globals: what ``globals.yml`` may say, checked before anything is read or written by it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from spelling_transfer.configuration.documents import ConfigurationError

_ROOTS = {"storage_root": "a folder or a URL", "models_root": "a folder", "studies_root": "a folder of this machine"}
_KNOWN = {**_ROOTS, "model_profile": "the name of a file in conf/*/study/models/"}


def check_globals(
    content: Mapping[str, Any], names_used: Callable[[], set[str]], place: Callable[[str], str]
) -> dict[str, Any]:
    """Returns the globals with ``~`` and variables filled in.

    Args:
        content: The merged globals.
        names_used: Gives the names that files of the configuration ask for; asked only where one is unknown.
        place: Says which file set a name.

    Raises:
        ConfigurationError: A name is unknown and nothing uses it, or a value is not what it should be.
    """
    problems, found = [], dict(content)
    unknown = [name for name in content if name not in _KNOWN]
    used = names_used() if unknown else set()
    for name in unknown:
        if name not in used and not name.startswith("_"):
            problems.append(f"{name}: unknown ({place(name)}): no file uses it. Known: {', '.join(_KNOWN)}.")
    for name, kind in _KNOWN.items():
        if name in content:
            try:
                found[name] = _checked(content[name], kind, is_path=name in _ROOTS)
            except ValueError as error:
                problems.append(f"globals.{name}: {content[name]!r} {error} ({place(name)}).")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def _checked(value: Any, kind: str, *, is_path: bool) -> str:
    if not isinstance(value, str) or not value.strip() or any(ord(character) < 32 for character in value):
        raise ValueError(f"is not text that names {kind}")
    if not is_path:
        if re.fullmatch(r"[A-Za-z0-9][\w.-]*", value) is None:
            raise ValueError(f"is not {kind}")
        return value
    whole = os.path.expanduser(os.path.expandvars(value.strip()))  # noqa: PTH111 - it may be a URL
    if "$" in whole or whole.startswith("~"):
        raise ValueError("has a variable or a home that is not set here; write the path itself, or set it")
    return whole
