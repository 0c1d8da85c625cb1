from __future__ import annotations

import torch
import torch.nn.functional as F

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import IGNORED_LABEL, answer_only_loss


def batch(n_rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, n_rows, (4, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    labels = ids.clone()
    labels[:, :5] = IGNORED_LABEL
    labels[mask == 0] = IGNORED_LABEL
    return ids, mask, labels


def full_loss(loaded: LoadedModel, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = loaded.model(input_ids=ids, attention_mask=mask).logits
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
    )


def test_value_and_gradient_equal_the_full_computation(loaded: LoadedModel) -> None:
    ids, mask, labels = batch(loaded.vocabulary.n_rows)
    gradients = []
    losses = []
    for loss in (answer_only_loss(loaded.model, ids, mask, labels), full_loss(loaded, ids, mask, labels)):
        loaded.model.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([p.grad.clone() for p in loaded.model.parameters() if p.grad is not None])
    assert abs(losses[0] - losses[1]) < 1e-5 * abs(losses[1])
    for ours, full in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, full, atol=1e-5, rtol=1e-5)


def test_a_subset_of_all_rows_changes_nothing(loaded: LoadedModel) -> None:
    ids, mask, labels = batch(loaded.vocabulary.n_rows)
    rows = torch.arange(loaded.vocabulary.n_rows)
    torch.testing.assert_close(
        answer_only_loss(loaded.model, ids, mask, labels, subset_rows=rows),
        answer_only_loss(loaded.model, ids, mask, labels),
    )


def test_a_subset_is_a_softmax_over_its_rows_alone(loaded: LoadedModel) -> None:
    ids, mask, labels = batch(loaded.vocabulary.n_rows)
    rows = torch.unique(labels[labels != IGNORED_LABEL])
    logits = loaded.model(input_ids=ids, attention_mask=mask).logits
    outside = torch.ones(loaded.vocabulary.n_rows, dtype=torch.bool)
    outside[rows] = False
    masked = logits.masked_fill(outside, -torch.inf)[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(masked, labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL, reduction="sum")
    kept = loaded.model.get_output_embeddings().weight.detach()[rows]
    for weight in (None, kept):
        loss = answer_only_loss(loaded.model, ids, mask, labels, subset_rows=rows, subset_weight=weight)
        torch.testing.assert_close(loss, expected)
