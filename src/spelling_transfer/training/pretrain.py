"""Makes ``tiny-qwen3``, the embedded base model: Qwen3's architecture and tokenizer, small enough for any laptop.

A large model knows how its words are spelled, where their letters stand and how many there are better than it can say
in a given form. The embedded one is brought to that state for all three tasks: plain lines of spelling, places and
counts for the words of all splits, the chat form for a few word families of the ``pretrain`` split. LoRA then has
something to elicit. What it scores is measured and said on its card.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from spelling_transfer.frozen import FrozenModel
from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE, Vocabulary
from spelling_transfer.progress import progress_bar
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.pretrain_data import PretrainData, PretrainMixture

if TYPE_CHECKING:
    import torch

_LAST_RATE = 0.15
"""Share of the peak learning rate with which the last stage begins."""
_RESTART_WARMUP = 20
_IGNORED = -100


class PretrainSettings(FrozenModel):
    """Shape of the embedded model and how it is trained."""

    hidden_size: int = Field(256, ge=32, description="Width.")
    feed_forward_ratio: float = Field(
        2.0, ge=1, le=8, description="Width inside the feed-forward layers, of `hidden_size`."
    )
    layers: int = Field(4, ge=1, description="Decoder layers.")
    steps: int = Field(3_600, ge=1, description="Optimiser steps.")
    batch_rows: int = Field(64, ge=1, description="Rows per step; each holds whole examples end to end.")
    row_tokens: int = Field(128, ge=64, description="Tokens per row.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(200, ge=1, description="Steps until the peak.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay.")
    full_softmax_steps: int = Field(300, ge=0, description="Last steps, with the softmax over all rows.")
    restart_steps: int = Field(
        200, ge=0, description="Steps after these, with a new optimiser and the softmax over all rows."
    )
    restart_rate: float = Field(5e-4, gt=0, description="Peak learning rate of the steps after the restart.")
    seed: int = Field(0, ge=0, description="Seed of the weights.")
    threads: int = Field(2, ge=1, description="CPU threads; sums, and so the weights, depend on their number.")
    workers: int = Field(0, ge=0, description="Processes that make batches in addition to the one that trains.")
    mixture: PretrainMixture = PretrainMixture()


def new_model(vocabulary_ids: np.ndarray, end_id: int, settings: PretrainSettings) -> LoadedModel:
    """Returns a randomly initialised Qwen3 whose embedding has one row for each id of ``vocabulary_ids``."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    vocabulary = Vocabulary(vocabulary_ids, len(vocabulary_ids))
    end_row = int(vocabulary.to_rows([end_id])[0])
    config = Qwen3Config(
        vocab_size=len(vocabulary_ids),
        hidden_size=settings.hidden_size,
        intermediate_size=round(settings.feed_forward_ratio * settings.hidden_size),
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=settings.hidden_size // 4,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        eos_token_id=end_row,
        bos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(settings.seed)
    return LoadedModel(Qwen3ForCausalLM(config), vocabulary)


class Trainer:
    """Takes optimiser steps on a model, all weights; on CUDA in bfloat16, each stage as one CUDA graph.

    A model this small is bound by the launches of its kernels; a graph launches them all at once.

    Args:
        model: The model, on its device.
        settings: Learning rate and weight decay.
        label_rows: Rows that can be a label; the softmax is over these alone until :meth:`widen`.
    """

    def __init__(self, model: Any, settings: PretrainSettings, label_rows: np.ndarray) -> None:
        import torch

        from spelling_transfer.models.capture import GraphPool

        self._model = model
        self._device = next(model.parameters()).device
        self._cuda = self._device.type == "cuda"
        if self._cuda:  # cuDNN's attention plans each shape for seconds and gains nothing on heads this small
            torch.backends.cuda.enable_cudnn_sdp(False)
        self._settings = settings
        self._pool = GraphPool(self._device, enabled=self._cuda)
        self._batch: list[torch.Tensor] = []
        self._loss = torch.zeros((), device=self._device)
        self._optimizer = self._new_optimizer()
        self._narrow(label_rows)

    def _new_optimizer(self) -> torch.optim.AdamW:
        import torch

        rate: Any = self._settings.learning_rate
        return torch.optim.AdamW(
            self._model.parameters(),
            lr=torch.tensor(rate, device=self._device) if self._cuda else rate,
            betas=(0.9, 0.98),
            weight_decay=self._settings.weight_decay,
            fused=True,
            capturable=self._cuda,
        )

    def widen(self) -> None:
        """Continues with the softmax over all rows, which teaches that the others are never an answer."""
        import torch

        if self._cuda:  # the graph of the first stage must have run before its memory is given back
            torch.cuda.synchronize()
        self._narrow(None)

    def restart(self) -> None:
        """Continues with a new optimiser, and the softmax over all rows."""
        self.widen()
        self._optimizer = self._new_optimizer()

    def _narrow(self, label_rows: np.ndarray | None) -> None:
        import torch

        from spelling_transfer.models.capture import Captured

        n_rows = self._model.get_input_embeddings().weight.shape[0]
        place = torch.arange(n_rows) if label_rows is None else torch.zeros(n_rows, dtype=torch.long)
        if label_rows is not None:
            place[torch.from_numpy(label_rows)] = torch.arange(len(label_rows))
        self._place = place.to(self._device)
        self._rows = None if label_rows is None else torch.from_numpy(label_rows).to(self._device)
        self._pool.renew()
        # What is allocated once, at the first steps, must not be part of the graph.
        self._run = Captured(self._pool, calls_before=3)

    def step(
        self, ids: torch.Tensor, is_label: torch.Tensor, places: torch.Tensor, learning_rate: float
    ) -> torch.Tensor:
        """Takes one step and returns the mean loss of its labels.

        Args:
            ids: Embedding rows, shape ``(rows, tokens)``.
            is_label: Which of them are labels, same shape.
            places: The place of each in its example, same shape.
            learning_rate: Of this step.
        """
        import torch

        for group in self._optimizer.param_groups:
            if self._cuda:
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate
        batch = (ids, is_label, places)
        self._batch = self._batch or [torch.empty_like(each, device=self._device) for each in batch]
        for kept, each in zip(self._batch, batch, strict=True):
            # From pinned memory the copy continues while the next batch is made.
            kept.copy_(each.pin_memory() if self._cuda else each, non_blocking=True)
        self._run(self._take)
        return self._loss.clone()

    def _take(self) -> None:
        """Takes a step on the batch that is kept, and keeps its loss."""
        import torch
        import torch.nn.functional as F

        ids, is_label, places = self._batch
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._cuda):
            weight = self._model.get_input_embeddings().weight
            # The gradient of index_select is one kernel; that of an embedding may wait for the device.
            embedded = weight.index_select(0, ids.flatten()).view(*ids.shape, -1)
            states = self._model.model(
                inputs_embeds=embedded,
                attention_mask={"full_attention": _attention_mask(places)},
                position_ids=places,
                use_cache=False,
            ).last_hidden_state[:, :-1]
            weight = weight if self._rows is None else weight.index_select(0, self._rows)
            targets, wanted = self._place[ids[:, 1:]], is_label[:, 1:]
            if self._cuda:  # a graph needs the same shapes at each step
                states, targets = states.flatten(0, 1), targets.masked_fill(~wanted, _IGNORED).flatten()
            else:
                states, targets = states[wanted], targets[wanted]
            logits = states @ weight.T
        loss = F.cross_entropy(logits.float(), targets, ignore_index=_IGNORED)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._loss.copy_(loss.detach())


