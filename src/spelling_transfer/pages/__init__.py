"""Everything that a person reads: pages as HTML, documents for ``docs/``, and the words and numbers in them.

`findings` holds the sentences, `numbers` how a number is written, `page`, `tables` and `style` the one look. Each page
has a module: `evaluation`, `study`, `tokens`, `serving`, and `run_summary` for the end of a run. Pages compute nothing
that another package could need: they take frames and findings and return text or figures.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
