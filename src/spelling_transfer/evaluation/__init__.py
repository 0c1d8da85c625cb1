"""Evaluation: what changed for words that no arm was trained on, in either direction.

The arms (base, spelling, form control, direct and others) answer the same questions on held-out word families; the
tasks' own markers mark the answers; the arms are compared question by question. Intervals and tests are those of
`statistics`; what is said about them in words is in `pages`. What may be claimed is decided in `verdict`,
from one table of all arms' answers.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
