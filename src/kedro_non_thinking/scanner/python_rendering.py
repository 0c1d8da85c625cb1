"""Calls in Python that render the template of a model behind one's back: trainers, pipelines, chats."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..findings import Finding
from ..rendering import finding, is_hybrid, names_qwen3
from ..settings import UNKNOWN, is_off
from ..trees import PairList, as_dict
from .python_context import Use, Uses
from .python_values import Folder, call_name

# Classes and functions that render the template of the model they are given, and the package they come from.
_TRAINER = re.compile(r"(?:SFT|DPO|GRPO|KTO|RLOO|PPO|ORPO|CPO|OnlineDPO|NashMD|XPO|GKD|BCO|Reward)Trainer")
CHATS = {
    "ChatOllama": "",
    "OllamaLLM": "",
    "Ollama": "llama_index",
    "OllamaChatGenerator": "",
    "HuggingFaceLocalChatGenerator": "",
    "TransformersModel": "smolagents",
    "VLLMModel": "smolagents",
    "MLXModel": "smolagents",
    "chat": "ollama",
    "generate": "ollama",
}
# Objects whose methods render it: how they are made, the method ("" is a call of the object itself), the package.
OBJECTS = {
    "LLM": ("chat", "vllm"),
    "Llama": ("create_chat_completion", "llama_cpp"),
    "pipeline": ("", "transformers"),
    "TextGenerationPipeline": ("", "transformers"),
}
_CLIENTS = frozenset({"create", "chat_completion", "ChatOpenAI", "completion", "acompletion", "parse", "LM"})
"""Requests to a server, which decides what its template is told."""
_RENDERING = frozenset(CHATS) | _CLIENTS | {method for method, _ in OBJECTS.values()}
"""What a call that renders is named, but for trainers and for pipelines, which may have any name."""
_TASKS = frozenset({"text-generation", "image-text-to-text", "any-to-any"})
_MODEL_NAMES = (
    *("model", "model_name", "model_id", "model_name_or_path", "repo_id", "model_path", "huggingface_repo_id"),
    *("pretrained_model_name_or_path", "filename"),
)
_SWITCHES = frozenset({"enable_thinking", "think", "thinking", "reasoning"})
# Arguments that say which text is trained on or which template is used, so that the model's own is not rendered.
_OTHER_TEXT = frozenset({"formatting_func", "dataset_text_field", "chat_template", "chat_template_path", "chat_format"})
_MESSAGES = re.compile(r"(?:^|_)(?:messages?|msgs|chats?|conversations?|dialogs?|dialogues?|turns)$", re.IGNORECASE)
_NOT_A_MODEL = re.compile(r"\s")
_LEARNT_FROM = frozenset(
    {ast.Import, ast.ImportFrom, ast.ClassDef, ast.Assign, ast.Constant, ast.keyword, ast.Attribute, ast.Dict}
)
"""Kinds of nodes that say something of a file as a whole; most are of other kinds."""


class Rendering:
    """Judges the calls of one file that render a template without being told of it."""

    def __init__(self, uses: Uses, fold: Folder, text: str) -> None:
        self._uses = uses
        self._fold = fold
        # Python reads letters of other alphabets in a name as those that they stand for.
        self._any_name = not text.isascii() or "Trainer" in text or "ipeline" in text
        self._imports: set[str] = set()
        self._made: dict[str, ast.Call] = {}
        self._trainers: set[str] = set()
        self._classes: dict[str, set[str]] = {}
        self._named = self._other_text = self._known = False

    def judge(self, call: ast.Call, name: str) -> Iterator[Finding]:
        """Yields what is wrong with a call, or what cannot be seen of it."""
        if name not in _RENDERING and not self._any_name:
            return
        if not self._known:
            self._learn()
        judged = self._what(call, name)
        if judged is None or self._uses.of(call) in (Use.REFUSES, Use.SEEKS):
            return
        what, made, certain = judged
        if self._off(call) or (made is not call and self._off(made)):
            return
        model = self._model(made)
        if isinstance(model, str):
            if not is_hybrid(model):
                return
        else:
            certain = certain and self._named
        yield finding(what, ast.unparse(call), certain=certain)

    def _learn(self) -> None:
        """Notes what the file imports, which objects it makes, and which models it names."""
        self._known = True
        for node in self._uses.nodes:
            if type(node) not in _LEARNT_FROM:
                continue
            if isinstance(node, ast.Import):
                self._imports.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                self._imports.add((node.module or "").partition(".")[0])
                self._trainers |= {alias.asname or alias.name for alias in node.names if _TRAINER.fullmatch(alias.name)}
            elif isinstance(node, ast.ClassDef):
                self._classes[node.name] = {
                    ast.unparse(base).partition("[")[0].rsplit(".", 1)[-1] for base in node.bases
                }
            elif isinstance(node, ast.Assign) and isinstance(_awaited(node.value), ast.Call):
                for target in node.targets:
                    for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                        self._made[ast.unparse(part)] = _awaited(node.value)  # type: ignore[assignment]
                        break  # model, tokenizer = …: the first is the model
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and names_qwen3(node.value):
                plain = not _NOT_A_MODEL.search(node.value) and is_hybrid(node.value)
                self._named = self._named or (plain and self._uses.of(node) in (Use.PLAIN, Use.MAKES))
            elif self._says_other(node):
                self._other_text = True
        while more := {name for name, bases in self._classes.items() if self._is_kind_of_trainer(bases)}:
            self._trainers |= more
            self._classes = {name: bases for name, bases in self._classes.items() if name not in more}

    def _is_kind_of_trainer(self, names: Iterable[str]) -> bool:
        """Whether one of some classes is a trainer of chats, by its own name or by what it is made of here."""
        return any(_TRAINER.fullmatch(name) or name in self._trainers for name in names)

    def _says_other(self, node: ast.AST) -> bool:
        """Whether a part of the file says that another text or template is trained on than the model's default."""
        if isinstance(node, ast.keyword):
            return node.arg in _OTHER_TEXT or self._is_off(node.arg, node.value)
        if isinstance(node, ast.Attribute):
            return node.attr == "chat_template" and isinstance(node.ctx, ast.Store)
        return isinstance(node, ast.Dict) and self._dict_off(node)

    def _what(self, call: ast.Call, name: str) -> tuple[str, ast.Call, bool] | None:
        """Returns what renders, the call that names its model, and whether a template is rendered for sure."""
        if self._is_kind_of_trainer([name]):
            return None if self._other_text else (f"{name}()", call, True)
        if name in CHATS and self._from(CHATS[name], call):
            return f"{name}()", call, True
        if name in _CLIENTS and (
            name != "create" or re.search(r"\.(?:completions|responses)\.", ast.unparse(call.func))
        ):
            model = self._model(call)
            if not isinstance(model, str) and not self._named:
                return None
            local = isinstance(model, str) and re.match(r"(?:ollama|ollama_chat|hosted_vllm)/", model) is not None
            return f"a request by {name}()", call, local and model.startswith("ollama")
        base = call.func.value if isinstance(call.func, ast.Attribute) else call.func
        made = base if isinstance(base, ast.Call) else self._made.get(ast.unparse(base))
        if made is None:
            strange = name == "create_chat_completion" and self._from("llama_cpp", call)
            strange = strange or (name == "chat" and self._from("vllm", call))
            return (f"{name}()", call, True) if strange and isinstance(call.func, ast.Attribute) else None
        maker = call_name(made)
        if maker == "from_pretrained" and isinstance(made.func, ast.Attribute):
            maker = ast.unparse(made.func.value).rsplit(".", 1)[-1]
        method, package = OBJECTS.get(maker, ("?", ""))
        direct = not isinstance(call.func, ast.Attribute)
        if not self._from(package, call) or (method != name if method else not direct):
            return None
        if method:
            return f"{name}()", made, True
        chats = self._chats(call, made)
        return None if chats is False else ("a pipeline", made, chats is True)

    def _from(self, package: str, call: ast.Call) -> bool:
        return not package or package in self._imports or ast.unparse(call.func).startswith(f"{package}.")

    def _chats(self, call: ast.Call, made: ast.Call) -> bool | None:
        """Returns whether a pipeline is given messages, ``None`` if that is only known when the program runs."""
        tasks = [entry.value for entry in made.keywords if entry.arg == "task"] + made.args[:1]
        kind = self._fold.value(tasks[0] if tasks else None)
        if isinstance(kind, str) and kind not in _TASKS:
            return False
        given = (
            call.args[0]
            if call.args
            else next((entry.value for entry in call.keywords if entry.arg in ("text_inputs", "text")), None)
        )
        return None if given is None else self._are_messages(given)

    def _are_messages(self, node: ast.expr) -> bool | None:
        if self._fold.text(node) is not None:
            return False
        value = self._fold.value(node)
        if isinstance(value, list) and value:
            inner = value[0]
            first = inner[0] if isinstance(inner, list) and inner and not isinstance(inner, PairList) else inner
            return None if first is UNKNOWN else "role" in (as_dict(first) or {})
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            return self._are_messages(node.elt)
        name = ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) else ""
        return True if _MESSAGES.search(re.sub(r"[\[\]'\".]+", "_", name).strip("_")) else None

    def _model(self, call: ast.Call) -> Any:
        """Returns the name of the model that a call is given, ``UNKNOWN`` if it is not written there."""
        given = {entry.arg: entry.value for entry in call.keywords}
        written = [given[name] for name in _MODEL_NAMES if name in given]
        if not written and "args" not in given:
            written = [entry for entry in call.args[:1] if call_name(call) != "pipeline"]
        for node in written:
            value = self._fold.value(node)
            if isinstance(value, str):
                return value
            made = self._made.get(ast.unparse(node))
            if made is not None and made is not call:
                return self._model(made)
        return UNKNOWN

    # -- what switches it off ------------------------------------------------------------------------------------------

    def _off(self, call: ast.Call) -> bool:
        """Whether a call says anywhere in its arguments that the template is not to think, or takes another one."""
        for node in ast.walk(call):
            if isinstance(node, ast.keyword):
                unpacked = as_dict(self._fold.value(node.value)) if node.arg is None or node.arg else None
                if node.arg == "formatting_func" or self._is_off(node.arg, node.value) or _holds_off(unpacked):
                    return True
                if node.arg in ("chat_template", "chat_format") and self._fold.value(node.value) is not None:
                    return True
            elif isinstance(node, ast.Dict) and self._dict_off(node):
                return True
        return False

    def _is_off(self, name: str | None, value: ast.expr) -> bool:
        return name in _SWITCHES and self._fold.value(value) is False

    def _dict_off(self, node: ast.Dict) -> bool:
        return _holds_off(as_dict(self._fold.value(node)))


def _holds_off(mapping: dict[str, Any] | None) -> bool:
    return mapping is not None and any(
        (name in _SWITCHES and entry is False)
        or (name == "thinking_budget" and entry is not UNKNOWN and is_off(entry))
        or _holds_off(as_dict(entry))
        for name, entry in mapping.items()
    )


def _awaited(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Await) else node
