"""A node whose tier has two machines: the training engine's DDP over gloo, in two jobs' processes, saved once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_TRAINS = f"""
    import os, sys
    from pathlib import Path


    def make(n):
        return {{"n": n}}


    def train(x, n):
        import torch
        from spelling_transfer.training.callbacks import EverySteps

        sys.path.insert(0, {str(ROOT)!r})
        from tests.training import test_parallel as problem

        worlds = []
        real = problem.train

        def train(*arguments, **settings):
            def look(step):
                on = torch.distributed.is_initialized()
                worlds.append(torch.distributed.get_world_size() if on else 1)
            settings["callbacks"] = [EverySteps(1, look)]
            return real(*arguments, **settings)

        problem.train = train
        found = problem.Problem().run("lora", None)
        rank = os.environ.get("NODE_RANK", "alone")
        backend = torch.distributed.get_backend() if torch.distributed.is_initialized() else None
        Path(os.environ["SHARED"], f"rank-{{rank}}").write_text(f"{{worlds}} {{backend}}")
        return {{"losses": found["losses"], "logits": found["logits"], "rank": rank}}
    """
_REGISTRY = """
    from kedro.pipeline import node, pipeline
    from toy import nodes


    def register_pipelines():
        steps = [
            node(nodes.make, "params:n", "x", name="make"),
            node(nodes.train, ["x", "params:n"], "t", name="train", tags=["gpu"]),
        ]
        return {"__default__": pipeline(steps)}
    """


def test_two_machines_train_one_model_together(toy) -> None:
    toy.write("src/toy/nodes.py", _TRAINS)
    toy.write("src/toy/pipeline_registry.py", _REGISTRY)
    alone = toy.kedro("run", "--nodes=make,train")
    assert alone.returncode == 0, alone.stderr[-3000:]
    expected = json.loads((toy.shared / "t.json").read_text())
    assert expected["rank"] == "alone"

    toy.edit(
        "conf/base/compute.yml",
        ("tiers: {", "tiers: {pair: {machines: [T4], num_machines: 2}, "),
        ("train: {minutes: 10}", "train: {minutes: 10, tier: pair}"),
    )
    done = toy.run()
    assert done.returncode == 0, done.stderr[-3000:]
    (job,) = toy.platform.world.mmts.values()
    assert len(toy.platform.jobs) == 2
    assert (toy.shared / "rank-0").read_text() == (toy.shared / "rank-1").read_text() == "[2, 2, 2, 2] gloo"
    together = json.loads((toy.shared / "t.json").read_text())
    assert together["rank"] == "0"
    assert together["losses"] == pytest.approx(expected["losses"], rel=1e-4)
    assert together["logits"] == pytest.approx(expected["logits"], abs=2e-3)
    assert "about 0.23 USD" in done.stderr  # ten minutes of two machines at 0.68 USD an hour
    assert toy.platform.running == []
    assert job["state"].endswith("COMPLETED")
