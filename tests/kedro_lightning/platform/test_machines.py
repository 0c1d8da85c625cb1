"""Machines and their prices."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from kedro_lightning.errors import TransientError
from kedro_lightning.platform.client import connect
from kedro_lightning.platform.machines import PriceList, choose, estimated_prices, read_prices


def test_prices_are_the_platforms_and_the_cheapest_fitting_machine_comes_first(platform, connection) -> None:
    prices = read_prices(connection)
    assert {machine.name: machine.usd_per_hour for machine in prices.machines}["T4"] == 0.68
    assert [machine.name for machine in choose(prices, ["H100", "A100", "T4"], 0, False)] == ["T4", "A100", "H100"]
    assert [machine.name for machine in choose(prices, ["H100", "A100", "T4"], 30, False)] == ["A100", "H100"]
    assert choose(prices, ["T4"], 30, False) == []


def test_price_decides_and_not_the_order_of_the_tier() -> None:
    dear, cheap = estimated_prices(["A100", "H100"]).machines
    prices = PriceList((dear, replace(cheap, usd_per_hour=1.0)), "", "")
    ladder = choose(prices, ["A100", "H100"], 0, False)
    assert [machine.name for machine in ladder] == ["H100", "A100"]


def test_machines_that_are_sold_out_are_left_out(platform, connection) -> None:
    platform.world.out_of_capacity = {"lit-t4-1"}
    assert [machine.name for machine in choose(read_prices(connection), ["T4", "A100"], 0, False)] == ["A100"]


def test_an_outage_is_not_an_empty_list_of_machines(platform, connection) -> None:
    platform.fault(r"GET /v1/core/accelerators", status=500, times=1000)
    with pytest.raises(TransientError):
        read_prices(connection)


@pytest.mark.live
@pytest.mark.skipif(not os.environ.get("LIGHTNING_API_KEY"), reason="nobody is signed in to the real platform")
def test_the_real_platform_tells_machines_and_prices() -> None:
    prices = read_prices(connect(None))
    machine = prices.find("T4")
    assert machine is not None
    assert 0.05 < machine.usd_per_hour < 20
