"""Does teaching a language model to spell also teach it where letters stand and how many there are?

``import spelling_transfer as st`` gives the public API; docs/api.md has an example of each part. Imports are lazy, so
the import itself is fast.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spelling_transfer.moved import tell_new_names

if TYPE_CHECKING:
    from kedro_lightning import StudioRunner as StudioRunner
    from kedro_non_thinking import MlxThinkTokenMask as MlxThinkTokenMask
    from kedro_non_thinking import ThinkTokenMask as ThinkTokenMask
    from spelling_transfer.models import answer_only_loss as answer_only_loss
    from spelling_transfer.statistics import PairedDifference as PairedDifference
    from spelling_transfer.statistics import compare_transfer_scores as compare_transfer_scores
    from spelling_transfer.statistics import paired_difference as paired_difference
    from spelling_transfer.statistics import transfer_score as transfer_score
    from spelling_transfer.statistics import wilson_interval as wilson_interval
    from spelling_transfer.tasks import Example as Example
    from spelling_transfer.tasks import Mark as Mark
    from spelling_transfer.tasks import Task as Task
    from spelling_transfer.tasks import WordTask as WordTask
    from spelling_transfer.tasks import load_tasks as load_tasks
    from spelling_transfer.tokenizer import ChatTokenizer as ChatTokenizer
    from spelling_transfer.tokenizer import TokenSubset as TokenSubset
    from spelling_transfer.tokenizer import english_subset as english_subset
    from spelling_transfer.tokenizer import load_chat_tokenizer as load_chat_tokenizer
    from spelling_transfer.words import WordSelection as WordSelection
    from spelling_transfer.words import select_words as select_words

__version__ = "0.1.0"

# Not by a stub as in the rooms: lazy_loader reads the package's own names alone, and some are the plugins'.
_HOMES = {
    name: module
    for module, names in {
        "kedro_lightning": ("StudioRunner",),
        "kedro_non_thinking": ("MlxThinkTokenMask", "ThinkTokenMask"),
        "spelling_transfer.models": ("answer_only_loss",),
        "spelling_transfer.statistics": (
            "PairedDifference",
            "compare_transfer_scores",
            "paired_difference",
            "transfer_score",
            "wilson_interval",
        ),
        "spelling_transfer.tasks": ("Example", "Mark", "Task", "WordTask", "load_tasks"),
        "spelling_transfer.tokenizer": ("ChatTokenizer", "TokenSubset", "english_subset", "load_chat_tokenizer"),
        "spelling_transfer.words": ("WordSelection", "select_words"),
    }.items()
    for name in names
}
__all__ = list(_HOMES)

# Threads that have nothing to do wait asleep. By default they spin, and where cores are shared they spin away the time
# of the thread they wait for: evaluation was 27 times slower beside another process. OpenMP reads its variables once,
# when torch loads it, so they are set here, where every way in passes before; child processes inherit them. GNU's
# OpenMP (Linux) asks for the first, LLVM's and Intel's (macOS, conda) for the second too. A value of the user's stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

tell_new_names()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
