"""What an expression of Python is worth without running it: strings put together, constants, containers."""

from __future__ import annotations

import ast
import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

from ..values import UNKNOWN, PairList

HOLE = "\0"
"""Stands in a folded string for a part that is only known when the program runs."""

_LONGEST = 200_000
_DEEPEST = 60
_ASSIGNING = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_CONSTANT = (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.BinOp, ast.JoinedStr, ast.Call)
_FOLDED = (ast.JoinedStr, ast.BinOp, ast.Call, ast.Name)


def call_name(node: ast.Call) -> str:
    """Returns the last part of what is called: ``tokenizer.apply_chat_template(…)`` is ``apply_chat_template``."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


class Folder:
    """Folds constant expressions; names that are assigned one constant in the file are known."""

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        self._constants: dict[str, ast.expr] = {}
        # Names may refer to each other in circles, and to the same expression many times.
        self._texts: dict[ast.expr, str | None] = {}
        self._values: dict[ast.expr, Any] = {}
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

    def text(self, node: ast.expr, depth: int = 0) -> str | None:
        """Returns the string an expression makes, with a :data:`HOLE` for each unknown part, or ``None``."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return node.value
            return node.value.decode("latin-1") if isinstance(node.value, bytes) else None
        if depth > _DEEPEST or not isinstance(node, _FOLDED):
            return None
        if node not in self._texts:
            self._texts[node] = None
            found = self._fold(node, depth)
            self._texts[node] = found if found is None or len(found) < _LONGEST else found[:_LONGEST]
        return self._texts[node]

    def _fold(self, node: ast.expr, depth: int) -> str | None:
        if isinstance(node, ast.JoinedStr):
            return "".join(self._piece(part, depth) for part in node.values)
        if isinstance(node, ast.BinOp):
            return self._operation(node, depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        value = self._constants.get(node.id) if isinstance(node, ast.Name) else None
        return None if value is None else self.text(value, depth + 1)

    def _piece(self, part: ast.expr, depth: int) -> str:
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        found = self.text(inner, depth + 1)
        if found is None and isinstance(inner, ast.Constant):
            found = str(inner.value)
        return HOLE if found is None else found

    def _operation(self, node: ast.BinOp, depth: int) -> str | None:
        left, right = self.text(node.left, depth + 1), self.text(node.right, depth + 1)
        if isinstance(node.op, ast.Add):
            if left is None and right is None:
                return None
            return (HOLE if left is None else left) + (HOLE if right is None else right)
        if isinstance(node.op, ast.Mod) and left is not None:
            arguments = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            for argument in arguments:
                left = re.sub(r"%[sr]", lambda _m, a=argument: self._piece(a, depth), left, count=1)  # type: ignore[misc]
            return left
        if isinstance(node.op, ast.Mult) and left is not None and isinstance(node.right, ast.Constant):
            count = node.right.value
            return left * count if isinstance(count, int) and 0 <= count * len(left) < _LONGEST else left
        return None

    def _call(self, node: ast.Call, depth: int) -> str | None:
        name = call_name(node)
        if name == "chr" and len(node.args) == 1:
            code = self.value(node.args[0])
            return chr(code) if isinstance(code, int) and 0 <= code < 0x110000 else None
        if name == "b64decode" and node.args:
            return _decode_base64(self.text(node.args[0], depth + 1))
        if name == "fromhex" and node.args:
            return _decode_hex(self.text(node.args[0], depth + 1))
        if name in ("str", "dedent", "unescape", "bytes") and len(node.args) >= 1:
            return self.text(node.args[0], depth + 1)
        if not isinstance(node.func, ast.Attribute):
            return None
        base = self.text(node.func.value, depth + 1)
        if base is None:
            return None
        if name in ("decode", "encode", "strip", "lower", "upper", "lstrip", "rstrip", "title", "casefold"):
            return base
        if name == "join" and len(node.args) == 1 and isinstance(node.args[0], (ast.List, ast.Tuple)):
            return base.join(self._piece(entry, depth) for entry in node.args[0].elts)
        if name == "format":
            return self._format(base, node, depth)
        if name == "replace" and len(node.args) == 2:
            old, new = self.text(node.args[0], depth + 1), self.text(node.args[1], depth + 1)
            return base.replace(old, new) if old and new is not None else base
        return None

    def _format(self, base: str, node: ast.Call, depth: int) -> str:
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                return base
            base = re.sub(r"\{\d*\}", lambda _m, a=argument: self._piece(a, depth), base, count=1)  # type: ignore[misc]
        for keyword in node.keywords:
            if keyword.arg:
                base = base.replace(f"{{{keyword.arg}}}", self._piece(keyword.value, depth))
        return base

    def value(self, node: ast.expr | None, depth: int = 0) -> Any:
        """Returns what an expression is worth; ``UNKNOWN`` where that is only known when the program runs."""
        if node is None or depth > _DEEPEST:
            return UNKNOWN
        if isinstance(node, ast.Constant):
            return node.value
        if node not in self._values:
            self._values[node] = UNKNOWN
            self._values[node] = self._evaluate(node, depth)
        return self._values[node]

    def _evaluate(self, node: ast.expr, depth: int) -> Any:
        if isinstance(node, ast.Name):
            found = self._constants.get(node.id)
            return self.value(found, depth + 1)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [self.value(entry, depth + 1) for entry in node.elts]
        if isinstance(node, ast.Dict):
            return self._dict(node, depth)
        if isinstance(node, ast.UnaryOp):
            operand = self.value(node.operand, depth + 1)
            if isinstance(node.op, ast.Not):
                return UNKNOWN if operand is UNKNOWN else not operand
            return -operand if isinstance(node.op, ast.USub) and isinstance(operand, (int, float)) else UNKNOWN
        if isinstance(node, ast.Call):
            return self._call_value(node, depth)
        if isinstance(node, (ast.BinOp, ast.JoinedStr)):
            text = self.text(node)
            return UNKNOWN if text is None or HOLE in text else text
        return UNKNOWN

    def _dict(self, node: ast.Dict, depth: int) -> Any:
        entries = PairList()
        for key, entry in zip(node.keys, node.values, strict=True):
            if key is None:
                inner = self.value(entry, depth + 1)
                entries.extend(inner if isinstance(inner, PairList) else [("**", UNKNOWN)])
                continue
            name = self.value(key, depth + 1)
            entries.append((name if isinstance(name, (str, int)) else "?", self.value(entry, depth + 1)))
        return entries

    def _call_value(self, node: ast.Call, depth: int) -> Any:
        name = call_name(node)
        if name == "dict" and not node.args:
            return PairList((keyword.arg or "**", self.value(keyword.value, depth + 1)) for keyword in node.keywords)
        if name == "bool" and len(node.args) == 1:
            inner = self.value(node.args[0], depth + 1)
            return UNKNOWN if inner is UNKNOWN else bool(inner)
        if name in ("Field", "field", "Option", "Argument"):
            default = next((keyword.value for keyword in node.keywords if keyword.arg == "default"), None)
            return self.value(default or (node.args[0] if node.args else None), depth + 1)
        text = self.text(node)
        return UNKNOWN if text is None or HOLE in text else text


def _decode_base64(text: str | None) -> str | None:
    try:
        return None if text is None else base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None


def _decode_hex(text: str | None) -> str | None:
    try:
        return None if text is None else bytes.fromhex(text).decode("utf-8", "replace")
    except ValueError:
        return None
