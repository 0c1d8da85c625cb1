"""Modules with new names: an old one in an import or in a configuration is answered with the new one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from spelling_transfer.errors import SpellingTransferError

MOVED = {
    "spelling_transfer.compute": "kedro_lightning",
    "spelling_transfer.evaluation.sampling": "spelling_transfer.evaluation",
    "spelling_transfer.evaluation.statistics": "spelling_transfer.statistics",
    "spelling_transfer.policy": "kedro_non_thinking",
    "spelling_transfer.reporting": "spelling_transfer.pages",
    "spelling_transfer.storage.bundle": "spelling_transfer.storage",
    "spelling_transfer.storage.bundle_pull": "spelling_transfer.storage",
    "spelling_transfer.storage.bundle_push": "spelling_transfer.storage",
    "spelling_transfer.storage.hook": "spelling_transfer.storage",
    "spelling_transfer.storage.stores": "spelling_transfer.storage",
    "spelling_transfer.study.correlation": "spelling_transfer.statistics",
    "spelling_transfer.study.backend": "spelling_transfer.study",
    "spelling_transfer.study.executor": "spelling_transfer.study",
    "spelling_transfer.study.experiment": "spelling_transfer.configuration.presets",
    "spelling_transfer.study.importance": "spelling_transfer.statistics",
    "spelling_transfer.study.presets": "spelling_transfer.configuration.presets",
    "spelling_transfer.study.resampling": "spelling_transfer.statistics",
    "spelling_transfer.study.scores": "spelling_transfer.statistics.scores",
    "spelling_transfer.tasks.difficulty": "spelling_transfer.words.difficulty",
    "spelling_transfer.tasks.families": "spelling_transfer.words",
    "spelling_transfer.tasks.spelled": "spelling_transfer.tasks.base",
    "spelling_transfer.tasks.word_list": "spelling_transfer.words",
    "spelling_transfer.tasks.word_sets": "spelling_transfer.words",
    "spelling_transfer.tasks.words": "spelling_transfer.words",
    "spelling_transfer.tokenizer.rules": "spelling_transfer.tokenizer.english",
    "spelling_transfer.tracking.summary": "spelling_transfer.hooks",
    "spelling_transfer.tracking.wandb_settings": "spelling_transfer.tracking",
}
"""Old names that users had in configurations and imports, and where to look now. What was below a name moved along."""


class MovedError(SpellingTransferError, ImportError):
    """A module is asked for by a name of earlier releases."""


class _Finder:
    """Asked last, for modules that nobody found."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Raises where the module has a new name."""
        if (new := MOVED.get(name)) is not None:
            raise MovedError(f"{name}: there is no such module any more; it is {new} now.", name=name)
        return None


def tell_new_names() -> None:
    """Makes imports of old names say the new one."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)
