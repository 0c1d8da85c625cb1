"""Token ids in Python: lists of them, ids that are added to a list, forced or given a bias."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..judge import Judge
from ..keys import Problem
from ..tokens import judge_ids
from .python_context import Use, Uses
from .python_values import Folder

Found = Iterator[tuple[ast.AST, Problem]]
_HARMLESS = (Use.REFUSES, Use.SEEKS, Use.SPEAKS)


class TokenScan:
    """Judges the token ids of one file."""

    def __init__(self, judge: Judge, fold: Folder, uses: Uses) -> None:
        self._judge = judge
        self._fold = fold
        self._uses = uses

    def sequence(self, node: ast.List | ast.Tuple) -> Found:
        """Judges a list of ids as a prompt, and a list of strings as a command."""
        values = self._fold.value(node)
        if not values or self._uses.of(node) in _HARMLESS:
            return
        if all(type(entry) is int for entry in values):
            problem = judge_ids(values, self._judge.policy)
            if problem is not None:
                yield node, problem
        elif all(isinstance(entry, str) for entry in values):
            command = " ".join(f"'{entry}'" if re.search(r"\s", entry) else entry for entry in values)
            for problem in self._judge.flags_in(command):
                yield node, problem

    def bias(self, node: ast.Constant) -> Found:
        """Judges a bias in favour of a think token."""
        if type(node.value) is not int or node.value not in self._judge.policy.think_ids:
            return
        parent = self._uses.parent(node)
        if isinstance(parent, ast.Dict) and node in parent.keys:
            bias = self._fold.value(parent.values[parent.keys.index(node)])
            favours = bias is True or (isinstance(bias, (int, float)) and bias > 0)
            if favours and self._uses.of(parent) not in _HARMLESS:
                yield node, Problem("think-token", "a bias in favour of a think token", f"{node.value}: {bias}")

    def addition(self, node: ast.BinOp) -> Found:
        """Judges ``prompt_ids + [token]``."""
        if isinstance(node.op, ast.Add):
            for side in (node.left, node.right):
                if isinstance(side, (ast.List, ast.Tuple)):
                    yield from self.added(side)

    def added(self, node: ast.expr) -> Found:
        """Judges ids that are put into a list, by name or by number."""
        value = self._fold.value(node)
        values = value if isinstance(value, list) else [value]
        ids = [entry for entry in values if type(entry) is int]
        rule = self._judge.policy.rules.think_token
        if len(ids) != len(values) or not {rule.open_id, rule.close_id} & set(ids) or tuple(ids) == rule.prompt_end_ids:
            return
        if self._uses.of(node) not in _HARMLESS:
            yield node, Problem("think-token", "think token added to a list of ids", f"{ids[:8]}")

    def forced(self, node: ast.expr, key: str) -> Found:
        """Judges a setting that forces a token."""
        problem = self._judge.forced_id(key, self._fold.value(node))
        if problem is not None and self._uses.of(node) is not Use.REFUSES:
            yield node, problem
