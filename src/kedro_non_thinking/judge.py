"""All rules of a policy in one object: judges a text, a tree of settings, a chat template, a list of token ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from numbers import Real
from typing import Any

from .findings import Finding, shorten
from .mentions import DEPLOYS, REFUSING_KEY, TELLING_KEY, asks, inline_code, refuses
from .policy import Policy
from .rendering import judge_commands, judge_mapping
from .settings import SettingRules, is_count_table, is_off, is_on, normalise_key
from .template import judge_template
from .text import TextRules, cut, excerpt, line_of, plain_part, runs_with
from .tokens import LABEL_START, judge_ids
from .trees import Keys, as_dict, pairs


class Mode(Enum):
    """What a text is, which decides how much of it is a mention and how much is meant."""

    SETTING = "setting"  # a value in a configuration, a string in code, a prompt: all of it is meant
    SNIPPET = "snippet"  # a piece of a document that is not parsed: what a program says when it refuses is fine
    DESCRIPTION = "description"  # the text of a setting that describes: a sentence that forbids is fine
    DOCUMENT = "document"  # running text: what it asks for counts, not what it names or forbids
    DATA = "data"  # an example, an answer: no tag at all, but for the end of a prompt


# Without one of these a text can break no rule. All in lower case.
_TRIGGERS = (
    *("think", "reasoning", "151667", "151668", "chat_template", "chat-template", "template_kwargs", "render_jinja"),
    *("generation_prompt", "disable_hooks", "<|im_start|>", ".chat(", " -re", "fromhex", "b64decode"),
    *("qwen", "trainer(", "trainer)", "trainer as", "chat(", "create_chat_completion", "ollama", "serve ", "mlx_lm"),
    *("launch_server", "vllm", "llama-", "llamafactory", "lm_eval", "lm-eval", "lmdeploy", "model-len"),
    "model_len",
)
_DEPLOY_TRIGGERS = re.compile(r"deploy|serv[ei]|endpoint")
# "temp" and "temperature", but no template, temporary file or attempt, which many files speak of.
_SAMPLING_TRIGGERS = re.compile(r"temp(?!lat|orar|file|dir|t)|top[_-]|min[_-]p")
# A tag in pieces, "<th" + "ink>", or with gaps, < t h i n k >
_PIECES = re.compile(
    r"<[\s/]*(?:thin?|thi|th|t)[\"']|[\"'](?:hink|ink|nk|k)\s*>|<[\s/\\|]*t[\s\\|]*h[\s\\|]*i[\s\\|]*n[\s\\|]*k"
)
_TRUE_TEXTS = frozenset({"!0", "${true}"})
_TYPE_NAMES = frozenset({"bool", "boolean", "str", "int", "optional", "literal", "dict", "mapping", "any", "object"})
_VALUE_END = re.compile(r"[ \t]*(?:$|[\n,;}\])`\"']|#)")
_FLAG = re.compile(
    r"(?<![\w-])(--?[a-z][\w-]+)(?:(?:=|[ \t]+|[\"'],\s*(?![\"']-\D)|[ \t]*\\\n\s*)"
    r"('[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"|[^\s\"'\\,;|&)\]`-][^\s\"'\\,;|&)\]`]*|-\d+|\"\"|''))?",
    re.IGNORECASE,
)
_MODEL = re.compile(r"[a-z0-9][\w.-]*(?:/[\w.-]+)?(?::[\w.-]+)?", re.IGNORECASE)
_RUN = re.compile(r"[\w./:-]+")
_NAME = re.compile(rf"\s*{_MODEL.pattern}(?<!\.)\s*", re.IGNORECASE)
_OPEN_TURN = re.compile(r"<\|im_start\|>\s*assistant(?:\s|\\n)*\Z")
_PROMPT_BLOCK = re.compile(r"<\|im_start\|>assistant(?:\n|\\n)<think>(?:\n|\\n){2}</think>(?:(?:\n|\\n){2}|\Z)")
_THINKING_MODE = re.compile(r"(?:thinking|reasoning)[\s-]mode\b")
_ASKS_FOR = re.compile(
    r"\b(?:enable|activate|turn on|switch on|use|run in|start in|switch to)\s{1,80}(?:the\s{1,80})?\Z"
)
# "set `enable_thinking` to `true`": a setting without a sign
_SET_TO = re.compile(
    r"\b(enable_thinking|enable_reasoning|include_reasoning|thinking)[\"'`]*\s+to\s+[\"'`]*(true|on|1|yes|enabled)\b"
)
_OUTCOME_KEYS = frozenset(
    {"expected_status", "status", "status_code", "expect", "expected", "outcome", "expected_error"}
)
_REFUSED = re.compile(r"refus|reject|forbid|denied|violation|error|4\d\d")
_TEMPLATE_FILE = re.compile(r"[^\s{}]+\.(?:jinja2?|j2|txt)|[\w./-]+")
_THINKING_FILE = re.compile(r"(?<!non[-_])(?<!non)(?<!no[-_])(?<!without[-_])(?:thinking|reasoning)")
_LARGEST_SETTINGS = 50
"""More numbers than this under names are counts or a vocabulary, not settings."""
_RECORD_KEYS = frozenset({"name", "key", "variable", "env", "parameter"})


class Judge:
    """The rules of a policy, ready to be applied to anything that was read."""

    def __init__(self, policy: Policy, *, guesses: bool = False) -> None:
        """Takes the rules; with ``guesses``, what cannot be known is yielded, too, as findings that are not seen."""
        self.policy = policy
        self._guesses = guesses
        self.text_rules = TextRules(policy)
        self.settings = SettingRules(policy)
        patterns = policy.rules.thinking_only_model.patterns
        self._models = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
        # A plain part of each pattern: a name without any of them is no such model.
        self._model_words = tuple({plain_part(pattern): None for pattern in patterns})

    def may_break(self, text: str, *, deployment: bool = False, code: bool = False) -> bool:
        """Returns whether a text could break a rule at all: fast, and true more often than need be.

        Most files and most strings end here, so a check of thousands of files takes seconds. Of ``code`` it is known
        that it holds no examples.
        """
        low = text.lower()
        if _triggers(low, code) or any(map(low.__contains__, self._model_words)):
            return True
        if (deployment or _DEPLOY_TRIGGERS.search(low)) and _SAMPLING_TRIGGERS.search(low):
            return True
        if _PIECES.search(low.replace("\\n", " ").replace("\\t", " ") if "\\" in low else low):
            return True
        if low.isascii() and not self.text_rules.may_be_escaped(low):
            return False
        normalised = self.text_rules.normalise(low)
        return _triggers(normalised, code) or bool(self.text_rules.tags(normalised))

    # -- texts ---------------------------------------------------------------------------------------------------------

    def text(self, text: str, mode: Mode = Mode.SETTING) -> Iterator[Finding]:
        """Yields what is wrong with a text; lines count within it."""
        if len(text) < 2:
            return
        normalised = self.text_rules.normalise(text)
        found = [*self._tags(normalised, mode), *self._switches(normalised)]
        if mode is not Mode.DATA:
            found += self._settings_in(normalised)
        if mode is Mode.DOCUMENT:
            named = [(at, finding) for at, finding in self._models_in(normalised) if "/" in finding.value]
            found += [*self._asked_for(normalised), *named]
            found += [(at, entry) for at, entry in self.commands(normalised) if inline_code(normalised, at)]
        elif mode in (Mode.SETTING, Mode.SNIPPET):
            found += self._open_turn(normalised)
            found += self.commands(normalised)
            if "--" in text or _NAME.fullmatch(text):  # a command, or nothing but a name
                found += self._models_in(text)
        for position, finding in found:
            if not self._is_mention(finding.rule, mode, normalised, position):
                yield finding

    def _is_mention(self, rule: str, mode: Mode, normalised: str, position: int) -> bool:
        """Whether something is only named, as far as a text of this kind may do that."""
        if mode in (Mode.SETTING, Mode.DATA):
            return False
        if mode is Mode.SNIPPET and rule in ("think-tag", "soft-switch"):
            return False
        if mode is Mode.DOCUMENT:
            if rule in ("thinking-only-model", "template-call") and not asks(normalised, position):
                return True
            code = inline_code(normalised, position) if rule in ("think-tag", "soft-switch") else None
            names = code is not None and (len(code) <= 12 if rule == "soft-switch" else self._only_tags(code))
            if names and not asks(normalised, position):
                return True
        return refuses(normalised, position)

    def _only_tags(self, code: str) -> bool:
        """Whether inline code holds tags and nothing that could be a thought."""
        bare = cut(code, self.text_rules.tags(code))
        rest = re.sub(r"</?(?:code|tt|kbd|samp|pre)\b[^>]*>|\\n|<\|im_start\|>assistant", "", bare)
        return not re.sub(r"[\s`.\u2026,/'\"]", "", rest)

    def _tags(self, normalised: str, mode: Mode) -> Iterator[tuple[int, Finding]]:
        if mode is Mode.DATA:
            allowed = [match.span() for match in _PROMPT_BLOCK.finditer(normalised)]
            tags = self.text_rules.tags(normalised)
            tags = [tag for tag in tags if not any(start <= tag.start < end for start, end in allowed)]
        else:
            tags = self.text_rules.stray_tags(normalised)
        for tag in tags:
            yield _seen("think-tag", f"{'closing' if tag.closing else 'opening'} think tag", normalised, tag.start)

    def _switches(self, normalised: str) -> Iterator[tuple[int, Finding]]:
        for position in self.text_rules.switches(normalised):
            yield _seen("soft-switch", "soft switch that turns thinking on", normalised, position)

    def _open_turn(self, normalised: str) -> Iterator[tuple[int, Finding]]:
        match = _OPEN_TURN.search(normalised) if "im_start" in normalised else None
        if match:
            message = "prompt ends in an assistant turn without the empty think block"
            yield _seen("chat-template", message, normalised, match.start())

    def _asked_for(self, normalised: str) -> Iterator[tuple[int, Finding]]:
        if "think" in normalised or "reason" in normalised:
            for match in _SET_TO.finditer(normalised):
                yield _seen("thinking-switch", f"'{match[1]}' switches thinking on", normalised, match.start())
            for mode in _THINKING_MODE.finditer(normalised):
                asked = _ASKS_FOR.search(normalised, max(0, mode.start() - 200), mode.start())
                if asked:
                    yield _seen("thinking-switch", "asks for thinking mode", normalised, asked.start())

    def _settings_in(self, normalised: str) -> Iterator[tuple[int, Finding]]:
        """Yields settings and options that stand inside a text, in a command or in the body of a request."""
        for match in self.settings.assignments(normalised):
            if _means_value(match, normalised):
                value = match[2].strip("\"'").rstrip(".")
                judged: object = True if value in _TRUE_TEXTS else value
                if value.startswith(("{", "[")) and self.settings.canonical(match[1]) != "chat_template_kwargs":
                    judged = value if not is_off(value[1:-1]) else None
                finding = self.settings.judge(match[1].replace("-", "_"), judged)
                if finding is not None:
                    line = line_of(normalised, match.start())
                    yield match.start(), replace(finding, value=shorten(match[0]), line=line)
        if any(word in normalised for word in ("think", "rea", "template")):
            yield from self._flags_in(normalised)

    def flags(self, command: str) -> list[Finding]:
        """Returns the options of a command that are refused."""
        return [finding for _, finding in self._flags_in(command)]

    def commands(self, text: str) -> Iterator[tuple[int, Finding]]:
        """Yields the commands in a text that render Qwen3's template with its default."""
        return ((at, entry) for at, entry in judge_commands(text) if entry.seen or self._guesses)

    def _flags_in(self, text: str) -> Iterator[tuple[int, Finding]]:
        if "-" not in text:
            return
        for match in _FLAG.finditer(text):
            flag, value = match[1], match[2]
            if value is not None:
                value = value[1:-1] if value[:1] in "\"'" and value[-1:] == value[:1] else value
            finding = self.settings.judge_flag(flag, value)
            if finding is not None:
                yield match.start(), replace(finding, line=line_of(text, match.start()))

    # -- names of models -----------------------------------------------------------------------------------------------

    def models(self, text: str) -> list[Finding]:
        """Returns the thinking-only models that a command or a path names."""
        return [finding for _, finding in self._models_in(text)]

    def _models_in(self, text: str) -> Iterator[tuple[int, Finding]]:
        runs = runs_with(self._model_words, text, _RUN)
        for match in (name for start, end in runs for name in _MODEL.finditer(text, start, end)):
            name = match[0].rstrip(".")
            if len(name) <= 200 and any(pattern.search(name) for pattern in self._models):
                line = line_of(text, match.start())
                yield match.start(), Finding("thinking-only-model", f"{name} has no non-thinking mode", name, line)

    # -- trees of settings ---------------------------------------------------------------------------------------------

    def tree(
        self, value: object, *, deployment: bool = False, keys: Keys = (), mode: Mode = Mode.SETTING
    ) -> Iterator[tuple[Keys, Finding]]:
        """Yields what is wrong with nested mappings, lists and texts, each with the path of its keys.

        Args:
            value: What YAML, JSON or TOML held.
            deployment: Whether it belongs to a deployment, where sampling values are fixed.
            keys: Where the value itself stands.
            mode: What its texts are; descriptions are recognised by their key.
        """
        entries = pairs(value)
        if entries is not None:
            yield from self._mapping(value, list(entries), deployment, keys, mode)
        elif isinstance(value, (list, tuple)):
            yield from self._sequence(value, deployment, keys, mode)
        elif isinstance(value, str):
            key = normalise_key(str(next((part for part in reversed(keys) if isinstance(part, str)), "")))
            if mode is Mode.SETTING and TELLING_KEY.search(key):
                mode = Mode.DESCRIPTION
            yield from ((keys, finding) for finding in self.text(value, mode))

    def _mapping(
        self, value: object, entries: list[tuple[Any, Any]], deployment: bool, keys: Keys, mode: Mode
    ) -> Iterator[tuple[Keys, Finding]]:
        added_token = _is_added_token(value)
        if _expects_refusal(value) or (len(entries) > _LARGEST_SETTINGS and is_count_table(value)):
            return
        if self._describes_think_token(value):
            entries = [(key, entry) for key, entry in entries if not isinstance(entry, str)]
        yield from self._named_value(value, keys)
        renders = judge_mapping(value) if mode is Mode.SETTING else None
        if renders is not None and (renders[1].seen or self._guesses):
            yield (*keys, renders[0]), renders[1]
        for key, entry in entries:
            name = str(key)
            here = (*keys, name)
            normalised = normalise_key(name)
            if REFUSING_KEY.search(normalised):
                continue
            finding = self.settings.judge(name, entry, deployment=deployment, among=value)
            if finding is not None:
                yield here, finding
                continue
            if added_token and name == "content":
                continue
            if normalised == "chat_template":
                yield from ((here, found) for found in self.chat_template(entry))
                continue
            if isinstance(entry, str) and normalised in ("chat_template_path", "chat_template_file"):
                yield from ((here, found) for found in self.chat_template(entry))
            yield from self.tree(entry, deployment=deployment or bool(DEPLOYS.search(name)), keys=here, mode=mode)

    def _sequence(
        self, value: Sequence[Any], deployment: bool, keys: Keys, mode: Mode
    ) -> Iterator[tuple[Keys, Finding]]:
        if value and all(isinstance(entry, int) for entry in value):
            finding = judge_ids(value, self.policy)
            if finding is not None:
                yield keys, finding
            return
        is_command = bool(value) and all(isinstance(entry, str) for entry in value)
        if is_command:
            # An argument list: an option and its value are two entries. Options are judged on the joined line.
            joined = join_arguments(value)
            commands = self.commands(f"vllm {joined}" if value[0] == "serve" else joined)
            yield from ((keys, finding) for finding in (*self.flags(joined), *(entry for _, entry in commands)))
        for index, entry in enumerate(value):
            if not (is_command and entry.startswith("-")):
                yield from self.tree(entry, deployment=deployment, keys=(*keys, index), mode=mode)

    def _describes_think_token(self, value: object) -> bool:
        """Whether a record is about a think token itself, as a row of a vocabulary is: its id is beside its text."""
        mapping = as_dict(value) or {}
        named = [mapping.get(key) for key in ("id", "token_id", "token")]
        return any(isinstance(entry, Real) and entry in self.policy.think_ids for entry in named)

    def _named_value(self, value: object, keys: Keys) -> Iterator[tuple[Keys, Finding]]:
        """Judges ``{name: ENABLE_THINKING, value: "true"}``, the way containers are given their environment."""
        mapping = as_dict(value)
        if mapping is None or "value" not in mapping or len(mapping) > 4:
            return
        for key in _RECORD_KEYS & mapping.keys():
            finding = self.settings.judge(mapping[key], mapping["value"]) if isinstance(mapping[key], str) else None
            if finding is not None:
                yield (*keys, "value"), finding

    def chat_template(self, template: object) -> list[Finding]:
        """Returns what is wrong with a chat template; lists of named templates are judged one by one."""
        if isinstance(template, str):
            if not _TEMPLATE_FILE.fullmatch(template.strip()):
                finding = judge_template(template, self.policy)
                return [] if finding is None else [finding]
            if _THINKING_FILE.search(template.lower()):
                return [Finding("chat-template", "a template for thinking", shorten(template))]
        if isinstance(template, (list, tuple)):
            named = [(as_dict(entry) or {}).get("template") for entry in template]
            return [finding for entry in named for finding in self.chat_template(entry)]
        return []


