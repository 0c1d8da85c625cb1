"""What exported task folders import: the questions, and marks by our own tasks. It needs rapidfuzz and lazy_loader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from spelling_transfer.tasks.marking import Mark
from spelling_transfer.tasks.registry import load_tasks

MEASURES = {"exact": True, "lenient": True, "invalid": False}
"""What is averaged in a harness, and whether more is better."""


def read_questions(folder: Path, task: str) -> list[dict[str, str]]:
    """Returns the questions of a task of an exported folder.

    Raises:
        FileNotFoundError: The folder lacks the file.
    """
    lines = (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def mark_document(document: Mapping[str, Any], output: str) -> Mark:
    """Judges a model's answer to an exported question as our own evaluation does.

    Args:
        document: The question, with ``task``, ``word``, ``answer``, ``argument`` and ``separator``.
        output: What the model said.

    Raises:
        KeyError: A package that brings the task is not installed.
    """
    asked = SimpleNamespace(**{key: document[key] for key in ("word", "answer", "argument", "separator")})
    return load_tasks()[document["task"]].mark(asked, output)


def marks_of(document: Mapping[str, Any], output: str) -> dict[str, float]:
    """Returns the marks of an answer as numbers to be averaged."""
    mark = mark_document(document, output)
    return {name: float(getattr(mark, name)) for name in MEASURES}