def _attention_mask(places: torch.Tensor) -> torch.Tensor:
    """Returns where each token may look: back, and inside its own example; shape ``(rows, 1, tokens, tokens)``."""
    import torch

    example = (places == 0).cumsum(-1)
    back = torch.ones(places.shape[1], places.shape[1], dtype=torch.bool, device=places.device).tril()
    return ((example[:, :, None] == example[:, None, :]) & back)[:, None]


def learning_rate_at(done: float, last_stage: float, settings: PretrainSettings) -> float:
    """Returns the learning rate after the warm-up: a half cosine, then a straight line to zero in the last stage.

    Args:
        done: Share of the steps that are done, 0 to 1.
        last_stage: Share of the steps at which the last stage begins.
        settings: The peak.
    """
    if done < last_stage:
        wave = 0.5 * (1 + math.cos(math.pi * done / last_stage))
        return settings.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * wave)
    return settings.learning_rate * _LAST_RATE * max(0.0, 1 - done) / max(1e-9, 1 - last_stage)


def restart_rate_at(step: int, settings: PretrainSettings) -> float:
    """Returns the learning rate of a step after the restart: the peak, and from half of the steps a line to zero.

    Args:
        step: Number of the step, from 0 at the restart.
        settings: The peak and how many steps there are.
    """
    left = min(1.0, 2 * (1 - step / settings.restart_steps))
    return settings.restart_rate * left * min(1.0, (step + 1) / _RESTART_WARMUP)


