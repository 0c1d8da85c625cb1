"""The order of examples: it depends on the seed alone, and neighbours in length share a batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice

import numpy as np

_BUCKET_STEPS = 16
"""Steps whose examples are sorted by length together: enough to save padding, few enough to keep the order random."""


class StepSampler:
    """Yields the examples of each optimiser step, as one list of batches a step, for ever.

    Each epoch is a permutation drawn from the seed and the epoch's number; neighbours in length share a batch.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples a batch.
        grad_accum_steps: Batches a step.
        seed: The order's seed.
        first_step: Steps to pass over, when a run is resumed.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, grad_accum_steps: int, seed: int, first_step: int = 0
    ) -> None:
        self.lengths = lengths
        self.first_step = first_step
        self.batch_size = batch_size
        self.grad_accum_steps = grad_accum_steps
        self.seed = seed

    def __iter__(self) -> Iterator[list[list[int]]]:
        epochs = chain.from_iterable(self._epoch(epoch) for epoch in count())
        return islice(epochs, self.first_step, None)

    def _epoch(self, epoch: int) -> Iterator[list[list[int]]]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        step_size = min(self.batch_size * self.grad_accum_steps, len(order))
        bucket_size = step_size * _BUCKET_STEPS
        for start in range(0, len(order), bucket_size):
            bucket = order[start : start + bucket_size]
            bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            batches = [bucket[i : i + self.batch_size].tolist() for i in range(0, len(bucket), self.batch_size)]
            # Short and long batches alternate, else the length would follow the step number.
            batches = [batches[i] for i in rng.permutation(len(batches))]
            for i in range(0, len(batches), self.grad_accum_steps):
                yield batches[i : i + self.grad_accum_steps]
