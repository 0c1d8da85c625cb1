"""Which words are studied: the list, their families and splits, their word sets, how hard they are.

`select_words` reads the built-in list or a user's own; `describe_words` and `split_words` make the table of words, a
whole family of inflections in one split; `rate_difficulty` adds how hard each is to spell. All random draws use
`random_for`, seeded by what is drawn.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