def batches_of(
    data: PretrainData, settings: PretrainSettings
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yields the batches of a run, in the same order whatever the number of processes that make them."""
    import torch
    from torch.utils.data import DataLoader

    numbers: Any = range(settings.steps + settings.restart_steps)
    loader = DataLoader(
        numbers,
        batch_size=None,
        collate_fn=partial(data.batch, rows=settings.batch_rows, width=settings.row_tokens),
        num_workers=settings.workers,
        prefetch_factor=16 if settings.workers else None,
    )
    for ids, is_label, places in loader:
        yield torch.from_numpy(ids), torch.from_numpy(is_label), torch.from_numpy(places)


def pretrain(
    loaded: LoadedModel,
    data: PretrainData,
    settings: PretrainSettings,
    *,
    on_tenth: Callable[[int], None] | None = None,
) -> list[float]:
    """Trains all weights, in place, on the model's device.

    The first stage is where the time goes, and a head of some hundred rows costs next to nothing there; the next
    teaches the model that the other rows are never an answer. A restart with a higher rate, and its descent, then make
    invalid answers to questions about words that were never asked about fewer.

    Args:
        loaded: The new model.
        data: Makes the batches.
        settings: How long and how fast.
        on_tenth: Called with the number of steps done, after each tenth of them.

    Returns:
        The loss of each step.
    """
    import torch

    torch.set_num_threads(settings.threads)
    loaded.model.train()
    trainer = Trainer(loaded.model, settings, data.label_rows)
    last_stage = max(0, settings.steps - settings.full_softmax_steps)
    losses: list[torch.Tensor] = []
    total = settings.steps + settings.restart_steps
    with progress_bar("Pre-training", total=total) as advance:
        for step, batch in enumerate(batches_of(data, settings)):
            if step == settings.steps:
                trainer.restart()
            elif step == last_stage:
                trainer.widen()
            if step < settings.steps:
                rate = learning_rate_at(step / settings.steps, last_stage / settings.steps, settings)
                rate *= min(1.0, (step + 1) / settings.warmup_steps)
            else:
                rate = restart_rate_at(step - settings.steps, settings)
            losses.append(trainer.step(*batch, rate))
            advance(1)
            if on_tenth is not None and (step + 1) % max(1, total // 10) == 0:
                on_tenth(step + 1)
    return [float(loss) for loss in losses]


def save(
    loaded: LoadedModel, tokenizer: ChatTokenizer, target: Path, notes: dict[str, object], card: str
) -> ModelFolder:
    """Writes the model as bfloat16 safetensors with its id map and its card."""
    import json

    import torch

    assert loaded.vocabulary.token_ids is not None
    identity = {"tokenizer_sha256": tokenizer.sha256, "template_sha256": tokenizer.template_sha256}
    with new_folder(target, {"kind": "model", **identity, **notes}) as work:
        loaded.model.to(torch.bfloat16).save_pretrained(str(work), safe_serialization=True)
        (work / TOKEN_IDS_FILE).write_text(json.dumps(loaded.vocabulary.token_ids.tolist(), separators=(",", ":")))
        (work / "README.md").write_text(card)
    loaded.model.float()
    return ModelFolder(target)
