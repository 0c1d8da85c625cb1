"""Public benchmarks and other harnesses: the figures that others can check.

A public benchmark is read from the user's own file, asked as its authors ask it and as our tasks ask it, marked as its
authors mark it and by our readers, and summed up with and without what training knows. Sets are found by entry point;
`base.PublicSet` says what one is. `exports` writes our own questions as tasks of lm-evaluation-harness and inspect_ai;
what those tools import from here (`shared`, `inspect_tasks`) needs none of our heavy dependencies.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
