"""The rows that the training benchmark makes of what was measured; measuring takes minutes and is not done here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"
COLUMNS = ["metric", "ours", "peer", "peer_name", "unit", "ratio", "goal"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_training", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


class FakeBench:
    """Every contestant is as fast, and holds as much, as the length of its name says."""

    def run(self, _: Path, contestants: dict) -> dict[str, dict[str, float]]:
        figures = {}
        for label in contestants:
            size = float(len(label))
            figures[label] = dict.fromkeys(
                (
                    "examples_per_second",
                    "processor_ms_per_example",
                    "peak_mb",
                    "above_model_mb",
                    "loss",
                    "step_seconds",
                ),
                size,
            ) | {"answers_per_second": size, "processor_ms_per_answer": size, "digest": 1.0}
        return figures


def test_a_ratio_above_one_says_that_ours_is_better(script: ModuleType) -> None:
    assert script.row("speed", 20.0, 5.0, "peer", "examples/s", more=True)["ratio"] == 4.0
    assert script.row("memory", 20.0, 5.0, "peer", "MB")["ratio"] == 0.25


@pytest.mark.parametrize("width", [128, 512, 1024])
def test_each_peer_is_compared_in_speed_memory_and_loss(script: ModuleType, width: int) -> None:
    rows = script.compare_training(FakeBench(), width, steps=4)
    assert all(list(row) == COLUMNS for row in rows)
    for peer in ("TRL", "TRL, packed", "Trainer"):
        own = [row for row in rows if row["peer_name"] == peer]
        assert {row["unit"] for row in own} == {"examples/s", "ms", "MB", "nats/token"}
        speeds = [row["goal"] for row in own if row["unit"] == "examples/s"]
        assert speeds == list(script.GOALS.get((peer.split(",")[0], width), (None, None)))


def test_generation_and_overhead_have_their_goals(script: ModuleType) -> None:
    goals = {row["metric"]: row["goal"] for row in script.compare_lightning(FakeBench(), steps=4)}
    assert set(goals.values()) == {0.91}  # at most a tenth slower
    rows = script.compare_generation(FakeBench(), prompts=4)
    assert [row["goal"] for row in rows if row["unit"] == "answers/s"] == [5, 5, 2, 2]


def test_an_unknown_part_is_named(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training.py", "--parts", "train-64"])
    with pytest.raises(SystemExit):
        script.main()
    assert "train-64 is none of train-128" in capsys.readouterr().err
