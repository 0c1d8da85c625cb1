"""Templates that are rendered behind one's back: commands and configurations that give Qwen3's template its default.

A server, a trainer or a chat command renders the template of the model it is given. Where that is a hybrid Qwen3 and
nothing says ``enable_thinking: false``, it thinks. Where the model cannot be known, that is said and is no violation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .findings import Finding, shorten
from .text import places_of
from .trees import as_dict

_RULE = "template-call"
_QWEN3 = re.compile(r"(?<![a-z0-9])qwen[-_]?3(?:[._]\d)?(?!\d)[\w.:-]*", re.IGNORECASE)
# Qwen3 models that have no thinking mode, and names that say that it was taken out.
_NO_MODE = re.compile(
    r"instruct|coder|embed|rerank|guard|asr|tts|no[-_]?think|non[-_]?think|without[-_]think", re.IGNORECASE
)
# Commands, and images of servers, that render the template of the model they are given.
COMMANDS = (
    *(r"vllm\s+(?:serve|chat|run-batch)", r"vllm\.entrypoints[\w.]*", r"vllm/vllm-openai", "trtllm-serve"),
    *(r"sglang[. ](?:launch_server|serve)", "lmsysorg/sglang", "text-generation-launcher"),
    *("text-generation-inference", r"mlx_lm[. ](?:generate|chat|server|lora|evaluate)", r"ollama\s+run"),
    *(r"docker\s+model\s+run", r"lms\s+chat", "llama-(?:server|cli|run)", r"ramalama\s+(?:run|serve)"),
    *(r"transformers(?:-cli)?\s+(?:chat|serve)", r"lmdeploy\s+(?:serve|chat)", r"aphrodite\s+run"),
    *(r"trl\s+(?:sft|dpo|grpo|kto|rloo|reward|chat|vllm-serve)", r"swift\s+(?:sft|infer|deploy|rlhf|app|eval)"),
    *(r"llamafactory-cli\s+(?:train|chat|api|webchat)", r"lm[_-]eval\b(?=[^|;]*--apply_chat_template)"),
    *(r"ollama\.(?:chat|generate)(?=\s*\()", r"ollama(?=\(\s*[\"'])", r"ChatOllama(?=\s*\()"),  # in JavaScript
    r"curl\b(?=[^|;]*/api/(?:chat|generate)\b)",
)


class AnyCommand:
    """Finds commands, by whatever path they are called: where the plain beginning of one stands, it is tried."""

    def __init__(self, commands: Sequence[str]) -> None:
        self._pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(commands)})(?![\w-])", re.IGNORECASE)
        self._beginnings = {re.match(r"[\w/-]+", command)[0].lower() for command in commands}  # type: ignore[index]

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Yields each command in a text; one may begin inside another."""
        places = places_of(self._beginnings, text)
        return (match for place in places if (match := self._pattern.match(text, place)) is not None)

    def search(self, text: str) -> re.Match[str] | None:
        """Returns the first command of a text."""
        return next(self.finditer(text), None)


