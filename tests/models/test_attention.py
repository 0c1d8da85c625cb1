"""Attention in fixed shapes: two matrix products give what PyTorch's own function gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from spelling_transfer.models.attention import by_products

KINDS = [("cpu", torch.float32, 1e-6)]
if torch.cuda.is_available():  # a product of narrow matrices that comes out in float32 is CUDA's alone
    KINDS += [("cuda", torch.bfloat16, 2e-2), ("cuda", torch.float16, 2e-3)]


@pytest.mark.parametrize(("device", "dtype", "tolerance"), KINDS)
@pytest.mark.parametrize("queries", [4, 12])
def test_products_equal_the_function_of_pytorch(
    device: str, dtype: torch.dtype, tolerance: float, queries: int
) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, n, 16, device=device, dtype=dtype) for n in (queries, 10, 10))
    hidden = torch.arange(10, device=device) > torch.tensor([2, 5, 9], device=device)[:, None]
    mask = torch.zeros(3, 10, device=device, dtype=dtype).masked_fill(hidden, -torch.inf)[:, None, None]
    for scaling in (None, 0.5):
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
        found = by_products(query, key, value, mask, scaling)
        assert found.dtype == dtype
        assert torch.allclose(found, expected, atol=tolerance)
        changed = value.clone()
        changed[0, :, 3:] = 100.0  # what the mask hides
        assert torch.equal(by_products(query, key, changed, mask, scaling)[0], found[0])
