"""Weights & Biases: a copy of a study, or a sweep that chooses its trials.

A study's own records are complete without it. `run_tracked_study` runs a study and logs it, `sync_study` sends later
what is missing at the server, `sweep_config` shows a search space as a sweep. Every wait for the network has a timeout.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
