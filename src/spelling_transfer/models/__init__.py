"""Models: loading, adapters, generation and export.

`ModelFolder` is passed between nodes, `ModelProfile` says how it is loaded, `LoadedModel` is the model in memory with
the map from token ids to its rows. `answer_only_loss` computes the head at labels only, `generate_answers` answers in
batches with think tokens masked. torch, transformers and MLX are imported lazily.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
