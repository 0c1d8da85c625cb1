"""Load a model by its profile, attach LoRA, compute the answer-only loss, generate answers, export."""
