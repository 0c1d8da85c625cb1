"""What is done every so often beside a trial."""

from __future__ import annotations

import threading

import pytest

from spelling_transfer.study.monitor import repeating


def test_a_call_that_fails_is_made_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    calls, done = [], threading.Event()

    def call() -> None:
        calls.append(1)
        if len(calls) == 4:
            done.set()
        if len(calls) < 4:
            raise ValueError("no such luck")

    with repeating(call, 0.01):
        assert done.wait(300)
    assert [record.getMessage().endswith("ValueError: no such luck") for record in caplog.records] == [True]
