"""How jobs are named."""

from __future__ import annotations

import re

from kedro_lightning.jobs.work import job_name


def test_names_are_unique_and_always_the_same() -> None:
    long = "tuning.run_study_with_a_name_that_goes_on_and_on_and_on_until_nobody_reads_it"
    names = {job_name(run, key, n) for run in ("a", "b") for key in (long, long + "x", "T") for n in (1, 2)}
    assert len(names) == 12
    assert all(re.fullmatch(r"[a-z0-9-]{1,63}", name) for name in names)
    assert job_name("a", "T", 1) == job_name("a", "T", 1)
