"""A linear probe: what one matrix reads from representations, fitted by ridge regression in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spelling_transfer.statistics.intervals import Floats

PENALTIES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
"""Ridge penalties that are tried."""

_SMALL_WIDTH = 512


class ProbeReading(NamedTuple):
    """What a probe says of examples that it was not fitted to.

    Attributes:
        outputs: Its outputs, shape ``(tested, targets)``.
        errors: Leave-one-out mean squared error of each target in the fit, shape ``(targets,)``.
    """

    outputs: Floats
    errors: Floats


def read_linearly(
    inputs: Floats, wanted: Floats, tested: Floats, penalties: Sequence[float] = PENALTIES
) -> ProbeReading:
    """Fits ``wanted ≈ standardised(inputs) · W + b`` and returns what it gives for other inputs.

    ``W`` minimises the squared error plus a penalty times its squares. The penalty of each target is the one with the
    smallest leave-one-out error on the inputs of the fit (Golub, Heath and Wahba 1979, Technometrics 21): what is
    tested has no say.

    Args:
        inputs: Representations to fit, shape ``(fitted, width)``.
        wanted: What to predict from them, shape ``(fitted, targets)``.
        tested: Representations to read, shape ``(tested, width)``.
        penalties: Penalties to choose from.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaler = StandardScaler()
    # Threads that wait for one another cost more than they bring where matrices are small and the machine is shared.
    with threadpool_limits(1 if inputs.shape[1] <= _SMALL_WIDTH else None):
        ridge = RidgeCV(alphas=list(penalties), alpha_per_target=True)
        ridge.fit(scaler.fit_transform(np.asarray(inputs, dtype=np.float64)), wanted)
        outputs = ridge.predict(scaler.transform(np.asarray(tested, dtype=np.float64)))
    return ProbeReading(outputs, -np.asarray(ridge.best_score_))
