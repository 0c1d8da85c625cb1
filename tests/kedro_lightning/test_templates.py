"""Kinds of jobs: a grid side by side, an evaluation after it, the worthiest first."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kedro_lightning.conftest import T4

from kedro_lightning.errors import SettingsError
from kedro_lightning.jobs.dispatch import Dispatcher
from kedro_lightning.jobs.templates import TEMPLATES, make_works
from kedro_lightning.platform.jobs import JobsApi


def test_an_evaluation_waits_for_its_grid(platform, connection, studio, tmp_path: Path) -> None:
    shared = {"studio_id": studio.id, "machines": [T4]}
    grid = make_works("grid", {f"r-{rank}": ["touch", f"{tmp_path}/{rank}"] for rank in (4, 8, 16)}, **shared)
    listing = ["sh", "-c", f"ls {tmp_path}/[0-9]* | wc -l > {tmp_path}/count"]
    (evaluation,) = make_works("evaluation", {"compare": listing}, after=[work.key for work in grid], **shared)
    dispatcher = Dispatcher(JobsApi(connection), "run-templates")
    last = dispatcher.submit(evaluation)  # asked for first, done last
    for work in grid:
        dispatcher.submit(work)
    last.result(30)
    dispatcher.close()
    assert (tmp_path / "count").read_text().strip() == "3"
    assert [job["spec"]["spot"] for job in platform.jobs] == [True] * 4


def test_impact_orders_jobs_of_a_kind_and_kinds_are_ordered_by_what_waits_for_them() -> None:
    works = make_works("grid", {"a": ["true"], "b": ["true"]}, studio_id="s", machines=[T4], impact={"b": 2.0})
    assert works[1].priority == 2 * works[0].priority
    order = sorted(TEMPLATES, key=lambda name: -TEMPLATES[name].priority)
    assert order[:2] == ["deployment", "evaluation"]


def test_a_command_of_a_template_ends_at_its_limit(platform, connection, studio) -> None:
    (work,) = make_works("single", {"train": ["sleep", "60"]}, studio_id=studio.id, machines=[T4])
    dispatcher = Dispatcher(JobsApi(connection), "run-limit")
    with pytest.raises(Exception, match="longest run reached"):
        dispatcher.submit(type(work)(**{**work.__dict__, "longest_seconds": 1})).result(30)
    dispatcher.close()


def test_an_unknown_template_is_named_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"'cooking'\. Known: single, grid, sweep_worker, evaluation, deployment"):
        make_works("cooking", {}, studio_id="s", machines=[T4])
