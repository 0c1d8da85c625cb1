"""Calls in Python that render a prompt: each has to say enable_thinking=False."""

from __future__ import annotations

import ast

from ..findings import shorten
from ..judge import Judge
from ..keys import Problem, normalise_key
from ..values import as_dict, is_off
from .python_context import Use, Uses
from .python_tokens import Found
from .python_values import Folder, call_name

_SWITCH = "enable_thinking"
_MISSING = object()


class PromptScan:
    """Judges the prompts that one file renders."""

    def __init__(self, judge: Judge, fold: Folder, uses: Uses) -> None:
        self._functions = frozenset(judge.policy.rules.template_call.functions)
        self._arguments = frozenset(judge.policy.rules.template_arguments.keys)
        self._fold = fold
        self._uses = uses

    def call(self, node: ast.Call, name: str) -> Found:
        """Judges a call by its arguments, those in an unpacked mapping included."""
        if name not in self._functions and not _renders_prompt(node, name):
            return
        value = self._switch(node)
        if value is False or self._uses.of(node) is Use.REFUSES:
            return
        shown = shorten(ast.unparse(node))
        if value is _MISSING:
            yield node, Problem("template-call", f"{name}() leaves out enable_thinking=False", shown)
        elif value is None or is_off(value):
            yield node, Problem("thinking-switch", "'enable_thinking' is not literally false", shown)

    def reference(self, node: ast.Attribute) -> Found:
        """Judges a function that renders prompts and is handed on: whoever calls it may leave the argument out."""
        if node.attr not in self._functions or not isinstance(node.ctx, ast.Load):
            return
        parent = self._uses.parent(node)
        if isinstance(parent, (ast.Compare, ast.Attribute)) or (isinstance(parent, ast.Call) and parent.func is node):
            return
        if isinstance(parent, ast.Call) and call_name(parent) == "partial" and self._switch(parent) is False:
            return
        if self._uses.of(node) not in (Use.REFUSES, Use.SEEKS, Use.SPEAKS):
            yield node, Problem("template-call", f"{node.attr} is handed on without enable_thinking=False", node.attr)

    def _switch(self, node: ast.Call) -> object:
        """Returns the value that a call gives the switch; ``_MISSING`` if none."""
        value: object = _MISSING
        for keyword in node.keywords:
            if keyword.arg == _SWITCH:
                value = self._fold.value(keyword.value)
            elif keyword.arg is None or normalise_key(keyword.arg) in self._arguments:
                value = (as_dict(self._fold.value(keyword.value)) or {}).get(_SWITCH, value)
        return value


def _renders_prompt(node: ast.Call, name: str) -> bool:
    """``template.render(messages=…, add_generation_prompt=True)`` and vLLM's ``llm.chat(…, sampling_params)``."""
    names = {keyword.arg for keyword in node.keywords}
    return (name == "render" and {"messages", "add_generation_prompt"} <= names) or (
        name == "chat" and "sampling_params" in names
    )
