"""The manifest of local preparation: which files, made from what, by which code, with which settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, ChatTokenizer

_CODE = ("words", "tasks", "tokenizer", "pipelines/local_prep")
"""The parts of the package that decide what the data are."""

_LICENCES = {
    "wordfreq": "data CC-BY-SA-4.0 (word choice and Zipf frequencies are derived from it)",
    "english-words": "MIT",
}
_QWEN3 = {"Qwen3 tokenizer": "Apache-2.0"}


def make_manifest(
    files: Mapping[str, Mapping[str, Any]],
    root: str,
    tokenizer: ChatTokenizer,
    parameters: Mapping[str, BaseModel],
    counts: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the manifest without its seal; the same for the same data, whenever and wherever it is made.

    Args:
        files: Facts of each file by its path below ``root``.
        root: The files' root, relative to the manifest.
        tokenizer: The tokenizer in use.
        parameters: The settings by name.
        counts: What is in the data.
    """
    return {
        "bundle": "local_prep",
        "root": root,
        "files": {name: dict(facts) for name, facts in sorted(files.items())},
        "tokenizer_sha256": tokenizer.sha256,
        "template_sha256": tokenizer.template_sha256,
        "parameters": {name: settings.model_dump(mode="json") for name, settings in sorted(parameters.items())},
        "code": {"version": version("spelling-transfer"), "sha256": code_sha256()},
        "sources": {name: version(name) for name in ("wordfreq", "english-words")},
        "licences": _LICENCES | (_QWEN3 if tokenizer.sha256 == QWEN3_TOKENIZER_SHA256 else {}),
        "counts": dict(counts),
    }


def count_examples(examples: pd.DataFrame) -> dict[str, int]:
    """Returns the number of examples by split, kind, task and word set."""
    sizes = examples.groupby(["split", "kind", "task", "word_set"], sort=True).size()
    return {"/".join(key): int(size) for key, size in sizes.items()}  # type: ignore[arg-type]


@cache
def code_sha256() -> str:
    """Returns the hash of the source files that decide what the data are."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for part in _CODE:
        for file in sorted((package / part).rglob("*.py")):
            digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
