"""Weights & Biases: a copy of a study to look at, or a sweep that chooses its trials.

A study's own records are complete without it. `run_tracked_study` runs a study and logs it, `sync_study` sends later
what the server lacks, `sweep_config` shows a search space as a sweep. Every wait for the network has a bound.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
