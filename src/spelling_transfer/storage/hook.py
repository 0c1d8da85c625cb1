"""The hook that moves the pointer to the latest run, last of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext


class StorageHook:
    """A Kedro hook; see :mod:`.runs` for the pointer."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keeps the way to the configuration."""
        self._context = context

    # Last of all: the pointer must not lead to a run whose summary is not written.
    @hook_impl(trylast=True)
    def after_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Moves ``latest`` to a run that ended well; a run of chosen nodes is a part of another and moves nothing.

        Raises:
            RunNameError: The pointer cannot be written.
        """
        root = self._storage_root()
        if "/runs/" not in root or run_params.get("node_names"):
            return
        from spelling_transfer.storage.runs import move_latest

        move_latest(root)

    def _storage_root(self) -> str:
        if self._context is None:
            return ""
        try:
            return str(self._context.config_loader["globals"].get("storage_root", ""))
        except MissingConfigException:
            return ""
