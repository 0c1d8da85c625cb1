"""Variables by which a job knows what it is a part of; the driver sets them, and no other name is set by the plugin."""

from __future__ import annotations

import os

RUN_ID_VARIABLE = "KEDRO_COMPUTE_RUN_ID"
"""The run that this process does a part of: in a job, and in a driver that resumes the run."""

PARAMS_VARIABLE = "KEDRO_COMPUTE_PARAMS"
"""Parameters of a job's run, as JSON: ``--params`` cannot hold all of them, such as lists."""

MACHINES_VARIABLE = "KEDRO_COMPUTE_MACHINES"
"""How many machines do this job together. What trains there spreads over one device on each."""


def machine_count() -> int:
    """Returns how many machines do the work of this process together: 1 but in a job on several machines."""
    return int(os.environ.get(MACHINES_VARIABLE) or 1)
