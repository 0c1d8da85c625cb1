"""A few rounds of faults; ``benchmarks/storage_faults.py`` plays a hundred of all kinds."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fault_place import Outcome, worst_ratio
from fault_rounds import FaultRounds

SHORT = [
    "client killed in push",
    "client killed in pull",
    "server killed in push",
    "two pushers at once",
    "wrong digest",
]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRounds]:
    variables, options, level = dict(os.environ), dict(fsspec.config.conf), logging.getLogger("asyncio").level
    played = FaultRounds(tmp_path_factory.mktemp("faults"), seed=1)
    yield played
    played.close()
    os.environ.clear()
    os.environ.update(variables)
    fsspec.config.conf.clear()
    fsspec.config.conf.update(options)
    logging.getLogger("asyncio").setLevel(level)


@pytest.mark.parametrize("kind", SHORT)
def test_what_is_visible_is_whole_and_what_is_resumed_sends_what_was_missing(rounds: FaultRounds, kind: str):
    outcome = rounds.run(kind)
    assert outcome.kind == kind
    if outcome.missing_bytes is not None:
        assert outcome.moved_bytes is not None
        assert outcome.moved_bytes <= 1.1 * outcome.missing_bytes + 200_000


def test_the_rounds_would_notice_a_partial_file(rounds: FaultRounds, tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(b"half")
    with pytest.raises(AssertionError, match="partial"):
        rounds._check_target(tmp_path, [{"a.bin": b"half of it"}])


def test_every_kind_of_fault_is_known(rounds: FaultRounds):
    assert set(SHORT) < set(rounds.kinds)


def test_the_worst_ratio_leaves_out_what_is_small_as_the_requests_outweigh_it():
    outcomes = [
        Outcome("client killed in push", interrupted=True, missing_bytes=10_000_000, moved_bytes=10_500_000),
        Outcome("client killed in push", interrupted=True, missing_bytes=10, moved_bytes=5_000),
        Outcome("slow connections"),
    ]
    assert worst_ratio(outcomes) == 1.05
    assert worst_ratio([]) == 0
