"""Everything that a person reads: pages as HTML, documents for ``docs/``, and the words and numbers in them.

`findings` has the sentences, `numbers` the format of numbers, `page`, `tables` and `style` the layout. Each page has a
module: `evaluation`, `study`, `tokens`, `serving`, and `run_summary` for the end of a run. Pages only turn frames and
findings into text and figures.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
