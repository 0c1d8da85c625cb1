"""Which nodes would make something else today: what they read and the version, compared with what is on record.

A node is fresh where each file it made is there as one of its saves on record left it, and that save was made by the
same version of this package from what the node would read now. Content is compared by hash, parameters by value. Code
that was changed within a version is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import MemoryDataset
from kedro.io.core import is_parameter

from spelling_transfer import __version__
from spelling_transfer.storage.history import describe_content, describe_value, read_history, storage_root_of

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

_AT_ONCE = 16
"""Questions to an object store at the same time."""
LEAVES_NOTHING = "makes no file, so it runs every time"
"""Why a node without outputs, such as a check that may fail a run, always runs."""

_FOLLOWS = "follows "

Content = dict[str, Any] | None


def find_stale(context: KedroContext, catalog: DataCatalog, pipeline: Pipeline) -> dict[str, list[str]]:
    """Returns why nodes have to run again, by node in the order in which they run; nothing of those that are fresh.

    Args:
        context: The project, with the parameters of today.
        catalog: Its data.
        pipeline: The nodes in question.

    Raises:
        DatasetError: The storage cannot be reached.
    """
    names = sorted(pipeline.datasets())
    kept = {name for name in names if _is_kept(name, catalog)}
    content = _describe_all(kept, catalog) | _describe_parameters(context)
    root = storage_root_of(context)
    saves = read_history(root, Path(context.project_path)) if root else {}
    reasons = {node.name: list(_reasons(node, kept, content, saves)) for node in pipeline.nodes}
    return _spread(pipeline, kept, {name: found for name, found in reasons.items() if found})


def _reasons(
    node: Node, kept: set[str], content: Mapping[str, Content], saves: Mapping[str, Sequence[dict[str, Any]]]
) -> Iterator[str]:
    if not node.outputs:
        yield LEAVES_NOTHING
    reads = {name: facts for name in sorted(node.inputs) if (facts := content.get(name)) is not None}
    found: dict[str, None] = {}
    for output in node.outputs:
        if output not in kept:
            continue
        if content[output] is None:
            found[f"{output} is missing"] = None
            continue
        same = [entry for entry in saves.get(output, []) if entry.get("content") == content[output]]
        if not same:
            found[f"{output} is not as a run on record left it"] = None
        elif all(any(_differences(entry, node, reads)) for entry in same):
            found |= dict.fromkeys(_differences(same[-1], node, reads))
    yield from found


def _differences(entry: Mapping[str, Any], node: Node, reads: Mapping[str, Content]) -> Iterator[str]:
    if entry.get("node") != node.name:
        yield f"made by {entry.get('node')}"
    if entry.get("version") != __version__:
        yield f"made by version {entry.get('version')}"
    before = entry.get("inputs", {})
    for name in sorted({*before, *reads}):
        if before.get(name) != reads.get(name):
            yield f"{name} changed" if name in before and name in reads else f"{name} is not on record"


def _spread(pipeline: Pipeline, kept: set[str], stale: dict[str, list[str]]) -> dict[str, list[str]]:
    """Adds what follows from stale nodes, and what makes that which they read and no file keeps."""
    makers = {output: node.name for node in pipeline.nodes for output in node.outputs}
    before = -1
    while len(stale) != before:
        before = len(stale)
        for node in pipeline.nodes:
            for name in node.inputs:
                maker = makers.get(name)
                if maker in stale and node.name not in stale:
                    cause = stale[maker][0]
                    stale[node.name] = [cause if cause.startswith(_FOLLOWS) else f"{_FOLLOWS}{maker}"]
                elif maker is not None and maker not in stale and name not in kept and node.name in stale:
                    stale[maker] = [f"{node.name} reads {name}, which is not kept"]
    return {node.name: stale[node.name] for node in pipeline.nodes if node.name in stale}


def _describe_all(names: set[str], catalog: DataCatalog) -> dict[str, Content]:
    # Kedro makes a dataset when it is first asked for, and not in several threads at once.
    datasets = {name: catalog.get(name) for name in sorted(names)}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(datasets, pool.map(describe_content, datasets.values()), strict=True))


def _describe_parameters(context: KedroContext) -> dict[str, Content]:
    # A run fills in defaults for the nodes of its own pipelines; here each node's are wanted as its own run has them.
    scope, context._pipelines_to_validate = context._pipelines_to_validate, None
    try:
        return {name: describe_value(value) for name, value in context._get_parameters().items()}
    finally:
        context._pipelines_to_validate = scope


def _is_kept(name: str, catalog: DataCatalog) -> bool:
    return not is_parameter(name) and name in catalog and not isinstance(catalog.get(name), MemoryDataset)
