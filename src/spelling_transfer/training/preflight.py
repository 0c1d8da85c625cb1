"""What is checked before the first step, so that a run does not fail in its middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from spelling_transfer.models.load import backbone
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples, TrainingDataError
from spelling_transfer.training.packing import check_packing, row_tokens


def check_examples(
    examples: EncodedExamples, model: Any, settings: TrainingSettings, subset_rows: torch.Tensor | None
) -> int | None:
    """Checks examples against the model and the settings; returns the longest packed row, where there is a bound.

    Raises:
        TrainingDataError: An example is longer than the model's context, or a label is outside the subset.
        PackingError: Examples are to be packed and the model's attention does not keep them apart.
    """
    context = getattr(backbone(model).config, "max_position_embeddings", None)
    too_long = np.flatnonzero(examples.lengths > context) if context else np.empty(0, dtype=np.int64)
    if len(too_long):
        raise TrainingDataError(
            f"{len(too_long)} examples are longer than the model's context of {context} tokens (the longest has "
            f"{int(examples.lengths.max())}): {examples.names(too_long.tolist(), limit=5)}. Take words and wordings "
            "that are shorter, or a model with a longer context."
        )
    if subset_rows is not None:
        outside = examples.labelled_outside(subset_rows.cpu().numpy())
        if len(outside):
            raise TrainingDataError(
                f"tokenizer.use_english_only_tokens: {len(outside)} examples have labels outside the token subset: "
                f"{examples.names(outside.tolist(), limit=5)}. Widen the rule in conf/base/study/token_analysis/ and "
                "run 'kedro run --pipelines=token_analysis' again, or train over the whole vocabulary."
            )
    if settings.batching != "packed":
        return None
    check_packing(model)
    return row_tokens(model, settings.packed_tokens)
