"""Evaluation: what changed for words that no arm was trained on, in either direction.

The arms (base, spelling, form control, direct and others) answer the same questions on held-out word families, each
task marks the answers, and the arms are compared question by question. Intervals and tests come from `statistics`, the
sentences about them from `pages`. `verdict` decides what may be claimed, from one table of all arms' answers.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
