"""Python, judged by its syntax tree: arguments, settings, calls, strings put together and token ids."""

from __future__ import annotations

import ast
import re
import symtable
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ..findings import Finding, shorten
from ..judge import Mode, join_arguments
from ..settings import UNKNOWN, is_off, normalise_key
from ..text import cut, excerpt
from ..tokens import judge_ids
from ..trees import as_dict, reading
from .files import Source
from .python_context import Use, Uses
from .python_rendering import Rendering
from .python_values import HOLE, Folder, call_name

_SWITCH = "enable_thinking"
_MISSING = object()
# Functions that set one thing: where its name and its value stand among the arguments.
_SETTERS = {
    **dict.fromkeys(("setenv", "setdefault", "putenv", "set"), (0, 1)),
    **dict.fromkeys(("setattr", "setitem"), (1, 2)),
}
_ADDING = ("append", "extend", "insert")
_JOINING = ("cat", "concat", "concatenate", "hstack", "chain")
_MENTIONS = (Use.REFUSES, Use.SPEAKS)
_HARMLESS = (Use.REFUSES, Use.SPEAKS, Use.SEEKS)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_python(text: str) -> None:
    """Raises :class:`UncheckableError` if a text is not Python; faster than making the tree."""
    with reading("Python"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        symtable.symtable(text, "<string>", "exec")


def scan_python(source: Source) -> list[Finding]:
    """Judges a Python file.

    Raises:
        UncheckableError: The text is not Python.
    """
    with reading("Python"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source.text)
    return list(dict.fromkeys(_PythonScan(tree, source).run()))


class _PythonScan:
    """Judges one file, node by node."""

    def __init__(self, tree: ast.Module, source: Source) -> None:
        self._source = source
        self._judge = source.judge
        self._policy = source.judge.policy
        self._functions = frozenset(self._policy.rules.template_call.functions)
        self._arguments = frozenset(self._policy.rules.template_arguments.keys)
        self._uses = Uses(tree)
        self._fold = Folder(self._uses.nodes)
        self._rendering = Rendering(self._uses, self._fold, source.text)
        self._folded: set[ast.AST] = set()

    def run(self) -> Iterator[Finding]:
        """Yields what is wrong with the file."""
        handlers: dict[type[ast.AST], Callable[[Any], Iterator[Finding]]] = {
            ast.Call: self._call,
            ast.Dict: self._dict,
            **dict.fromkeys((ast.Assign, ast.AnnAssign, ast.NamedExpr), self._assignment),
            **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), self._defaults),
            ast.Attribute: self._reference,
            **dict.fromkeys((ast.List, ast.Tuple), self._sequence),
            ast.BinOp: self._addition,
        }
        texts = (ast.Constant, ast.BinOp, ast.JoinedStr, ast.Call)
        for node in self._uses.nodes:
            kind = type(node)
            handler = handlers.get(kind)
            if handler is not None:
                yield from handler(node)
            if kind in texts and node not in self._folded:
                yield from self._text(node)  # type: ignore[arg-type]

    def _at(self, node: ast.AST, *findings: Finding) -> Iterator[Finding]:
        return self._source.on_line(getattr(node, "lineno", 1), findings)

    # -- settings ------------------------------------------------------------------------------------------------------

    def _setting(self, node: ast.AST, name: str, value: object, among: object = None) -> Iterator[Finding]:
        deployment = self._source.deployment or self._uses.deploys(node)
        finding = self._judge.settings.judge(name, value, deployment=deployment, among=among)
        if finding is not None and self._uses.of(node) not in _MENTIONS:
            yield from self._at(node, finding)

    def _call(self, node: ast.Call) -> Iterator[Finding]:
        name = call_name(node)
        yield from self._prompt(node, name)
        for keyword in node.keywords:
            if keyword.arg is not None:
                yield from self._setting(keyword.value, keyword.arg, self._fold.value(keyword.value))
        if name in _SETTERS and len(node.args) > _SETTERS[name][1]:
            key, value = (self._fold.value(node.args[index]) for index in _SETTERS[name])
            if isinstance(key, str):
                yield from self._setting(node, key, value)
        if name in _ADDING:
            for argument in node.args:
                yield from self._added(argument)
        if name in _JOINING:
            for inner in ast.walk(node):
                if isinstance(inner, (ast.List, ast.Tuple)):
                    yield from self._added(inner)

    def _dict(self, node: ast.Dict) -> Iterator[Finding]:
        parent = self._uses.parent(node)
        if isinstance(parent, ast.Dict) and node in parent.values:
            return  # judged with the one around it
        yield from self._entries(node)
        names = {str(key): entry for key, entry in self._fold.value(node)}
        if isinstance(names.get("name"), str) and "value" in names:
            yield from self._setting(node, names["name"], names["value"])

    def _entries(self, node: ast.Dict) -> Iterator[Finding]:
        for key_node, entry in zip(node.keys, node.values, strict=True):
            key = UNKNOWN if key_node is None else self._fold.value(key_node)
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                continue
            findings = list(self._setting(entry, str(key), self._fold.value(entry), among=self._fold.value(node)))
            yield from findings
            if isinstance(entry, ast.Dict) and not findings:
                yield from self._entries(entry)

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> Iterator[Finding]:
        if node.value is None:
            return
        value = self._fold.value(node.value)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            key: object = None
            if isinstance(target, ast.Subscript):
                key = self._fold.value(target.slice)
            elif isinstance(target, (ast.Name, ast.Attribute)):
                key = target.id if isinstance(target, ast.Name) else target.attr
                # A variable called 'thinking' may be anything; 'enable_thinking' may not.
                if self._judge.settings.is_ambiguous(key) or value is None:
                    continue
                if key == "DISABLE_HOOKS_FOR_PLUGINS":
                    yield from self._policy_off(node, value)
            if isinstance(key, str) and value is not UNKNOWN:
                yield from self._setting(node, key, value)

    def _defaults(self, node: Function | ast.Lambda) -> Iterator[Finding]:
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        defaulted = list(zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True))
        defaulted += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None]
        for argument, default in defaulted:
            value = self._fold.value(default)
            if value is not UNKNOWN and value is not None:
                yield from self._setting(default, argument.arg, value)

    def _policy_off(self, node: ast.AST, value: object) -> Iterator[Finding]:
        named = set(value) if isinstance(value, list) else {value}
        if named & set(self._policy.rules.policy_off.plugins):
            shown = shorten(f"DISABLE_HOOKS_FOR_PLUGINS={value}")
            yield from self._at(node, Finding("policy-off", "the hook of the policy is disabled", shown))

    # -- prompts: each call that renders one has to say enable_thinking=False ------------------------------------------

    def _prompt(self, node: ast.Call, name: str) -> Iterator[Finding]:
        """Judges a call by its arguments, those in an unpacked mapping included."""
        if name not in self._functions and not _renders_prompt(node, name):
            yield from self._at(node, *self._rendering.judge(node, name))
            return
        value = self._switch(node)
        if value is False or self._uses.of(node) is Use.REFUSES:
            return
        shown = shorten(ast.unparse(node))
        if value is _MISSING:
            yield from self._at(node, Finding("template-call", f"{name}() leaves out enable_thinking=False", shown))
        elif value is None or is_off(value):
            yield from self._at(node, Finding("thinking-switch", "'enable_thinking' is not literally false", shown))

    def _reference(self, node: ast.Attribute) -> Iterator[Finding]:
        """Judges a function that renders prompts and is handed on: whoever calls it may leave the argument out."""
        if node.attr not in self._functions or not isinstance(node.ctx, ast.Load):
            return
        parent = self._uses.parent(node)
        if isinstance(parent, (ast.Compare, ast.Attribute)) or (isinstance(parent, ast.Call) and parent.func is node):
            return
        if isinstance(parent, ast.Call) and call_name(parent) == "partial" and self._switch(parent) is False:
            return
        if self._uses.of(node) not in _HARMLESS:
            message = f"{node.attr} is handed on without enable_thinking=False"
            yield from self._at(node, Finding("template-call", message, node.attr))

    def _switch(self, node: ast.Call) -> object:
        """Returns the value that a call gives the switch; ``_MISSING`` if none."""
        value: object = _MISSING
        for keyword in node.keywords:
            if keyword.arg == _SWITCH:
                value = self._fold.value(keyword.value)
            elif keyword.arg is None or normalise_key(keyword.arg) in self._arguments:
                value = (as_dict(self._fold.value(keyword.value)) or {}).get(_SWITCH, value)
        return value

    # -- token ids -----------------------------------------------------------------------------------------------------

    def _sequence(self, node: ast.List | ast.Tuple) -> Iterator[Finding]:
        """Judges a list of ids as a prompt, and a list of strings as a command."""
        values = self._fold.value(node)
        if not values or self._uses.of(node) in _HARMLESS:
            return
        if all(type(entry) is int for entry in values):
            finding = judge_ids(values, self._policy)
            if finding is not None:
                yield from self._at(node, finding)
        elif all(isinstance(entry, str) for entry in values):
            joined = join_arguments(values)
            if self._judge.may_break(joined):
                commands = (entry for _, entry in self._judge.commands(joined))
                yield from self._at(node, *self._judge.flags(joined), *commands)
        elif any(isinstance(entry, str) for entry in values):
            joined = join_arguments([entry if isinstance(entry, str) else "$unknown" for entry in values])
            yield from self._at(node, *(entry for _, entry in self._judge.commands(joined)))

    def _addition(self, node: ast.BinOp) -> Iterator[Finding]:
        """Judges ``prompt_ids + [token]``."""
        if isinstance(node.op, ast.Add):
            for side in (node.left, node.right):
                if isinstance(side, (ast.List, ast.Tuple)):
                    yield from self._added(side)

    def _added(self, node: ast.expr) -> Iterator[Finding]:
        """Judges ids that are put into a list, by name or by number."""
        value = self._fold.value(node)
        values = value if isinstance(value, list) else [value]
        ids = [entry for entry in values if type(entry) is int]
        if len(ids) != len(values) or set(self._policy.think_ids).isdisjoint(ids):
            return
        if tuple(ids) != self._policy.rules.think_token.prompt_end_ids and self._uses.of(node) not in _HARMLESS:
            yield from self._at(node, Finding("think-token", "think token added to a list of ids", f"{ids[:8]}"))

    # -- texts ---------------------------------------------------------------------------------------------------------

    def _text(self, node: ast.expr) -> Iterator[Finding]:
        text = self._fold.text(node)
        if text is None:
            return
        if not isinstance(node, ast.Constant):
            self._folded.update(child for child in ast.walk(node) if child is not node)
        if len(text) < 2 or not self._judge.may_break(text):
            return
        use = self._uses.of(node)
        if use in _HARMLESS:
            if use is Use.SPEAKS and isinstance(self._uses.parent(node), ast.Expr):  # a docstring
                yield from self._but_tags(node, text, Mode.DOCUMENT)
            return
        yield from self._but_tags(node, text.replace(HOLE, " "), Mode.SETTING)
        if HOLE in text:
            guesses = (entry for _, entry in self._judge.commands(text.replace(HOLE, "$unknown")) if not entry.seen)
            yield from self._at(node, *guesses)
        made = use is Use.MAKES or isinstance(node, (ast.BinOp, ast.JoinedStr))
        yield from self._tags(node, text, made=made)

    def _but_tags(self, node: ast.expr, text: str, mode: Mode) -> Iterator[Finding]:
        """Judges a text but for its think tags: code that looks for them has to name them."""
        yield from self._at(node, *(found for found in self._judge.text(text, mode) if found.rule != "think-tag"))

    def _tags(self, node: ast.expr, text: str, *, made: bool) -> Iterator[Finding]:
        normalised = self._judge.text_rules.normalise(text.replace(HOLE, "\u25a1"))
        tags = self._judge.text_rules.stray_tags(normalised)
        # A tag alone is a name for it, until it is made part of a text.
        if tags and (made or re.sub(r"[\s\\n]", "", cut(normalised, tags)) or self._returned_from_prompt(node)):
            value = excerpt(normalised, tags[0].start)
            yield from self._at(node, Finding("think-tag", "think tag in a text that is made here", value))

    def _returned_from_prompt(self, node: ast.AST) -> bool:
        parent = self._uses.parent(node)
        if not isinstance(parent, ast.Return):
            return False
        around: ast.AST | None = parent
        while around is not None and not isinstance(around, Function):
            around = self._uses.parent(around)
        return around is not None and re.search(r"prompt|prefix|template|render|prefill", around.name) is not None


def _renders_prompt(node: ast.Call, name: str) -> bool:
    """``template.render(messages=…, add_generation_prompt=True)`` and vLLM's ``llm.chat(…, sampling_params)``."""
    names = {keyword.arg for keyword in node.keywords}
    return (name == "render" and {"messages", "add_generation_prompt"} <= names) or (
        name == "chat" and "sampling_params" in names
    )