_COMMAND = AnyCommand(COMMANDS)
_COMMAND_END = re.compile(r"(?<!\\)\n|(?<=\s)(?:\|\|?|&&|;)(?=\s)|;\s*\n|`")
_VARIABLE = re.compile(
    r"^\s*(?:export\s+|ARG\s+|ENV\s+)?(?:const\s+|let\s+|var\s+)?(\w+)\s*[:?]?=\s*[\"']?([\w./:-]+)", re.MULTILINE
)
_CALL = re.compile(r"\s*\(")
_CALL_PART = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|[()]")
_NAMED_ARGUMENT = re.compile(r"(\bmodel\s*:\s*)([A-Za-z_]\w*)")
_OFF = re.compile(
    r"enable_thinking[\"'\\]*\s*[:=]\s*[\"'\\]*false|[\"']?think(?:ing)?[\"'\\]*\s*[:=]\s*false|--(?:no-?think\w*)"
    r"|--think(?:ing)?\s+false|--reasoning-budget[= ]+0\b|/no_think|--chat[-_]template(?:-file)?[= ]"
    r"|--ignore-chat-template|--(?:task|runner)[= ]+(?:embed|score|classify|pooling|rerank)|--embeddings?\b|-no-cnv"
    r"|--template[= ]+qwen3\w*_nothink|--dataset_text_field",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(r"\$[\w{(]|\{\w*\}|\{\{|<[\w-]*model[\w-]*>|\0", re.IGNORECASE)
_NAMED = re.compile(r"(?:^|\s)(?:--?(?:m|hf|model\w*|model[-_](?:path|id|name\w*)|hf-repo)[= ]+)?[\"']?[\w.-]+/[\w.-]+")
_MODEL_KEYS = ("model", "model_name_or_path", "base_model", "model_path", "model_id", "model-path", "model_name")
_TRAINS = frozenset({"stage", "finetuning_type", "cutoff_len", "infer_backend", "model_name_or_path"})
_SERVES = re.compile(
    r"max[-_]model[-_]len|gpu[-_]memory[-_]utilization|served[-_]model[-_]name|tensor[-_]parallel[-_]size"
)
_TEMPLATE_OF_MODEL = frozenset({"qwen3", "qwen3_5", "qwen3.5", "tokenizer_default"})


def is_hybrid(text: str) -> bool:
    """Returns whether a text names a Qwen3 model that thinks unless it is told not to."""
    return any(_NO_MODE.search(match[0]) is None for match in _QWEN3.finditer(text))


def names_qwen3(text: str) -> bool:
    """Returns whether a text names any model of the Qwen3 family."""
    return _QWEN3.search(text) is not None


def finding(what: str, value: str, *, certain: bool, line: int = 1) -> Finding:
    """Returns a violation, or what cannot be seen: which template is rendered, and with which default."""
    if certain:
        return Finding(_RULE, f"{what} renders Qwen3's template with its default, to think", shorten(value), line)
    return Finding(
        _RULE, f"{what} renders the template of a model that is not named here", shorten(value), line, seen=False
    )


def judge_commands(text: str) -> Iterator[tuple[int, Finding]]:
    """Yields the commands in a text that render Qwen3's template with its default, each with its position."""
    if _COMMAND.search(text) is None:
        return
    # A list of arguments is a command: ["vllm", "serve", "Qwen/Qwen3-4B"]
    flat = re.sub(r"[\"']\s*,\s*[\"']", lambda match: " " * len(match[0]), text)
    variables = dict(_VARIABLE.findall(flat))
    position = 0
    for match in _COMMAND.finditer(flat):
        if match.start() < position:
            continue
        called = _CALL.match(flat, match.end())
        end = None if called else _COMMAND_END.search(flat, match.end())
        position = _call_end(flat, called.end()) if called else end.start() if end else len(flat)
        # Only a variable that is set here is known.
        command = re.sub(
            r"\$[{(]?(\w+)(?:[})]|:-[^}]*\})?",
            lambda name: variables.get(name[1], name[0]),
            flat[match.start() : position],
        )
        if called:
            command = _NAMED_ARGUMENT.sub(lambda name: name[1] + variables.get(name[2], "{}"), command)
        position = max(position, match.end())
        if _OFF.search(command):
            continue
        name, arguments = " ".join(match[0].split()), command[len(match[0]) :]
        line = text.count("\n", 0, match.start()) + 1
        if is_hybrid(arguments):
            yield match.start(), finding(f"'{name}'", command, certain=True, line=line)
        elif not names_qwen3(arguments) and _UNKNOWN.search(arguments) and not _NAMED.search(arguments):
            yield match.start(), finding(f"'{name}'", command, certain=False, line=line)


def _call_end(text: str, start: int) -> int:
    """Returns where the call ends whose arguments begin here, over as many lines as they take."""
    depth = 1
    for part in _CALL_PART.finditer(text, start):
        depth += (part[0] == "(") - (part[0] == ")")
        if depth == 0:
            return part.end()
    return len(text)


def judge_mapping(value: object) -> tuple[str, Finding] | None:
    """Returns what is wrong with a configuration of a trainer or a server, with the key that says so."""
    mapping = as_dict(value) or {}
    key = next((key for key in _MODEL_KEYS if isinstance(mapping.get(key), str)), None)
    model = str(mapping[key]) if key else ""
    if _switches_off(value):
        return None
    template = mapping.get("template")
    if isinstance(template, str) and re.fullmatch(r"qwen3(?:[._]5|_vl)?", template.lower()):
        certain = bool(_TRAINS & mapping.keys()) or is_hybrid(model)
        return "template", finding(f"'template: {template}'", f"template: {template}", certain=certain)
    image = mapping.get("image")
    if isinstance(image, str) and _COMMAND.search(image):
        parts = [one for name in ("entrypoint", "command", "args") if isinstance(one := mapping.get(name), (str, list))]
        words = [word for part in parts for word in (part if isinstance(part, list) else [part])]
        said = [str(mapping[name]) for name in ("environment", "env") if name in mapping]
        text = " ".join(map(str, [image, *words, *filter(is_hybrid, said)]))
        judged = next(judge_commands(text.replace("\n", " ")), None)
        where = next((name for name in ("command", "args", "entrypoint") if name in mapping), "image")
        return None if judged is None or _COMMAND.search(" ".join(map(str, words))) else (where, judged[1])
    if key and re.match(r"ollama(?:_chat)?/", model) and is_hybrid(model):
        return key, finding("Ollama", f"{key}: {model}", certain=True)
    if key is None or not (is_hybrid(model) or _UNKNOWN.search(model)):
        return None
    datasets = mapping.get("datasets")
    kinds = [(as_dict(entry) or {}).get("type") for entry in datasets] if isinstance(datasets, list) else []
    chats = "chat_template" in map(str, kinds) or str(mapping.get("chat_template")) in _TEMPLATE_OF_MODEL
    if chats and key == "base_model":
        return key, finding("a training of chats", f"{key}: {model}", certain=is_hybrid(model))
    serves = any(_SERVES.fullmatch(name) for name in mapping)
    if serves and not {"chat-template", "chat_template"} & mapping.keys():
        return key, finding("a server", f"{key}: {model}", certain=is_hybrid(model))
    return None


def _switches_off(value: object, depth: int = 0) -> bool:
    """Whether a configuration says anywhere that the template is not to think."""
    mapping = as_dict(value)
    if mapping is not None:
        return any(
            (name.replace("-", "_") in ("enable_thinking", "think") and entry is False)
            or (isinstance(entry, str) and _OFF.search(entry) is not None)
            or (depth < 3 and _switches_off(entry, depth + 1))
            for name, entry in mapping.items()
        )
    return isinstance(value, list) and depth < 4 and any(_switches_off(entry, depth + 1) for entry in value)
