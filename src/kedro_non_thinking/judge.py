"""All rules of a policy in one object: judges a text, a tree of settings, a chat template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from .findings import shorten
from .keys import Problem, normalise_key
from .template import judge_template
from .text_judge import Mode, TextJudge
from .tokens import judge_ids
from .values import as_dict, is_count_table, is_on, pairs

__all__ = ["Judge", "Mode", "Path"]

Path = tuple[str | int, ...]
"""Keys and indices from the root of a tree of settings to one value."""

_PROSE_KEYS = re.compile(
    r"(?:^|_)(?:description|comment|comments|why|reason|reasons|forbids|remedy|check|help|title|message|note|notes|summary"
    r"|doc|docs|docstring|rationale|explanation|caption|header|epilog|label|changelog)$"
)
_REFUSING_KEYS = re.compile(
    r"(?:^|_)(?:forbid\w*|refus\w*|reject\w*|den(?:y|ied|ylist)\w*|block(?:ed|list|s)?|ban(?:ned)?|masked|mask_ids"
    r"|mask_tokens|suppress\w*|bad_words\w*|disallow\w*|prohibit\w*|violation\w*|unsupported|blacklist\w*|stop"
    r"|stop_strings|stop_words|stop_sequences|exclude\w*|not_allowed|invalid|must_not\w*)(?:_|$)"
)
_FORCING_KEYS = frozenset(
    {"eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id"}
    | {"forced_eos_token_id", "forced_decoder_ids", "begin_token_id", "prefix_token_ids", "stop_token_ids"}
)
_OUTCOME_KEYS = frozenset(
    {"expected_status", "status", "status_code", "expect", "expected", "outcome", "expected_error"}
)
_REFUSED = re.compile(r"refus|reject|forbid|denied|violation|error|4\d\d")
_TEMPLATE_FILE = re.compile(r"[^\s{}]+\.(?:jinja2?|j2|txt)|[\w./-]+")
_THINKING_FILE = re.compile(r"(?<!non[-_])(?<!no[-_])(?<!without[-_])(?:thinking|reasoning)")
_LARGEST_SETTINGS = 50
"""More numbers than this under names are counts or a vocabulary, not settings."""
_RECORD_KEYS = frozenset({"name", "key", "variable", "env", "parameter"})


class Judge(TextJudge):
    """The rules of a policy, ready to be applied to anything that was read."""

    def tree(
        self, value: object, *, deployment: bool = False, path: Path = (), mode: Mode = Mode.SETTING
    ) -> Iterator[tuple[Path, Problem]]:
        """Yields what is wrong with nested mappings, lists and texts, each with the path of its keys.

        Args:
            value: What YAML, JSON or TOML held.
            deployment: Whether it belongs to a deployment, where sampling values are fixed.
            path: Where the value itself stands.
            mode: What its texts are; descriptions are told by their key.
        """
        entries = pairs(value)
        if entries is not None:
            yield from self._mapping(value, list(entries), deployment, path, mode)
        elif isinstance(value, (list, tuple)):
            yield from self._sequence(value, deployment, path, mode)
        elif isinstance(value, str):
            key = normalise_key(str(next((part for part in reversed(path) if isinstance(part, str)), "")))
            if mode is Mode.SETTING and _PROSE_KEYS.search(key):
                mode = Mode.PROSE
            for problem in self.string(value, mode):
                yield path, problem

    def _mapping(
        self, value: object, entries: list[tuple[Any, Any]], deployment: bool, path: Path, mode: Mode
    ) -> Iterator[tuple[Path, Problem]]:
        added_token = _is_added_token(value)
        counts = is_count_table(value)
        if _expects_refusal(value) or (counts and len(entries) > _LARGEST_SETTINGS):
            return
        if self._describes_think_token(value):
            entries = [(key, entry) for key, entry in entries if not isinstance(entry, str)]
        yield from self._named_value(value, path)
        for key, entry in entries:
            name = str(key)
            here = (*path, name)
            problem = self.forced_id(name, entry)
            if problem is None and _REFUSING_KEYS.search(normalise_key(name)):
                continue
            if problem is None and not (counts and self.keys.is_ambiguous(name)):
                problem = self.keys.judge(name, entry)
            problem = problem or self.keys.judge_content(name, entry)
            if problem is None and deployment:
                problem = self.keys.judge_sampling(name, entry)
            if problem is not None:
                yield here, problem
                continue
            if added_token and name == "content":
                continue
            if normalise_key(name) == "chat_template":
                yield from ((here, found) for found in self.chat_template(entry))
                continue
            if isinstance(entry, str) and normalise_key(name) in ("chat_template_path", "chat_template_file"):
                yield from ((here, found) for found in self.chat_template(entry))
            yield from self.tree(entry, deployment=deployment, path=here, mode=mode)

    def _sequence(
        self, value: Sequence[Any], deployment: bool, path: Path, mode: Mode
    ) -> Iterator[tuple[Path, Problem]]:
        if value and all(isinstance(entry, int) for entry in value):
            problem = judge_ids(value, self.policy)
            if problem is not None:
                yield path, problem
            return
        texts = [entry for entry in value if isinstance(entry, str)]
        if texts and len(texts) == len(value):
            # An argument list: an option and its value are two entries. Options are judged on the joined line.
            for problem in self.flags_in(" ".join(_quote(entry) for entry in texts)):
                yield path, problem
            for index, entry in enumerate(texts):
                if not entry.startswith("-"):
                    yield from self.tree(entry, deployment=deployment, path=(*path, index), mode=mode)
            return
        for index, entry in enumerate(value):
            yield from self.tree(entry, deployment=deployment, path=(*path, index), mode=mode)

    def _describes_think_token(self, value: object) -> bool:
        """Whether a record is about a think token itself, as a row of a vocabulary is: its id is beside its text."""
        mapping = as_dict(value) or {}
        return any(mapping.get(key) in self.policy.think_ids for key in ("id", "token_id", "token"))

    def _named_value(self, value: object, path: Path) -> Iterator[tuple[Path, Problem]]:
        """Judges ``{name: ENABLE_THINKING, value: "true"}``, the way containers are given their environment."""
        mapping = as_dict(value)
        if mapping is None or "value" not in mapping or len(mapping) > 4:
            return
        for key in _RECORD_KEYS & mapping.keys():
            problem = self.keys.judge(mapping[key], mapping["value"]) if isinstance(mapping[key], str) else None
            if problem is not None:
                yield (*path, "value"), problem

    def forced_id(self, key: str, value: object) -> Problem | None:
        """Returns what is wrong with a setting that forces or favours a think token."""
        name = normalise_key(key)
        think_ids = self.policy.think_ids
        if name in _FORCING_KEYS:
            ids = value if isinstance(value, (list, tuple)) else [value]
            flat = [entry for part in ids for entry in (part if isinstance(part, (list, tuple)) else [part])]
            if any(entry in think_ids for entry in flat if not isinstance(entry, bool)):
                return Problem("think-token", f"'{key}' holds a think token", shorten(f"{key}={value!r}"))
        if name.isdigit() and int(name) in think_ids and isinstance(value, (int, float)) and is_on(value) and value > 0:
            return Problem("think-token", "a bias in favour of a think token", shorten(f"{key}={value!r}"))
        return None

    def chat_template(self, template: object) -> list[Problem]:
        """Returns what is wrong with a chat template; lists of named templates are judged one by one."""
        if isinstance(template, str):
            if _TEMPLATE_FILE.fullmatch(template.strip()):
                problem = Problem("chat-template", "a template for thinking", shorten(template))
                return [problem] if _THINKING_FILE.search(template.lower()) else []
            return judge_template(template, self.policy)
        if isinstance(template, (list, tuple)):
            return [
                problem for entry in template for problem in self.chat_template((as_dict(entry) or {}).get("template"))
            ]
        return []


def _expects_refusal(value: object) -> bool:
    """Whether a record says that what it holds has to be refused: ``{"request": …, "expected_status": 400}``."""
    mapping = as_dict(value) or {}
    said = [mapping[key] for key in _OUTCOME_KEYS & mapping.keys()]
    return any(
        (isinstance(entry, int) and 400 <= entry < 500) or (isinstance(entry, str) and _REFUSED.match(entry.lower()))
        for entry in said
    )


def _is_added_token(value: object) -> bool:
    mapping = as_dict(value)
    return (
        mapping is not None and "content" in mapping and bool({"single_word", "lstrip", "normalized"} & mapping.keys())
    )


def _quote(entry: str) -> str:
    return f"'{entry}'" if re.search(r"\s", entry) and "'" not in entry else entry
