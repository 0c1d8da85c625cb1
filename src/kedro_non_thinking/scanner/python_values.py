"""What an expression of Python is worth without running it: strings put together, constants, containers."""

from __future__ import annotations

import ast
import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import Any

from ..settings import UNKNOWN
from ..trees import PairList

HOLE = "\0"
"""Stands in a folded string for a part that is only known when the program runs."""

_LONGEST = 200_000
_DEEPEST = 60
_ASSIGNING = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_CONSTANT = (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.BinOp, ast.JoinedStr, ast.Call)
_SAME_TEXT = frozenset({"decode", "encode", "strip", "lower", "upper", "lstrip", "rstrip", "title", "casefold"})
"""Methods that change nothing of what is looked for."""


def call_name(node: ast.Call) -> str:
    """Returns the last part of what is called: ``tokenizer.apply_chat_template(…)`` is ``apply_chat_template``."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


class Folder:
    """Folds constant expressions; names that are assigned one constant in the file are known."""

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        """Notes the constants among the nodes of a file."""
        self._constants: dict[str, ast.expr] = {}
        # Names may refer to each other in circles, and to the same expression many times.
        self._folded: dict[ast.expr, Any] = {}
        self._depth = 0
        self._kinds: dict[type[ast.expr], Callable[[Any], Any]] = {
            ast.Name: lambda node: self._fold(self._constants.get(node.id)),
            **dict.fromkeys((ast.List, ast.Tuple, ast.Set), lambda node: [self.value(entry) for entry in node.elts]),
            ast.Dict: self._dict,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._operation,
            ast.JoinedStr: lambda node: "".join(self._piece(part) for part in node.values),
            ast.Call: self._call,
        }
        seen: set[str] = set()
        for node in nodes:
            if type(node) not in _ASSIGNING:
                continue
            target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
            target = node.target if isinstance(node, (ast.AnnAssign, ast.AugAssign)) else target
            if not isinstance(target, ast.Name):
                continue
            value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
            if target.id not in seen and isinstance(value, _CONSTANT):
                self._constants[target.id] = value
            else:
                self._constants.pop(target.id, None)  # assigned twice: it depends
            seen.add(target.id)

    def text(self, node: ast.expr) -> str | None:
        """Returns the string an expression makes, with a :data:`HOLE` for each unknown part, or ``None``."""
        folded = self._fold(node)
        if isinstance(folded, bytes):
            return folded.decode("latin-1")
        return folded if isinstance(folded, str) else None

    def value(self, node: ast.expr | None) -> Any:
        """Returns what an expression is worth; ``UNKNOWN`` where that is only known when the program runs."""
        folded = self._fold(node)
        return UNKNOWN if isinstance(folded, str) and HOLE in folded else folded

    def _fold(self, node: ast.expr | None) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        fold = self._kinds.get(type(node)) if node is not None else None
        if node is None or fold is None or self._depth > _DEEPEST:
            return UNKNOWN
        if node not in self._folded:
            self._folded[node] = UNKNOWN
            self._depth += 1
            folded = fold(node)
            self._depth -= 1
            self._folded[node] = folded[:_LONGEST] if isinstance(folded, str) else folded
        return self._folded[node]

    def _piece(self, part: ast.expr) -> str:
        """Returns an expression as a part of a string."""
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        found = self.text(inner)
        if found is None and isinstance(inner, ast.Constant):
            found = str(inner.value)
        return HOLE if found is None else found

    def _fill(self, text: str, holes: str, arguments: Iterable[ast.expr]) -> str:
        """Returns a text with one argument after the other put where the pattern of its holes says."""
        for argument in arguments:
            piece = self._piece(argument)
            text = re.sub(holes, lambda _match, piece=piece: piece, text, count=1)  # type: ignore[misc]
        return text

    def _unary(self, node: ast.UnaryOp) -> Any:
        operand = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return UNKNOWN if operand is UNKNOWN else not operand
        return -operand if isinstance(node.op, ast.USub) and isinstance(operand, (int, float)) else UNKNOWN

    def _operation(self, node: ast.BinOp) -> Any:
        left, right = self.text(node.left), self.text(node.right)
        if isinstance(node.op, ast.Add) and not (left is None and right is None):
            return (HOLE if left is None else left) + (HOLE if right is None else right)
        if left is None:
            return UNKNOWN
        if isinstance(node.op, ast.Mod):
            return self._fill(left, r"%[sr]", node.right.elts if isinstance(node.right, ast.Tuple) else [node.right])
        if isinstance(node.op, ast.Mult) and isinstance(node.right, ast.Constant):
            count = node.right.value
            return left * count if isinstance(count, int) and 0 <= count * len(left) < _LONGEST else left
        return UNKNOWN

    def _dict(self, node: ast.Dict) -> PairList:
        entries = PairList()
        for key, entry in zip(node.keys, node.values, strict=True):
            if key is None:
                inner = self.value(entry)
                entries.extend(inner if isinstance(inner, PairList) else [("**", UNKNOWN)])
                continue
            name = self.value(key)
            entries.append((name if isinstance(name, (str, int)) else "?", self.value(entry)))
        return entries

    def _call(self, node: ast.Call) -> Any:
        name = call_name(node)
        first = node.args[0] if node.args else None
        if name == "dict" and not node.args:
            return PairList((keyword.arg or "**", self.value(keyword.value)) for keyword in node.keywords)
        if name == "bool" and len(node.args) == 1:
            inner = self.value(first)
            return UNKNOWN if inner is UNKNOWN else bool(inner)
        if name in ("Field", "field", "Option", "Argument"):
            default = next((keyword.value for keyword in node.keywords if keyword.arg == "default"), None)
            return self.value(default or first)
        if name == "chr" and len(node.args) == 1:
            code = self.value(first)
            return chr(code) if isinstance(code, int) and 0 <= code < 0x110000 else UNKNOWN
        if first is not None:
            if name == "b64decode":
                return _decoded(self.text(first), lambda text: base64.b64decode(text, validate=True))
            if name == "fromhex":
                return _decoded(self.text(first), bytes.fromhex)
            if name in ("str", "dedent", "unescape", "bytes"):
                text = self.text(first)
                return UNKNOWN if text is None else text
        return self._method(node, name)

    def _method(self, node: ast.Call, name: str) -> Any:
        base = self.text(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if base is None:
            return UNKNOWN
        if name in _SAME_TEXT:
            return base
        if name == "join" and len(node.args) == 1 and isinstance(node.args[0], (ast.List, ast.Tuple)):
            return base.join(self._piece(entry) for entry in node.args[0].elts)
        if name == "format":
            base = self._fill(base, r"\{\d*\}", (entry for entry in node.args if not isinstance(entry, ast.Starred)))
            for keyword in node.keywords:
                base = base.replace(f"{{{keyword.arg}}}", self._piece(keyword.value))
            return base
        if name == "replace" and len(node.args) == 2:
            old, new = self.text(node.args[0]), self.text(node.args[1])
            return base.replace(old, new) if old and new is not None else base
        return UNKNOWN


def _decoded(text: str | None, decode: Callable[[str], bytes]) -> Any:
    try:
        return UNKNOWN if text is None else decode(text).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return UNKNOWN
