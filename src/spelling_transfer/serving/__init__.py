"""The endpoint: serves a fine-tuned model in non-thinking mode, and checks that it does."""
