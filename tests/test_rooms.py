"""Each room says what others may use, and others use nothing else of it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "spelling_transfer"
ROOMS = ["models", "tasks", "tokenizer", "training", "words"]


def names_used_elsewhere(room: str) -> set[str]:
    """Returns what the modules outside a room import from it."""
    used = set()
    for file in PACKAGE.rglob("*.py"):
        if PACKAGE / room in file.parents:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"spelling_transfer.{room}."):
                used |= {alias.name for alias in node.names}
    return used


@pytest.mark.parametrize("room", ROOMS)
def test_what_others_import_is_what_the_room_names(room: str) -> None:
    module = importlib.import_module(f"spelling_transfer.{room}")
    assert names_used_elsewhere(room) <= set(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_words_tasks_and_tokenizer_need_no_deep_learning_library() -> None:
    code = (
        "import sys, importlib\n"
        "for room in ('words', 'tasks', 'tokenizer'):\n"
        "    module = importlib.import_module(f'spelling_transfer.{room}')\n"
        "    [getattr(module, name) for name in module.__all__]\n"
        "print(sorted({'torch', 'transformers', 'pytorch_lightning', 'mlx'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
