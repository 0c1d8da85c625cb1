"""What a piece of Python code is used for: to make something, to look for it, to speak about it or to refuse it."""

from __future__ import annotations

import ast
import re
from enum import Enum

from ..mentions import DEPLOYS, REFUSING_NAME, TELLING_NAME
from .python_values import call_name


class Use(Enum):
    """What an expression is used for."""

    PLAIN = "plain"  # a value like any other
    MAKES = "makes"  # becomes part of a prompt, a text or a list of ids
    SEEKS = "seeks"  # compared with, searched for, split at
    SPEAKS = "speaks"  # a docstring, a message, a help text
    REFUSES = "refuses"  # a list of what is not allowed, or a test that it is refused


# A test that says what it is about: test_request_that_asks_for_thinking_is_refused
_REFUSAL_TEST = re.compile(
    r"^test_.*(?:refus|reject|forbid|not_allowed|invalid|block|den(?:y|ied)|violat|detect|catch|caught|flag|found|raise"
    r"|error|4\d\d|never|cannot|mask|stray|unsupported|strip|remov|fails)"
)
_MEANINGLESS = frozenset({str, int, float, complex, bytes, bool, type(None), type(...)}).union(
    *(base.__subclasses__() for base in (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop))
)
# Functions by what they do with their arguments.
_SEEKING = re.compile(
    r"count|r?find|r?index|r?split|r?partition|startswith|endswith|removeprefix|removesuffix|compile|search|match"
    r"|fullmatch|findall|finditer|contains|isin|token_to_id|convert_tokens_to_ids|escape|str_contains|match_substring"
    r"|isdisjoint|intersection|assert_not_called_with|assert(?:Not)?In|assert(?:Not)?Equal|assertRaises|hasattr"
)
_SEEKING_FIRST = frozenset({"replace", "sub", "subn", "replace_substring"})
_SPEAKING = re.compile(
    r"print|s?echo|debug|info|warning|error|exception|critical|warn|fail|skip|xfail|exit|log|rule|deprecated|note"
    r"|.*(?:Error|Exception|Warning|Failure|Exit)"
)
_MAKING = re.compile(r"append|extend|insert|write|write_text|writelines|add_tokens|add_special_tokens")
_MAKING_NAME = re.compile(
    r"(?:^|_)(?:prompt\w*|prefix\w*|prefill\w*|suffix\w*|content|assistant\w*|completion\w*|template\w*|response\w*|system\w*"
    r"|user|text|answer\w*|message\w*|input|inputs|output|outputs|generation_prompt)(?:_|$)",
    re.IGNORECASE,
)


