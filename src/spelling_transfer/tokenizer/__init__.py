"""The tokenizer: questions to prompts, and what its tokens hide.

`ChatTokenizer` is the one way from a question to a prompt, always in non-thinking mode. The rest says what the tokens
are: the vocabulary as decoded bytes, the rules of its English subset, words in tokens, the cost of the template, and
what an embedding tells of its letters. No deep-learning library is needed here.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
