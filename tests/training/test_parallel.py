"""Two real processes that train together over gloo, against one process that trains alone."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import load_chat_tokenizer
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.checkpoints import Checkpoints
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.errors import DeviceError
from spelling_transfer.training.parallel import Devices, make_strategy
from spelling_transfer.training.run import train

from .conftest import make_encoded, make_loaded

# Ten examples in batches of three: the last batch of an epoch holds one, so one of two devices goes without.
SETTINGS = TrainingSettings(
    learning_rate=3e-3, batch_size=3, grad_accum_steps=2, max_steps=4, warmup_steps=1, threads=1, log_every_steps=4
)
CASES: dict[str, tuple[str, str, bool]] = {
    "ddp, resumed": ("lora", "ddp", True),
    "fsdp": ("lora", "fsdp", False),
    "fsdp, all weights, resumed": ("full", "fsdp", True),
}


class Problem:
    """A small model and ten words, the same in each process."""

    def __init__(self) -> None:
        tokenizer = load_chat_tokenizer()
        encoded = make_encoded(tokenizer)
        self.loaded = make_loaded(tokenizer, encoded)
        self.examples = EncodedExamples(encoded, self.loaded.vocabulary, tokenizer.end_id)

    def run(self, method: str, devices: Devices, folder: Path | None = None, stop_at: int | None = None) -> Any:
        """Returns losses, the last row of metrics, and a sum over the weights that shows whether they are whole."""
        start = LoadedModel(copy.deepcopy(self.loaded.model), self.loaded.vocabulary)
        torch.manual_seed(0)
        if method == "lora":
            attach_lora(start, LoraSettings(r=4, alpha=8, dropout=0.0), ("q_proj", "v_proj"))

        def fail(step: int) -> None:
            if step == stop_at:
                raise KeyError("the machine went away")

        steps: list[int] = []
        result = train(
            start,
            self.examples,
            SETTINGS,
            progress=steps.append,
            callbacks=[EverySteps(1, fail)],
            checkpoints=Checkpoints(folder, every_steps=1) if folder else None,
            devices=devices,
        )
        with torch.no_grad():
            logits = start.model(input_ids=torch.arange(6)[None]).logits
        norm = result.metrics[-1]["train/grad_norm"]
        return {"losses": result.losses, "grad_norm": norm, "logits": logits[0, -1].tolist(), "progress": steps}


def _take_part(folder: Path) -> None:
    """What each of the two processes does."""
    problem, found = Problem(), {}
    for name, (method, strategy, resumed) in CASES.items():
        devices = Devices(number=2, strategy=strategy)  # type: ignore[arg-type]
        if resumed:
            with contextlib.suppress(KeyError):
                problem.run(method, devices, folder / name, stop_at=2)
        found[name] = problem.run(method, devices, folder / name if resumed else None)
    if os.environ["RANK"] == "0":
        (folder / "found.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from free_ports import free_ports  # the two processes have no path to it

    folder = tmp_path_factory.mktemp("parallel")
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(*free_ports())}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.test_parallel", str(folder)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    result: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return result


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    problem = Problem()
    return {method: problem.run(method, Devices()) for method in ("lora", "full")}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_take_the_steps_of_one(found: dict[str, Any], alone: dict[str, Any], name: str) -> None:
    expected = alone[CASES[name][0]]
    assert found[name]["losses"] == pytest.approx(expected["losses"], rel=1e-4)
    assert found[name]["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)
    assert found[name]["progress"] == ([2, 1, 1] if CASES[name][2] else [1, 1, 1, 1])
    # The model that train() leaves behind is whole and trained, on whatever it was trained.
    assert found[name]["logits"] == pytest.approx(expected["logits"], abs=2e-3)


def test_several_devices_need_a_process_each() -> None:
    with pytest.raises(DeviceError, match=r"devices: 2 devices.*torchrun --nproc-per-node 2"):
        make_strategy(Devices(number=2))


if __name__ == "__main__":
    _take_part(Path(sys.argv[1]))
