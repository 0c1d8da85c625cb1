"""What the table that comparisons read must look like; checked whenever it is saved or loaded."""

from __future__ import annotations

from pandera.pandas import Check, Column, DataFrameSchema

from spelling_transfer.evaluation.layer_probes import COLUMNS, NO_LAYER
from spelling_transfer.evaluation.strata import ENDPOINTS, NO_SEED, STRATA
from spelling_transfer.tasks.arms import BASE, PROMPTED_ARMS, TRAINED_ARMS

ARM_ANSWERS = DataFrameSchema(
    {
        "arm": Column(str, Check.isin((BASE, *TRAINED_ARMS, *PROMPTED_ARMS))),
        "seed": Column(int, Check.ge(NO_SEED)),
        "example_id": Column(str),
        "task": Column(str),
        "family": Column(str),
        "endpoint": Column(str, Check.isin(ENDPOINTS)),
        "correct": Column(bool),
        "invalid": Column(bool),
        "held_out_wording": Column(bool),
        **{name: Column(str) for name in STRATA},
    },
    unique=["arm", "seed", "example_id"],
    strict=True,
    name="arm_answers",
)

_SHARES = ("accuracy", "low", "high", "shuffled", "majority", "answered")

LAYER_PROBES = DataFrameSchema(
    {
        **{name: Column(kind, nullable=kind is float) for name, kind in COLUMNS.items()},
        **{name: Column(float, Check.in_range(0, 1), nullable=True) for name in _SHARES},
        "arm": Column(str, Check.isin((BASE, *TRAINED_ARMS))),
        "layer": Column(int, Check.ge(NO_LAYER)),
    },
    checks=Check(
        lambda table: (table["layer"] == NO_LAYER) == table["accuracy"].isna(),
        error="what was not probed has no numbers, and all else has",
    ),
    unique=["arm", "task", "layer"],
    strict=True,
    name="layer_probes",
)
