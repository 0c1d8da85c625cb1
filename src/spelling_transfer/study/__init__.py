"""A study: configurations are chosen, trained on spelling, scored, compared, and the best is trained again.

`run_study` runs or resumes one, on one machine or on many. A study is described by `StudySettings` and the
`TrialConfig` that its space varies; what it runs is an `Objective`. Observers implement `StudyObserver`.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
