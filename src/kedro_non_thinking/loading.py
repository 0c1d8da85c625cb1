"""Reading ``policy.yml``: whole, checked and with errors that say where and what."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .errors import PolicyFileError
from .rules import Policy

POLICY_FILE = "policy.yml"
_DEFAULT = "default_policy.yml"


# The rules are read whenever a kedro command opens a session, and the parser in C is six times as fast.
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeyLoader(_Loader):  # type: ignore[misc]
    """A loader that refuses a key given twice, where the second would silently win."""


def _construct_mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def load_policy(file: Path | None = None) -> Policy:
    """Loads the rules.

    Args:
        file: A ``policy.yml``; ``None`` takes the rules that come with the plugin.

    Raises:
        PolicyFileError: The file cannot be read, or breaks the format: an unknown key, a rule without its reason, an
            exemption without a path.
    """
    try:
        if file is None:
            name, text = _DEFAULT, resources.files(__package__).joinpath(_DEFAULT).read_text(encoding="utf-8")
        else:
            name, text = str(file), file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyFileError(f"{file}: cannot be read ({error}). The policy needs its rules to start.") from error
    return parse_policy(text, name)


def parse_policy(text: str, name: str) -> Policy:
    """Parses the text of a ``policy.yml``; ``name`` is what errors call it.

    Raises:
        PolicyFileError: The text breaks the format.
    """
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        raise PolicyFileError(f"{name}: not valid YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(data, dict):
        raise PolicyFileError(f"{name}: expected a mapping with 'version', 'scan' and 'rules'.")
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}" for entry in error.errors()
        )
        raise PolicyFileError(f"{name}: {details}.") from error


def find_policy_file(project_path: Path, conf_source: Path | None = None, base_env: str = "base") -> Path | None:
    """Returns the project's ``policy.yml``, or ``None`` where the rules that come with the plugin hold."""
    file = (conf_source or project_path / "conf") / base_env / POLICY_FILE
    return file if file.is_file() else None


def is_policy_text(text: str) -> bool:
    """Whether a text is a valid ``policy.yml``: its own lists of what is forbidden are no violation."""
    try:
        parse_policy(text, POLICY_FILE)
    except PolicyFileError:
        return False
    return True
