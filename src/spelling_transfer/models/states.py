"""The hidden states of a model at the end of each prompt, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.load import LoadedModel

_BATCH = 64


class HiddenStatesError(SpellingTransferError):
    """A model gives no hidden states, or none that can be computed with."""


def last_states(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], *, progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Returns the hidden states at the last token of each prompt, from which the answer's first token is chosen.

    Args:
        loaded: The model, with the adapter of an arm if it has one.
        prompts: Token ids of each prompt.
        progress: Called with the number of prompts done after each batch.

    Returns:
        Float32, shape ``(layers + 1, prompts, hidden)``: the embedding first, then what each layer leaves; the last as
        the head sees it, after the final normalisation.

    Raises:
        HiddenStatesError: The model gives none, or numbers that are not finite.
        UnknownTokenError: A prompt holds a token the model does not have.
    """
    import torch

    from spelling_transfer.models.attention import without_plans

    states: np.ndarray | None = None
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # so that little is padded
    with torch.inference_mode(), without_plans():
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            rows = [torch.from_numpy(loaded.vocabulary.to_rows(prompts[i])) for i in batch]
            # Pads come after what is asked for, where nothing of it looks.
            input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            out = loaded.backbone(input_ids=input_ids.to(loaded.device), use_cache=False, output_hidden_states=True)
            layers = getattr(out, "hidden_states", None)
            if layers is None:
                raise HiddenStatesError(
                    f"{type(loaded.backbone).__name__} gives no hidden states, so its layers cannot be probed. Set "
                    "evaluation.layer_probes.enabled to false for this model."
                )
            ends = torch.tensor([len(row) - 1 for row in rows], device=loaded.device)
            places = torch.arange(len(batch), device=loaded.device)
            found = torch.stack([layer[places, ends] for layer in layers]).float().cpu().numpy()
            if states is None:
                states = np.empty((len(found), len(prompts), found.shape[-1]), dtype=np.float32)
            states[:, batch] = found
            if progress is not None:
                progress(len(batch))
    if states is None:
        return np.empty((0, 0, 0), dtype=np.float32)
    if not np.isfinite(states).all():
        layer = int(np.flatnonzero(~np.isfinite(states).all(axis=(1, 2)))[0])
        raise HiddenStatesError(
            f"the hidden states of layer {layer} hold numbers that are not finite: the model or an adapter is damaged, "
            "or model_profile.dtype has too small a range (take bfloat16 or float32)."
        )
    return states
