"""Python, judged by its syntax tree: arguments, settings, calls, strings put together and token ids."""

from __future__ import annotations

import ast
import re
import symtable
import warnings
from collections.abc import Callable
from typing import Any

from ..findings import Finding, shorten
from ..judge import Judge
from ..keys import Problem
from ..text import drop_empty_blocks, excerpt
from ..values import UNKNOWN, is_count_table
from .prose_text import judge_prose
from .python_context import Use, Uses
from .python_prompts import PromptScan
from .python_tokens import Found, TokenScan
from .python_values import HOLE, Folder, call_name
from .source import Source, UncheckableError

_SETTERS = {
    "setattr": (1, 2),
    "setenv": (0, 1),
    "setdefault": (0, 1),
    "putenv": (0, 1),
    "setitem": (1, 2),
    "set": (0, 1),
}
_ADDING = ("append", "extend", "insert")
_JOINING = ("cat", "concat", "concatenate", "hstack", "chain")


def check_python(source: Source) -> None:
    """Raises :class:`UncheckableError` if a text is not Python; faster than making the tree."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            symtable.symtable(source.text, source.path, "exec")
    except SyntaxError as error:
        raise UncheckableError(f"not valid Python ({error.msg}, line {error.lineno})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UncheckableError(f"not valid Python ({str(error) or type(error).__name__})") from error


def parse_python(source: Source) -> ast.Module:
    """Returns the syntax tree of a source.

    Raises:
        UncheckableError: The text is not Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source.text)
    except SyntaxError as error:
        raise UncheckableError(f"not valid Python ({error.msg}, line {error.lineno})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UncheckableError(f"not valid Python ({str(error) or type(error).__name__})") from error


def scan_python(source: Source, judge: Judge) -> list[Finding]:
    """Judges a Python file."""
    tree = parse_python(source)
    try:
        found = list(_PythonScan(tree, source, judge).run())
    except RecursionError as error:
        raise UncheckableError("nested too deeply") from error
    findings = {source.finding(problem, getattr(node, "lineno", 1)): None for node, problem in found}
    return list(findings)


class _PythonScan:
    def __init__(self, tree: ast.Module, source: Source, judge: Judge) -> None:
        self._source = source
        self._judge = judge
        self._uses = Uses(tree)
        self._fold = Folder(self._uses.nodes)
        self._prompts = PromptScan(judge, self._fold, self._uses)
        self._tokens = TokenScan(judge, self._fold, self._uses)
        self._plugins = frozenset(judge.policy.rules.policy_off.plugins)
        self._folded: set[ast.AST] = set()

    def run(self) -> Found:
        handlers: dict[type[ast.AST], Callable[[Any], Found]] = {
            ast.Call: self._call,
            ast.Dict: self._dict,
            **dict.fromkeys((ast.Assign, ast.AnnAssign, ast.NamedExpr), self._assignment),
            **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), self._defaults),
            ast.Attribute: self._prompts.reference,
            **dict.fromkeys((ast.List, ast.Tuple), self._tokens.sequence),
            ast.BinOp: self._tokens.addition,
            ast.Constant: self._tokens.bias,
        }
        texts = (ast.Constant, ast.BinOp, ast.JoinedStr, ast.Call)
        for node in self._uses.nodes:
            kind = type(node)
            handler = handlers.get(kind)
            if handler is not None:
                yield from handler(node)
            if kind in texts and node not in self._folded:
                yield from self._text(node)  # type: ignore[arg-type]

    # -- settings ------------------------------------------------------------------------------------------------------

    def _setting(self, node: ast.AST, name: str, value: object) -> Found:
        problem = self._judge.keys.judge(name, value) or self._judge.keys.judge_content(name, value)
        if problem is None and self._source.deployment:
            problem = self._judge.keys.judge_sampling(name, value)
        if problem is not None and self._uses.of(node) not in (Use.REFUSES, Use.SPEAKS):
            yield node, problem

    def _call(self, node: ast.Call) -> Found:
        name = call_name(node)
        yield from self._prompts.call(node, name)
        for keyword in node.keywords:
            if keyword.arg is not None:
                yield from self._setting(keyword.value, keyword.arg, self._fold.value(keyword.value))
                yield from self._tokens.forced(keyword.value, keyword.arg)
        if name in _SETTERS and len(node.args) > _SETTERS[name][1]:
            key_index, value_index = _SETTERS[name]
            key = self._fold.value(node.args[key_index])
            if isinstance(key, str):
                yield from self._setting(node, key, self._fold.value(node.args[value_index]))
        if name in _ADDING:
            for argument in node.args:
                yield from self._tokens.added(argument)
        if name in _JOINING:
            for inner in ast.walk(node):
                if isinstance(inner, (ast.List, ast.Tuple)):
                    yield from self._tokens.added(inner)

    def _dict(self, node: ast.Dict) -> Found:
        if self._inside_dict(node):
            return
        value = self._fold.value(node)
        counts = is_count_table(value)
        for entry_key, entry in zip(node.keys, node.values, strict=True):
            key = self._fold.value(entry_key) if entry_key is not None else UNKNOWN
            is_name = isinstance(key, (str, int)) and not isinstance(key, bool)
            if is_name and not (counts and self._judge.keys.is_ambiguous(str(key))):
                yield from self._pair(entry, str(key))
        names = {str(key): entry for key, entry in value}
        if isinstance(names.get("name"), str) and "value" in names:
            yield from self._setting(node, names["name"], names["value"])

    def _pair(self, node: ast.expr, key: str) -> Found:
        found = list(self._setting(node, key, self._fold.value(node)))
        found += list(self._tokens.forced(node, key))
        yield from found
        if isinstance(node, ast.Dict) and not found:
            for inner_key, inner in zip(node.keys, node.values, strict=True):
                name = self._fold.value(inner_key) if inner_key is not None else UNKNOWN
                if isinstance(name, (str, int)) and not isinstance(name, bool):
                    yield from self._pair(inner, str(name))

    def _inside_dict(self, node: ast.Dict) -> bool:
        parent = self._uses.parent(node)
        return isinstance(parent, ast.Dict) and node in parent.values

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> Found:
        if node.value is None:
            return
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        value = self._fold.value(node.value)
        for target in targets:
            key: object = None
            if isinstance(target, ast.Subscript):
                key = self._fold.value(target.slice)
            elif isinstance(target, (ast.Name, ast.Attribute)):
                key = target.id if isinstance(target, ast.Name) else target.attr
                # A variable called 'thinking' may be anything; 'enable_thinking' may not.
                if self._judge.keys.is_ambiguous(str(key)) or value is None:
                    continue
                if key == "DISABLE_HOOKS_FOR_PLUGINS":
                    yield from self._policy_off(node, value)
            if isinstance(key, str) and value is not UNKNOWN:
                yield from self._setting(node, key, value)
                yield from self._tokens.forced(node.value, key)

    def _defaults(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Found:
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        defaulted = list(zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True))
        defaulted += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None]
        for argument, default in defaulted:
            value = self._fold.value(default)
            if value is not UNKNOWN and value is not None:
                yield from self._setting(default, argument.arg, value)

    def _policy_off(self, node: ast.AST, value: object) -> Found:
        named = set(value) if isinstance(value, list) else {value}
        if named & self._plugins:
            shown = shorten(f"DISABLE_HOOKS_FOR_PLUGINS={value}")
            yield node, Problem("policy-off", "the hook of the policy is disabled", shown)

    # -- texts ---------------------------------------------------------------------------------------------------------

    def _text(self, node: ast.expr) -> Found:
        text = self._fold.text(node)
        if text is None:
            return
        if not isinstance(node, ast.Constant):
            self._folded.update(child for child in ast.walk(node) if child is not node)
        if len(text) < 2 or not self._judge.may_break(text):
            return
        use = self._uses.of(node) if not isinstance(node, (ast.BinOp, ast.JoinedStr)) else self._made(node)
        if use is Use.SPEAKS and self._is_docstring(node):
            for problem in judge_prose(self._judge.text_rules.normalise(text), self._judge):
                if problem.rule != "think-tag":  # to name the tag is what a docstring has to do
                    yield node, problem
            return
        if use in (Use.SPEAKS, Use.SEEKS, Use.REFUSES):
            return
        for problem in self._judge.string(text.replace(HOLE, " ")):
            if problem.rule != "think-tag":
                yield node, problem
        yield from self._tags(node, text, use)

    def _made(self, node: ast.expr) -> Use:
        use = self._uses.of(node)
        return Use.MAKES if use is Use.PLAIN else use

    def _is_docstring(self, node: ast.AST) -> bool:
        return isinstance(self._uses.parent(node), ast.Expr)

    def _tags(self, node: ast.expr, text: str, use: Use) -> Found:
        normalised = self._judge.text_rules.normalise(text.replace(HOLE, "\u25a1"))
        tags = drop_empty_blocks(self._judge.text_rules.tags(normalised), normalised)
        if not tags:
            return
        bare = normalised
        for tag in reversed(tags):
            bare = bare[: tag.start] + bare[tag.end :]
        # A tag alone is a name for it, until it is made part of a text.
        if use is Use.PLAIN and not re.sub(r"[\s\\n]", "", bare) and not self._returned_from_prompt(node):
            return
        yield node, Problem("think-tag", "think tag in a text that is made here", excerpt(normalised, tags[0].start))

    def _returned_from_prompt(self, node: ast.AST) -> bool:
        parent = self._uses.parent(node)
        if not isinstance(parent, ast.Return):
            return False
        while parent is not None and not isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parent = self._uses.parent(parent)
        return parent is not None and re.search(r"prompt|prefix|template|render|prefill", parent.name) is not None
