"""How jobs are named, and what is known of one: how long it ran and what it cost."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace

import pytest
from tests.kedro_lightning.conftest import T4, work

from kedro_lightning.jobs.work import Tracked, job_name
from kedro_lightning.platform.jobs import JobView, State
from kedro_lightning.platform.studios import StudioView


def test_names_are_unique_and_always_the_same() -> None:
    long = "tuning.run_study_with_a_name_that_goes_on_and_on_and_on_until_nobody_reads_it"
    names = {job_name(run, key, n) for run in ("a", "b") for key in (long, long + "x", "T") for n in (1, 2)}
    assert len(names) == 12
    assert all(re.fullmatch(r"[a-z0-9-]{1,63}", name) for name in names)
    assert job_name("a", "T", 1) == job_name("a", "T", 1)


def test_a_job_costs_what_our_clock_and_price_say_until_the_platform_says_it(studio: StudioView) -> None:
    began = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    ended = began + dt.timedelta(minutes=90)
    job = JobView("job-1", "train", State.COMPLETED, "completed", "", (), 0.0, T4.slug, 1, began, began, ended)
    tracked = Tracked(work("train", studio))
    assert tracked.cost_usd == 0
    tracked.begin(job, "", limit_seconds=7200, usd_per_hour=0.4)
    tracked.see(job)
    assert tracked.seconds == 5400
    assert tracked.entry().cost_usd == tracked.cost_usd == pytest.approx(0.6)
    tracked.see(replace(job, cost_usd=0.7))
    assert tracked.entry().cost_usd == 0.7


def test_a_clock_of_the_platform_that_runs_back_is_not_believed(studio: StudioView) -> None:
    began = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    before = began - dt.timedelta(minutes=90)
    tracked = Tracked(work("train", studio))
    job = JobView("job-1", "train", State.COMPLETED, "completed", "", (), 0.0, T4.slug, 1, began, began, before)
    tracked.begin(job, "", limit_seconds=7200, usd_per_hour=0.4)
    tracked.see(job)
    assert 0 <= tracked.seconds < 60
