"""What was spent: recorded while jobs run, settled later, summed up, shown on a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.kedro_lightning.conftest import ENTRY, work

from kedro_lightning.config import ComputeConfig
from kedro_lightning.costs import Ledger, advice, cost_per_point, refresh, summary, write_page
from kedro_lightning.errors import BudgetError, ComputeError
from kedro_lightning.jobs.dispatch import Dispatcher
from kedro_lightning.plan import Plan
from kedro_lightning.platform.jobs import JobRequest, JobsApi
from kedro_lightning.preflight import check_money


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "costs" / "ledger.csv")


def fill(ledger: Ledger) -> None:
    ledger.record("run-1", ENTRY, "t4")
    ledger.record(
        "run-1", replace(ENTRY, job_id="job-2", machine="A100", usd_per_hour=1.55, cost_usd=0.2, seconds=460.0)
    )
    ledger.record("run-2", replace(ENTRY, job_id="job-3", title="answer", key="answer", cost_usd=0.1, state="failed"))


def test_a_job_has_one_row_whatever_becomes_of_it(ledger: Ledger) -> None:
    ledger.record("run-1", replace(ENTRY, state="running", cost_usd=0.0, note="interrupted"), "t4")
    ledger.record("run-1", ENTRY, "t4")
    (row,) = ledger.read().to_dict("records")
    assert (row["state"], row["cost_usd"], row["note"]) == ("completed", 0.34, "interrupted")


def test_a_job_belongs_to_the_month_in_which_it_began(ledger: Ledger) -> None:
    ledger.record("run-1", replace(ENTRY, state="running", cost_usd=0.0), "t4")
    frame = ledger.read().assign(recorded_at="2026-01-31T23:59:00+00:00")
    frame.to_csv(ledger.path, index=False)
    ledger.record("run-1", ENTRY, "t4")
    assert ledger.spent(month="2026-01") == 0.34
    assert ledger.spent() == 0.34


def test_costs_are_summed_up_by_run_and_month(ledger: Ledger) -> None:
    fill(ledger)
    month = str(ledger.read()["recorded_at"].iloc[0])[:7]
    assert ledger.spent(run_id="run-1") == pytest.approx(0.54)
    assert ledger.spent(month=month) == pytest.approx(0.64)
    assert ledger.spent(month="1999-01") == 0.0
    assert summary(ledger.read(), "run_id")[0] == {"run_id": "run-1", "jobs": 2, "hours": 0.6278, "usd": 0.54}
    assert ledger.minutes("train", "T4") == 30.0
    assert ledger.minutes("answer", "T4") is None  # it failed


def test_the_cheapest_machine_is_the_one_that_cost_least_for_the_work(ledger: Ledger) -> None:
    fill(ledger)
    assert advice(ledger.read()) == [
        {"node": "train", "machines": 2, "cheapest": "A100", "usd": 0.2, "fastest": "A100", "minutes": 7.67}
    ]


def test_cost_of_a_point_of_score() -> None:
    assert cost_per_point(2.0, [0.10, 0.30, 0.20]) == pytest.approx(0.1)  # 20 points for 2 USD
    assert cost_per_point(2.0, [0.3, 0.1]) is None


def test_the_page_is_one_file_with_the_same_numbers(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    ledger.record("run-2", replace(ENTRY, job_id="job-4", title="<script>x</script>", cost_usd=0.0))
    write_page(tmp_path / "cost.html", ledger.read(), ["One point of score: 0.10 USD."])
    page = (tmp_path / "cost.html").read_text()
    assert "<strong>0.64 USD</strong> for 4 jobs" in page
    assert "One point of score" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "Content-Security-Policy\" content=\"default-src 'none';" in page


def test_another_file_in_its_place_is_an_error(ledger: Ledger) -> None:
    ledger.path.parent.mkdir()
    ledger.path.write_text("a,b\n1,2\n")
    with pytest.raises(ComputeError, match="other columns"):
        ledger.read()


def test_a_cost_that_comes_late_is_asked_for_until_it_is_settled(
    platform, studio, connection, ledger, monkeypatch
) -> None:
    platform.world.cost_lags = True
    dispatcher = Dispatcher(JobsApi(connection), "run-1", on_entry=lambda entry: ledger.record("run-1", entry, "t4"))
    dispatcher.submit(work("train", studio)).result(300)
    dispatcher.close()
    api = JobsApi(connection)
    ledger.read().assign(cost_usd=0.34).to_csv(ledger.path, index=False)
    refresh(ledger, api)
    assert ledger.spent() > 0  # that the platform says nothing yet does not make it free
    for _ in range(4):
        unsettled = refresh(ledger, api)
    (row,) = ledger.read().to_dict("records")
    assert row["cost_usd"] == platform.jobs[0]["_final_cost"]
    assert unsettled == 1  # it ended a moment ago and may still change
    monkeypatch.setattr("kedro_lightning.costs._SETTLED_AFTER_MINUTES", -1.0)
    assert refresh(ledger, api) == 0
    assert str(ledger.read().iloc[0]["settled"]) == "True"


def test_a_job_that_ended_unseen_has_the_seconds_of_the_platform(platform, studio, connection, ledger) -> None:
    api = JobsApi(connection)
    dispatcher = Dispatcher(api, "run-1", on_entry=lambda entry: ledger.record("run-1", entry))
    dispatcher.submit(work("train", studio)).result(300)
    dispatcher.close()
    platform.jobs[0].update(startedAt="2026-11-01T10:00:00Z", stoppedAt="2026-11-01T10:10:00Z")
    ledger.record("run-1", replace(ENTRY, job_id=platform.jobs[0]["id"], state="running", seconds=0.0))
    refresh(ledger, api)
    assert ledger.minutes("train", "T4") == 10.0


def test_a_job_whose_seconds_nobody_knows_says_nothing_of_the_next_one(ledger: Ledger) -> None:
    ledger.record("run-1", replace(ENTRY, seconds=0.0))
    assert ledger.minutes("train", "T4") is None
    assert advice(ledger.read()) == []


def test_a_row_that_became_newer_while_the_platform_was_asked_stays(platform, studio, connection, ledger) -> None:
    api = JobsApi(connection)
    job = api.create(JobRequest("train", "sleep 60", "lit-t4-1", studio.id, ("kedro-compute-run-run-1",)))
    entry = replace(ENTRY, job_id=job.id, state="running", cost_usd=0.1)
    ledger.record("run-1", entry, "t4")
    find_all = api.find_all

    def slow(tag: str):
        found = find_all(tag)
        ledger.record("run-1", replace(entry, state="failed", cost_usd=0.5, note="interrupted"), "t4")
        return found

    api.find_all = slow  # type: ignore[method-assign]
    assert refresh(ledger, api) == 1
    (row,) = ledger.read().to_dict("records")
    assert (row["state"], row["cost_usd"], row["note"]) == ("failed", 0.5, "interrupted")


class _Costing(Plan):
    usd = 1.0  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("budget", "spent", "balance", "named"),
    [
        ({"run_usd": 0.5}, 0.0, None, "budget.run_usd"),
        ({"run_usd": 5, "month_usd": 1.2}, 0.5, None, "budget.month_usd"),
        ({"run_usd": 5}, 0.0, 0.2, "the credit of the teamspace"),
    ],
)
def test_an_estimate_above_what_is_left_starts_nothing(ledger: Ledger, budget, spent, balance, named: str) -> None:
    ledger.record("another run", replace(ENTRY, cost_usd=spent))
    with pytest.raises(BudgetError, match=named):
        check_money(_Costing((), "", ""), ComputeConfig(budget=budget), ledger, "this run", balance)


def test_what_the_run_has_spent_before_counts(ledger: Ledger) -> None:
    ledger.record("this run", replace(ENTRY, cost_usd=1.5))
    budget = check_money(_Costing((), "", ""), ComputeConfig(budget={"run_usd": 3}), ledger, "this run", None)
    assert budget.free_usd == pytest.approx(1.5)
