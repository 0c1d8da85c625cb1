"""The tokenizer: questions to prompts, and what its tokens hide.

`ChatTokenizer` renders every prompt, always in non-thinking mode. The rest analyses the tokens: the vocabulary as
decoded bytes, the rules of its English subset, words in tokens, the cost of the template, and the letters that an
embedding reveals. No deep-learning library is needed here.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
