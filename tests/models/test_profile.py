"""The sizes of a model, and what a smaller vocabulary saves of it."""

from __future__ import annotations

import pytest

from spelling_transfer.models.profile import ModelShape, VocabularySavings, measure_head, savings

# Qwen/Qwen3-4B, config.json; its model card says 4.0 B parameters, 3.6 B of them outside the embedding.
QWEN3_4B = ModelShape(
    name="Qwen/Qwen3-4B", vocabulary_rows=151_936, hidden_size=2560, layers=36, attention_heads=32, key_value_heads=8,
    head_size=128, feed_forward_size=9728,
)  # fmt: skip


def test_the_shape_of_the_published_model_has_its_published_size():
    embedding = QWEN3_4B.vocabulary_rows * QWEN3_4B.hidden_size
    assert round(QWEN3_4B.layer_weights / 1e9, 1) == 3.6
    assert round((QWEN3_4B.layer_weights + embedding) / 1e9, 1) == 4.0


def test_what_is_saved_follows_from_the_shape():
    row = savings(QWEN3_4B, 75_968)
    assert row["embedding_mb"] == pytest.approx(151_936 * 2560 * 2 / 1e6, abs=0.01)
    assert row["saved_mb"] == pytest.approx(row["embedding_mb"] / 2, abs=0.01)
    assert row["work_saved_share"] == pytest.approx(row["head_share"] / 2, abs=1e-4)
    untied = savings(QWEN3_4B.model_copy(update={"tied_embeddings": False}), 75_968)
    assert untied["saved_mb"] == pytest.approx(2 * row["saved_mb"], abs=0.02)
    assert savings(QWEN3_4B, 151_936)["saved_mb"] == 0


def test_a_shape_is_read_from_a_configuration():
    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    shape = ModelShape.of_config(config, name="old", vocabulary_rows=500, bytes_per_weight=4)
    assert (shape.key_value_heads, shape.head_size, shape.tied_embeddings) == (4, 16, False)


def test_the_head_is_timed_where_that_is_small_and_wanted():
    small = QWEN3_4B.model_copy(update={"hidden_size": 8})
    measured = measure_head(small, 1_000, VocabularySavings(reference=QWEN3_4B))
    assert measured is not None
    assert measured["head_ms"] > measured["subset_head_ms"] > 0
    assert measure_head(QWEN3_4B, 1_000, VocabularySavings(reference=QWEN3_4B)) is None
    assert measure_head(small, 1_000, VocabularySavings(reference=QWEN3_4B, measure_head=False)) is None
