"""What the table that comparisons read must look like; checked whenever it is saved or loaded."""

from __future__ import annotations

from pandera.pandas import Check, Column, DataFrameSchema

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
