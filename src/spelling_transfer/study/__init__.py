"""A study: configurations are chosen, trained on spelling, scored, compared, and the best is trained again.

`run_study` runs what is left of one, on one machine or on many, whatever is killed. A study is described by
`StudySettings` and the `TrialConfig` that its space varies; what it runs is an `Objective`. Whoever wants to see it
implements `StudyObserver`.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
