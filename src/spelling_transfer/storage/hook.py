"""The hook that notes where data come from, and moves the pointer to the latest run, last of all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline.node import Node

    from spelling_transfer.storage.history import HistoryRecorder


class StorageHook:
    """A Kedro hook; see :mod:`.history` and :mod:`.runs`."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._history: HistoryRecorder | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keeps the way to the configuration."""
        self._context = context

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: DataCatalog) -> None:
        """Begins the history of a run."""
        if not self._storage_root():
            return
        from spelling_transfer.storage.history import HistoryRecorder

        self._history = HistoryRecorder(str(run_params.get("run_id", "run")), run_params.get("env"), catalog)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Notes who saved what, and from what."""
        if self._history is not None:
            self._history.note(dataset_name, node)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Writes the history of a run that stopped; what it saved before is there."""
        self._write_history()

    # Last of all: the pointer must not lead to a run whose summary is not written.
    @hook_impl(trylast=True)
    def after_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Writes the history, and moves ``latest`` to a run that ended well.

        A run of chosen nodes is a part of another and moves nothing.

        Raises:
            RunNameError: The pointer cannot be written.
        """
        self._write_history()
        root = self._storage_root()
        if "/runs/" not in root or run_params.get("node_names"):
            return
        from spelling_transfer.storage.runs import move_latest

        move_latest(root)

    def _write_history(self) -> None:
        history, self._history = self._history, None
        if history is not None and self._context is not None:
            history.write(self._storage_root(), Path(self._context.project_path))

    def _storage_root(self) -> str:
        if self._context is None:
            return ""
        try:
            return str(self._context.config_loader["globals"].get("storage_root", ""))
        except MissingConfigException:
            return ""
