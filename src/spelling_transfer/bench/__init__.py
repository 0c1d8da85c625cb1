"""Public sets and other harnesses: the figures that others can check.

A public set is read from the user's own file, asked as its authors ask it and as our tasks ask it, marked as its
authors mark it and by our readers, and summed up with and without what training knows. Sets are found by entry point;
`base.PublicSet` says what one is. `lm_eval` and `inspect_tasks` write our own questions for other tools.
"""

from spelling_transfer.bench.asking import (
    Answerer,
    as_documents,
    ask,
    differences,
    first_of_each_kind,
    local_answerer,
    score,
)
from spelling_transfer.bench.base import BenchError, BrokenRow, Contents, Item, PublicSet
from spelling_transfer.bench.exposure import exposure
from spelling_transfer.bench.registry import choose_set, load_sets

__all__ = [
    "Answerer",
    "BenchError",
    "BrokenRow",
    "Contents",
    "Item",
    "PublicSet",
    "as_documents",
    "ask",
    "choose_set",
    "differences",
    "exposure",
    "first_of_each_kind",
    "load_sets",
    "local_answerer",
    "score",
]
