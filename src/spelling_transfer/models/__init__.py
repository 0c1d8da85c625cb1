"""Models: from a folder and a profile to one that is trained, answers, or is exported.

`ModelFolder` is what passes between nodes, `ModelProfile` how it is loaded, `LoadedModel` the model in memory with the
map from token ids to its rows. `answer_only_loss` computes the head where there is a label, `generate_answers` answers
in batches with think tokens masked. torch, transformers and MLX are imported when they are needed.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
