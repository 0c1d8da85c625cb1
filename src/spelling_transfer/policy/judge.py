"""All rules of a policy in one object: judges a text, a tree of settings, a name of a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from spelling_transfer.policy.findings import shorten
from spelling_transfer.policy.keys import KeyRules, Problem, normalise_key
from spelling_transfer.policy.prose import refuses
from spelling_transfer.policy.rules import Policy
from spelling_transfer.policy.template import judge_template
from spelling_transfer.policy.text import Tag, TextRules, excerpt
from spelling_transfer.policy.tokens import judge_ids
from spelling_transfer.policy.values import as_dict, is_count_table, is_off, is_on, pairs

Path = tuple[str | int, ...]


class Mode(Enum):
    """What a text is, which decides how much of it is a mention and how much is meant."""

    SETTING = "setting"  # a value in a configuration, a string in code
    PROSE = "prose"  # a description: a sentence that forbids is fine
    DATA = "data"  # an example, an answer: no tag at all, but for the end of a prompt


# Without one of these a text can break no rule. All in lower case.
_TRIGGERS = ("think", "reasoning", "151667", "151668", "chat_template", "chat-template", "template_kwargs", "render_jinja")
_TRIGGERS += ("generation_prompt", "disable_hooks", "<|im_start|>", ".chat(", "-rea ", "fromhex", "b64decode")
_SAMPLING_TRIGGERS = ("temp", "top_", "top-", "min_p", "min-p")
# A tag in pieces, "<th" + "ink>", or with gaps, < t h i n k >
_PIECES = re.compile(
    r"<[\s/]*(?:thin?|thi|th|t)[\"']|[\"'](?:hink|ink|nk|k)\s*>|<[\s/\\|]*t[\s\\|]*h[\s\\|]*i[\s\\|]*n[\s\\|]*k"
)
_TRUE_TEXTS = frozenset({"!0", "${true}"})
_FLAG = re.compile(
    r"(?<![\w-])(--?[a-z][\w-]+)(?:(?:=|[ \t]+|[\"'],\s*[\"']?|[ \t]*\\\n\s*)"
    r"('[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"|[^\s\"'\\,;|&)\]`-][^\s\"'\\,;|&)\]`]*|-\d+|\"\"|''))?",
    re.IGNORECASE,
)
_MODEL = re.compile(r"[a-z0-9][\w.-]*(?:/[\w.-]+)?(?::[\w.-]+)?", re.IGNORECASE)
_OPEN_TURN = re.compile(r"<\|im_start\|>\s*assistant(?:\s|\\n)*\Z")
_PROMPT_BLOCK = re.compile(r"<\|im_start\|>assistant(?:\n|\\n)<think>(?:\n|\\n){2}</think>(?:(?:\n|\\n){2}|\Z)")
_PROSE_KEYS = re.compile(
    r"(?:^|_)(?:description|comment|comments|why|reason|reasons|forbids|remedy|check|help|title|message|note|notes|summary|doc"
    r"|docs|docstring|rationale|explanation|caption|header|epilog|label|changelog)$"
)
_REFUSING_KEYS = re.compile(
    r"(?:^|_)(?:forbid\w*|refus\w*|reject\w*|den(?:y|ied|ylist)\w*|block(?:ed|list|s)?|ban(?:ned)?|masked|mask_ids|mask_tokens"
    r"|suppress\w*|bad_words\w*|disallow\w*|prohibit\w*|violation\w*|unsupported|blacklist\w*|stop|stop_strings|stop_words"
    r"|stop_sequences|exclude\w*|not_allowed|invalid|must_not\w*)(?:_|$)"
)
_FORCING_KEYS = frozenset(
    {"eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id"}
    | {"forced_eos_token_id", "forced_decoder_ids", "begin_token_id", "prefix_token_ids", "stop_token_ids"}
)
_OUTCOME_KEYS = frozenset({"expected_status", "status", "status_code", "expect", "expected", "outcome", "expected_error"})
_REFUSED = re.compile(r"refus|reject|forbid|denied|violation|error|4\d\d")
_TEMPLATE_FILE = re.compile(r"[^\s{}]+\.(?:jinja2?|j2|txt)|[\w./-]+")
_THINKING_FILE = re.compile(r"(?<!non[-_])(?<!no[-_])(?<!without[-_])(?:thinking|reasoning)")
_RECORD_KEYS = frozenset({"name", "key", "variable", "env", "parameter"})


class Judge:
    """The rules of a policy, ready to be applied to anything that was read."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.text_rules = TextRules(policy)
        self.keys = KeyRules(policy)
        self._models = [re.compile(pattern, re.IGNORECASE) for pattern in policy.rules.thinking_only_model.patterns]
        # The longest plain part of each pattern: a text without any of them names no such model.
        self.model_words = tuple(_longest_word(pattern) for pattern in policy.rules.thinking_only_model.patterns)

    def may_break(self, text: str, *, deployment: bool = False) -> bool:
        """Returns whether a text could break a rule at all: fast, and true more often than need be.

        Most files and most strings end here, so a check of thousands of files takes seconds.
        """
        low = text.lower()
        if any(word in low for word in _TRIGGERS) or any(word in low for word in self.model_words):
            return True
        if (deployment or "serve" in low) and any(word in low for word in _SAMPLING_TRIGGERS):
            return True
        if _PIECES.search(low.replace("\\n", " ").replace("\\t", " ") if "\\" in low else low):
            return True
        if low.isascii() and not self.text_rules.may_be_escaped(low):
            return False
        normalised = self.text_rules.normalise(low)
        return any(word in normalised for word in _TRIGGERS) or bool(self.text_rules.tags(normalised))

    # -- names of models -------------------------------------------------------------------------------------------

    def model(self, name: str) -> Problem | None:
        """Returns what is wrong with the name of a model, or ``None``."""
        if len(name) > 200 or not any(pattern.search(name) for pattern in self._models):
            return None
        return Problem("thinking-only-model", f"{name} has no non-thinking mode", name)

    def models_in(self, text: str) -> Iterator[Problem]:
        """Yields the thinking-only models that a command or a path names."""
        for match in _MODEL.finditer(text):
            problem = self.model(match[0].rstrip("."))
            if problem is not None:
                yield Problem(problem.rule, problem.message, problem.value, match.start())

    # -- texts ---------------------------------------------------------------------------------------------------------

    def string(self, text: str, mode: Mode = Mode.SETTING) -> list[Problem]:
        """Returns what is wrong with a text; offsets count in the normalised text, which keeps the line breaks."""
        if len(text) < 2:
            return []
        normalised = self.text_rules.normalise(text)
        problems = [*self._marks(normalised, mode)]
        if mode is not Mode.DATA:
            if mode is Mode.SETTING and "im_start" in normalised:
                problems += self._open_turn(normalised)
            problems += self.settings_in(normalised)
            if mode is Mode.SETTING and _is_name(text):
                found = self.model(text.strip())
                problems += [found] if found else []
            elif mode is Mode.SETTING and "--" in text:
                problems += self.models_in(text)
        if mode is Mode.PROSE:
            problems = [problem for problem in problems if not refuses(normalised, problem.offset)]
        return problems

    def settings_in(self, normalised: str) -> Iterator[Problem]:
        """Yields settings and options that stand inside a text, in a command or in the body of a request."""
        if not any(word in normalised for word in ("think", "rea", "template")):
            return
        for match in self.keys.assignment.finditer(normalised):
            if _means_value(match, normalised):
                value = match[2].strip("\"'")
                judged: object = True if value in _TRUE_TEXTS else value
                if value.startswith(("{", "[")) and self.keys.canonical(match[1]) != "chat_template_kwargs":
                    judged = value if not is_off(value[1:-1]) else None
                problem = self.keys.judge(match[1].replace("-", "_"), judged)
                if problem is not None:
                    yield Problem(problem.rule, problem.message, shorten(match[0]), match.start())
        yield from self.flags_in(normalised)

    def flags_in(self, text: str) -> Iterator[Problem]:
        """Yields command-line options that are refused."""
        if "-" not in text:
            return
        for match in _FLAG.finditer(text):
            flag, value = match[1], match[2]
            if value is not None:
                value = value[1:-1] if value[:1] in "\"'" and value[-1:] == value[:1] else value
            problem = self.keys.judge_flag(flag, value)
            if problem is not None:
                yield Problem(problem.rule, problem.message, problem.value, match.start())

    def _marks(self, normalised: str, mode: Mode) -> Iterator[Problem]:
        for tag in self.tags(normalised, mode):
            kind = "closing" if tag.closing else "opening"
            yield Problem("think-tag", f"{kind} think tag", excerpt(normalised, tag.start), tag.start)
        for position in self.text_rules.switches(normalised):
            yield Problem("soft-switch", "soft switch that turns thinking on", excerpt(normalised, position), position)

    def tags(self, normalised: str, mode: Mode) -> list[Tag]:
        """Returns the tags that must not be in a normalised text of this kind."""
        if mode is not Mode.DATA:
            return self.text_rules.stray_tags(normalised)
        tags = self.text_rules.tags(normalised)
        if not tags:
            return []
        allowed = [match.span() for match in _PROMPT_BLOCK.finditer(normalised)]
        return [tag for tag in tags if not any(start <= tag.start < end for start, end in allowed)]

    def _open_turn(self, normalised: str) -> Iterator[Problem]:
        match = _OPEN_TURN.search(normalised)
        if match:
            message = "prompt ends in an assistant turn without the empty think block"
            yield Problem("chat-template", message, excerpt(normalised, match.start()), match.start())

    # -- trees of settings -------------------------------------------------------------------------------------------------

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
        if _expects_refusal(value):
            return
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

    def _sequence(self, value: Sequence[Any], deployment: bool, path: Path, mode: Mode) -> Iterator[tuple[Path, Problem]]:
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
            return [problem for entry in template for problem in self.chat_template((as_dict(entry) or {}).get("template"))]
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
    return mapping is not None and "content" in mapping and bool({"single_word", "lstrip", "normalized"} & mapping.keys())


def _longest_word(pattern: str) -> str:
    plain = re.sub(r"\[[^\]]*\]|\\.|\(\?[^)]*\)", " ", pattern)
    return max(re.findall(r"[a-z0-9-]+", plain), key=len).strip("-")


def _is_name(text: str) -> bool:
    return bool(_MODEL.fullmatch(text.strip()))


def _quote(entry: str) -> str:
    return f"'{entry}'" if re.search(r"\s", entry) and "'" not in entry else entry


def _means_value(match: re.Match[str], text: str) -> bool:
    """Tells a setting from prose: a name, a colon and a value, and nothing after them, is a setting."""
    value = match[2].strip("\"'")
    if value in {"bool", "boolean", "str", "int", "optional", "literal", "dict", "mapping", "any", "object"}:
        return False
    between = text[match.end(1) : match.start(2)]
    if "=" in between:
        return True
    if is_on(value) or value in _TRUE_TEXTS or match[2][:1] in "\"'{[$" or re.fullmatch(r"-?\d+", value):
        return True
    return bool(re.match(r"[ \t]*(?:$|[\n,;}\])`\"']|#)", text[match.end() :]))
