"""Which words: the list, their families, splits, difficulty and word sets."""