class Uses:
    """Finds the use of an expression by climbing to its statement."""

    def __init__(self, tree: ast.AST) -> None:
        self._parents: dict[ast.AST, ast.AST] = {}
        self._refusals: dict[ast.AST, bool] = {}
        self.nodes: list[ast.AST] = []
        """Every node of the tree that can mean something, each before the ones inside it."""
        stack = [tree]
        while stack:  # ast.walk and a second walk for the parents would take most of the time of a scan
            node = stack.pop()
            self.nodes.append(node)
            for value in node.__dict__.values():
                kind = type(value)
                if kind in _MEANINGLESS:
                    continue
                if kind is list:
                    for child in reversed(value):
                        if type(child) not in _MEANINGLESS:
                            self._parents[child] = node
                            stack.append(child)
                else:
                    self._parents[value] = node
                    stack.append(value)

    def parent(self, node: ast.AST) -> ast.AST | None:
        """Returns the node around a node."""
        return self._parents.get(node)

    def deploys(self, node: ast.AST) -> bool:
        """Returns whether a value is written under a name of what is deployed: ``{"deployment": {"top_k": 5}}``."""
        child, parent = node, self._parents.get(node)
        while parent is not None and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if DEPLOYS.search(_written_under(child, parent)):
                return True
            child, parent = parent, self._parents.get(parent)
        return False

    def of(self, node: ast.AST) -> Use:
        """Returns what a node is used for."""
        makes = False
        child, parent = node, self._parents.get(node)
        while parent is not None:
            use = _step(child, parent)
            if use is Use.MAKES:
                makes = True
            elif use is not None:
                return use
            if isinstance(parent, ast.stmt):
                break
            child, parent = parent, self._parents.get(parent)
        while parent is not None:
            if isinstance(parent, (ast.With, ast.AsyncWith)) and any(
                _is_raises(item.context_expr) for item in parent.items
            ):
                return Use.REFUSES
            if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)) and self._tests_refusal(parent):
                return Use.REFUSES
            parent = self._parents.get(parent)
        return Use.MAKES if makes else Use.PLAIN

    def _tests_refusal(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        if not function.name.startswith("test_"):
            return False
        if function not in self._refusals:
            self._refusals[function] = _REFUSAL_TEST.search(function.name) is not None or _expects_refusal(function)
        return self._refusals[function]


def _expects_refusal(function: ast.AST) -> bool:
    """Whether a test compares a status with one of the 400s."""
    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and "status" in ast.unparse(node.left):
            numbers = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
            if any(isinstance(number, int) and 400 <= number < 500 for number in numbers):
                return True
    return False


def _step(child: ast.AST, parent: ast.AST) -> Use | None:
    """Returns what one level says, ``None`` if nothing."""
    if isinstance(parent, (ast.Compare, ast.match_case, ast.MatchValue)):
        return Use.SEEKS
    if isinstance(parent, ast.Call):
        return _call_use(child, parent)
    if isinstance(parent, ast.keyword):
        return _name_use(parent.arg or "")
    if isinstance(parent, (ast.BinOp, ast.JoinedStr)):
        return Use.MAKES
    if isinstance(parent, ast.Dict):
        key = next((key for key, value in zip(parent.keys, parent.values, strict=True) if value is child), None)
        return _name_use(key.value) if isinstance(key, ast.Constant) and isinstance(key.value, str) else None
    if isinstance(parent, ast.Expr):
        return Use.SPEAKS if isinstance(child, ast.Constant) else None
    if isinstance(parent, ast.Raise):
        return Use.SPEAKS
    if isinstance(parent, ast.Assert):
        return Use.SPEAKS if child is parent.msg else Use.SEEKS
    if isinstance(parent, ast.AugAssign):
        return Use.MAKES
    if isinstance(parent, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
        targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
        return next((use for target in targets if (use := _name_use(_target_name(target))) is not None), None)
    if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and child in parent.decorator_list:
        return Use.REFUSES if REFUSING_NAME.search(parent.name) or _REFUSAL_TEST.search(parent.name) else None
    return None


def _call_use(child: ast.AST, call: ast.Call) -> Use | None:
    name = call_name(call)
    if child is call.func:
        return None
    if _SEEKING.fullmatch(name) or (name in _SEEKING_FIRST and call.args and child is call.args[0]):
        return Use.SEEKS
    if _SPEAKING.fullmatch(name):
        return Use.SPEAKS
    return Use.MAKES if name in _SEEKING_FIRST or _MAKING.fullmatch(name) else None


def _name_use(name: str) -> Use | None:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_")
    if REFUSING_NAME.search(name):
        return Use.REFUSES
    if TELLING_NAME.search(name):
        return Use.SPEAKS
    return Use.MAKES if _MAKING_NAME.search(name) else None


def _written_under(child: ast.AST, parent: ast.AST) -> str:
    """Returns the name that one level gives a value; a variable counts where a mapping is put together."""
    if isinstance(parent, ast.keyword):
        return parent.arg or ""
    if isinstance(parent, ast.Dict):
        key = next((key for key, value in zip(parent.keys, parent.values, strict=True) if value is child), None)
        return str(key.value) if isinstance(key, ast.Constant) else ""
    if isinstance(parent, ast.ClassDef):
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", parent.name)
    if isinstance(child, ast.Assign) and isinstance(child.targets[0], (ast.Subscript, ast.Attribute)):
        return " ".join(re.findall(r"\w+", ast.unparse(child.targets[0])))
    if isinstance(parent, ast.Assign) and (
        isinstance(child, ast.Dict) or (isinstance(child, ast.Call) and call_name(child) == "dict")
    ):
        return _target_name(parent.targets[0])
    return ""


def _target_name(target: ast.expr) -> str:
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return str(target.slice.value)
    return ""


def _is_raises(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and call_name(node) in ("raises", "assertRaises", "assertRaisesRegex")
