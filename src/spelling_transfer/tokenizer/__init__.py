"""The Qwen3 tokenizer: its files, its non-thinking prompt, its English subset, words in tokens."""
