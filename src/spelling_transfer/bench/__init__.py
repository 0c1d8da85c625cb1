"""Public benchmarks, and export to other harnesses.

A public benchmark is read from the user's own file, asked with its authors' prompts and with ours, scored in both ways,
and summarised with and without words seen in training. Sets are found by entry point; `base.PublicSet` is their
protocol. `exports` writes our own questions as tasks of lm-evaluation-harness and inspect_ai; what those tools import
from here (`shared`, `inspect_tasks`) needs none of our heavy dependencies.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
