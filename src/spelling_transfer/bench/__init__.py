"""Public benchmarks and other harnesses: the figures that others can check.

A public benchmark is read from the user's own file, asked as its authors ask it and as our tasks ask it, marked as its
authors mark it and by our readers, and summed up with and without what training knows. Sets are found by entry point;
`base.PublicSet` says what one is. `exports` writes our own questions as tasks of lm-evaluation-harness and inspect_ai;
what those tools import from here (`shared`, `inspect_tasks`) needs none of our heavy dependencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.bench.asking import (
        Answerer,
        LocalAnswerer,
        as_documents,
        ask,
        differences,
        first_of_each_kind,
        local_answerer,
        score,
    )
    from spelling_transfer.bench.base import BenchError, BrokenRow, Contents, Item, PublicSet
    from spelling_transfer.bench.contamination import exposure
    from spelling_transfer.bench.endpoint import EndpointAnswerer, open_endpoint
    from spelling_transfer.bench.engines import (
        ask_engines,
        compare_engines,
        differing_answers,
        other_prompts,
        score_engines,
    )
    from spelling_transfer.bench.exports import export_inspect, export_lm_eval
    from spelling_transfer.bench.registry import choose_set, load_sets

__all__ = [
    "Answerer",
    "BenchError",
    "BrokenRow",
    "Contents",
    "EndpointAnswerer",
    "Item",
    "LocalAnswerer",
    "PublicSet",
    "as_documents",
    "ask",
    "ask_engines",
    "choose_set",
    "compare_engines",
    "differences",
    "differing_answers",
    "export_inspect",
    "export_lm_eval",
    "exposure",
    "first_of_each_kind",
    "load_sets",
    "local_answerer",
    "open_endpoint",
    "other_prompts",
    "score",
    "score_engines",
]

_HOMES = {
    "asking": "Answerer LocalAnswerer as_documents ask differences first_of_each_kind local_answerer score",
    "base": "BenchError BrokenRow Contents Item PublicSet",
    "endpoint": "EndpointAnswerer open_endpoint",
    "engines": "ask_engines compare_engines differing_answers other_prompts score_engines",
    "exports": "export_inspect export_lm_eval",
    "contamination": "exposure",
    "registry": "choose_set load_sets",
}

__getattr__, __dir__ = lazy_names(__name__, {f"{__name__}.{home}": names.split() for home, names in _HOMES.items()})