def _triggers(low: str, code: bool) -> bool:
    """Whether a text in lower case holds a word without which no rule is broken."""
    # What is wrong with examples may be what they do not hold. Kedro's pipelines are no one's chat: only those of
    # transformers render a template.
    return (
        any(map(low.__contains__, _TRIGGERS))
        or ("transformers" in low and "pipeline(" in low)
        or (not code and LABEL_START in low)
    )


def join_arguments(arguments: Sequence[str]) -> str:
    """Returns a list of arguments as one command line."""
    return " ".join(f"'{entry}'" if re.search(r"\s", entry) and "'" not in entry else entry for entry in arguments)


def _seen(rule: str, message: str, normalised: str, position: int) -> tuple[int, Finding]:
    return position, Finding(rule, message, excerpt(normalised, position), line_of(normalised, position))


def _means_value(match: re.Match[str], text: str) -> bool:
    """Distinguishes a setting from prose: a name, a colon and a value, and nothing after them, is a setting."""
    value = match[2].strip("\"'")
    if value in _TYPE_NAMES:
        return False
    if "=" in text[match.end(1) : match.start(2)]:
        return True
    if is_on(value) or value in _TRUE_TEXTS or match[2][:1] in "\"'{[$" or re.fullmatch(r"-?\d+", value):
        return True
    return _VALUE_END.match(text, match.end()) is not None


def _expects_refusal(value: object) -> bool:
    """Whether a record says that what it holds has to be refused: ``{"request": …, "expected_status": 400}``."""
    mapping = as_dict(value) or {}
    said = [mapping[key] for key in _OUTCOME_KEYS & mapping.keys()]
    return any(
        (isinstance(entry, int) and 400 <= entry < 500) or (isinstance(entry, str) and _REFUSED.match(entry.lower()))
        for entry in said
    )


def _is_added_token(value: object) -> bool:
    mapping = as_dict(value) or {}
    return "content" in mapping and bool({"single_word", "lstrip", "normalized"} & mapping.keys())
