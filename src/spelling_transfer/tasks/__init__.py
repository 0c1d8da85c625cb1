"""What is asked about a word and how an answer is marked.

One file per task; other packages add tasks by an entry point (docs/tasks.md), with `WordTask`, `make_templates` and the
readers. `write_examples` writes questions that cannot be guessed without the word, `choose_mixture` selects training
examples, `encode_examples` gives token ids and label span. No deep-learning library is needed here.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
