"""The ridge of every probe: its leave-one-out errors are those of leaving one out."""

from __future__ import annotations

import numpy as np
import pytest

from spelling_transfer.statistics.probes import read_linearly


def test_errors_are_those_of_leaving_one_out() -> None:
    rng = np.random.default_rng(0)
    inputs, wanted = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    scaled = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    errors = []
    for left_out in range(30):
        kept = np.arange(30) != left_out
        centre, level = scaled[kept].mean(axis=0), wanted[kept].mean(axis=0)
        each = scaled[kept] - centre
        weights = np.linalg.solve(each.T @ each + 10 * np.eye(4), each.T @ (wanted[kept] - level))
        errors.append((wanted[left_out] - level - (scaled[left_out] - centre) @ weights) ** 2)
    reading = read_linearly(inputs, wanted, inputs[:3], penalties=(10.0,))
    assert reading.errors == pytest.approx(np.mean(errors, axis=0))
    assert reading.outputs.shape == (3, 2)


def test_each_target_has_the_penalty_that_leaves_the_smallest_error() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((60, 40))
    wanted = np.stack([inputs[:, 0], rng.standard_normal(60)], axis=1)  # one is read, one is chance
    alone = [read_linearly(inputs, wanted, inputs, penalties=(each,)).errors for each in (0.1, 1_000.0)]
    assert read_linearly(inputs, wanted, inputs, penalties=(0.1, 1_000.0)).errors == pytest.approx(
        np.min(alone, axis=0)
    )
    assert np.argmin(alone, axis=0).tolist() == [0, 1]
