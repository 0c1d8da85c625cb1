"""Does teaching a language model to spell also teach it where letters stand and how many there are?

``import spelling_transfer as st`` gives what is of use in code of your own; docs/api.md has an example of each. Names
are imported when they are asked for, so that the import itself costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names
from spelling_transfer.moved import tell_new_names

if TYPE_CHECKING:
    from kedro_lightning import StudioRunner
    from kedro_non_thinking import MlxThinkTokenMask, ThinkTokenMask
    from spelling_transfer.models.loss import answer_only_loss
    from spelling_transfer.statistics import (
        PairedDifference,
        compare_transfer_scores,
        paired_difference,
        transfer_score,
        wilson_interval,
    )
    from spelling_transfer.tasks.base import Example, Task, WordTask
    from spelling_transfer.tasks.marking import Mark
    from spelling_transfer.tasks.registry import load_tasks
    from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer
    from spelling_transfer.tokenizer.subset import TokenSubset, english_subset
    from spelling_transfer.words.word_list import WordSelection, select_words

__version__ = "0.1.0"

__all__ = [
    "ChatTokenizer",
    "Example",
    "Mark",
    "MlxThinkTokenMask",
    "PairedDifference",
    "StudioRunner",
    "Task",
    "ThinkTokenMask",
    "TokenSubset",
    "WordSelection",
    "WordTask",
    "answer_only_loss",
    "compare_transfer_scores",
    "english_subset",
    "load_chat_tokenizer",
    "load_tasks",
    "paired_difference",
    "select_words",
    "transfer_score",
    "wilson_interval",
]
# Threads that have nothing to do wait asleep. By default they spin, and where cores are shared they spin away the time
# of the thread they wait for: evaluation was 27 times slower beside another process. OpenMP reads its variables once,
# when torch loads it, so they are set here, where every way in passes before; child processes inherit them. GNU's
# OpenMP (Linux) asks for the first, LLVM's and Intel's (macOS, conda) for the second too. A value of the user's stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

tell_new_names()
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "kedro_lightning": ["StudioRunner"],
        "kedro_non_thinking": ["MlxThinkTokenMask", "ThinkTokenMask"],
        "spelling_transfer.models.loss": ["answer_only_loss"],
        "spelling_transfer.statistics": [
            "PairedDifference",
            "compare_transfer_scores",
            "paired_difference",
            "transfer_score",
            "wilson_interval",
        ],
        "spelling_transfer.tasks.base": ["Example", "Task", "WordTask"],
        "spelling_transfer.tasks.marking": ["Mark"],
        "spelling_transfer.tasks.registry": ["load_tasks"],
        "spelling_transfer.tokenizer.chat": ["ChatTokenizer", "load_chat_tokenizer"],
        "spelling_transfer.tokenizer.subset": ["TokenSubset", "english_subset"],
        "spelling_transfer.words.word_list": ["WordSelection", "select_words"],
    },
)
