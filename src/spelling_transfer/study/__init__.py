"""A study: configurations are chosen, trained on spelling, scored, compared, and the best is trained again.

`run_study` runs what is left of one, on one machine or on many, whatever is killed. A study is described by
`StudySettings` and the `TrialConfig` that its space varies; what it runs is an `Objective`. Whoever wants to see it
implements `StudyObserver`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
    from spelling_transfer.study.interfaces import (
        Evaluation,
        Monitor,
        Objective,
        ObjectiveSource,
        StudyObserver,
        StudyResult,
        StudySnapshot,
        TrialBackend,
        TrialOutcome,
        TrialSnapshot,
    )
    from spelling_transfer.study.run import run_study
    from spelling_transfer.study.space import SearchSpace, read_space

__all__ = [
    "Evaluation",
    "Monitor",
    "Objective",
    "ObjectiveSource",
    "SearchSpace",
    "StudyConfigError",
    "StudyObserver",
    "StudyResult",
    "StudySettings",
    "StudySnapshot",
    "TrialBackend",
    "TrialConfig",
    "TrialOutcome",
    "TrialSnapshot",
    "read_space",
    "run_study",
]

_HOMES = {
    "StudyConfigError": "config",
    "StudySettings": "config",
    "TrialConfig": "config",
    "SearchSpace": "space",
    "read_space": "space",
    "run_study": "run",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'interfaces')}"), name)
