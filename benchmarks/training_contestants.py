"""The contestants of ``training.py``: each trains the same adapter on the same ids, in a process of its own.

Started by ``training.py`` as ``python benchmarks/training_contestants.py CONTESTANT FOLDER SETTINGS``; prints a line of
JSON. What every contestant gets: the same random model and adapter (one seed), the same examples as token ids in the
same batches (but for TRL's packing, which makes its own), AdamW (fused), a constant learning rate, gradients clipped to
1, no dropout, float32, two threads.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from benchmark_table import memory_mb
from peer_trainers import train_trainer, train_trl, trainer_arguments

THREADS = 2
BATCH = 8
LEARNING_RATE = 1e-3
PAD_ID = 151_643
WARM_UP_STEPS = 2


def main() -> None:
    """Runs one contestant and prints what was measured."""
    name, folder, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    import torch

    torch.set_num_threads(THREADS)
    print(json.dumps(CONTESTANTS[name](folder, **settings)))


def load(folder: Path, width: int) -> Any:
    """Loads the model of a width and attaches the adapter, the same for every contestant."""
    import torch

    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.models.load import load_model
    from spelling_transfer.models.trainable import LoraSettings, attach_lora

    loaded = load_model(ModelFolder(folder / f"width-{width}"), device="cpu")
    torch.manual_seed(0)
    attach_lora(loaded, LoraSettings(r=16, alpha=32, dropout=0.0), ("q_proj", "k_proj", "v_proj", "o_proj"))
    return loaded


def read_examples(folder: Path, steps: int) -> Any:
    """Returns the examples of all steps: ``input_ids`` and ``label_start``."""
    import pandas as pd

    return pd.read_parquet(folder / "examples.parquet").head(steps * BATCH)


def read_batches(folder: Path, steps: int, loaded: Any) -> Any:
    """Returns the examples in the order of our engine: what a trainer takes in sequence makes the same batches."""
    from spelling_transfer.training.data import EncodedExamples, StepSampler

    frame = read_examples(folder, steps)
    lengths = EncodedExamples(frame, loaded.vocabulary, end_id(folder)).lengths
    return frame.iloc[[i for indices in islice(StepSampler(lengths, BATCH, 0), steps) for i in indices]]


class Stopwatch:
    """Notes when each step ended, and the memory held before the first."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.processor: list[float] = []

    def start(self) -> None:
        """Is to be called when the trainer begins."""
        self.before_mb = memory_mb("VmRSS")

    def step(self) -> None:
        """Is to be called at the end of each step."""
        self.ends.append(time.perf_counter())
        self.processor.append(time.process_time())

    def result(self, loaded: Any, folder: Path, steps: int, n_examples: int) -> dict[str, Any]:
        """Returns throughput after the warm-up, memory, and the loss on the examples that were trained on."""
        peak_mb = memory_mb()
        # The median step: what else the machine did in a moment is not the contestant's.
        step_seconds = median_step(self.ends)
        per_step = n_examples / len(self.ends)
        return {
            "examples_per_second": per_step / step_seconds,
            "processor_ms_per_example": median_step(self.processor) / per_step * 1e3,
            "step_seconds": step_seconds,
            "peak_mb": peak_mb,
            "above_model_mb": peak_mb - self.before_mb,
            "loss": mean_loss(loaded, folder, steps),
            "steps": len(self.ends),
        }


def median_step(times: list[float]) -> float:
    """Returns the median time between the ends of steps, those of the warm-up left out."""
    return statistics.median(after - before for before, after in pairwise(times[WARM_UP_STEPS - 1 :]))


def mean_loss(loaded: Any, folder: Path, steps: int) -> float:
    """Returns the mean cross entropy of the label tokens over the whole vocabulary, computed alike for everyone."""
    import torch
    import torch.nn.functional as F

    total, count = 0.0, 0
    loaded.model.eval()
    for row in read_examples(folder, steps).itertuples():
        ids = torch.tensor(row.input_ids, dtype=torch.long)[None]
        with torch.no_grad():
            logits = loaded.model(input_ids=ids, logits_to_keep=len(row.input_ids) - row.label_start + 1).logits[0, :-1]
        total += float(F.cross_entropy(logits.float(), ids[0, row.label_start :], reduction="sum"))
        count += ids.shape[1] - row.label_start
    return total / count


def train_ours(folder: Path, *, width: int, steps: int, subset: bool = False) -> dict[str, Any]:
    """Trains with the engine of this project."""
    import torch
    from pytorch_lightning import Callback

    from spelling_transfer.training.config import TrainingSettings
    from spelling_transfer.training.data import EncodedExamples
    from spelling_transfer.training.run import train

    loaded, frame = load(folder, width), read_examples(folder, steps)
    examples = EncodedExamples(frame, loaded.vocabulary, end_id(folder))
    rows = torch.tensor(json.loads((folder / "subset.json").read_text())) if subset else None
    watch = Stopwatch()
    watch.start()

    class Watch(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            watch.step()

    settings = TrainingSettings(
        learning_rate=LEARNING_RATE, batch_size=BATCH, grad_accum_steps=1, max_steps=steps, warmup_steps=0,
        schedule="constant", threads=THREADS,
    )  # fmt: skip
    train(loaded, examples, settings, subset_rows=rows, callbacks=[Watch()])
    return watch.result(loaded, folder, steps, len(frame))


def train_bare_loop(folder: Path, *, width: int, steps: int, subset: bool = False) -> dict[str, Any]:
    """Trains with the parts of our engine in a loop of a few lines: what Lightning adds is the difference."""
    import torch

    from spelling_transfer.models.loss import loss_at
    from spelling_transfer.training.data import EncodedExamples, StepSampler

    loaded, frame = load(folder, width), read_examples(folder, steps)
    examples = EncodedExamples(frame, loaded.vocabulary, end_id(folder))
    rows = torch.tensor(json.loads((folder / "subset.json").read_text())) if subset else None
    trainable = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    subset_weight = loaded.model.get_output_embeddings().weight.detach()[rows] if subset else None
    optimizer = torch.optim.AdamW(trainable, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    loaded.model.train()
    watch = Stopwatch()
    watch.start()
    for indices in islice(StepSampler(examples.lengths, BATCH, 0), steps):
        batch = examples.batch(indices)
        optimizer.zero_grad()
        inputs = (batch.input_ids, batch.places, batch.targets)
        loss = loss_at(loaded.model, *inputs, subset_rows=rows, subset_weight=subset_weight)
        (loss / len(batch.targets)).backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        watch.step()
    return watch.result(loaded, folder, steps, len(frame))


def end_id(folder: Path) -> int:
    """Returns the token that ends an answer."""
    return int(json.loads((folder / "end.json").read_text()))


def train_peer(
    folder: Path, train: Callable[..., None], width: int, steps: int, packing: bool = False
) -> dict[str, Any]:
    """Trains with a peer on the batches that our engine makes; packed, TRL makes its own."""
    loaded = load(folder, width)
    frame = read_batches(folder, steps, loaded)
    arguments = trainer_arguments(
        str(folder / "trainer"), batch=BATCH, accumulate=1, steps=steps, learning_rate=LEARNING_RATE
    )
    if packing:
        # As many tokens a step as without: one row that holds about a batch of examples.
        lengths = frame["input_ids"].map(len)
        arguments |= {"max_steps": -1, "num_train_epochs": 1, "per_device_train_batch_size": 1, "packing": True}
        arguments |= {"max_length": int(max(lengths.max(), -(-lengths.sum() // steps)))}
        arguments |= {"train_sampling_strategy": "random"}
    watch = Stopwatch()
    train(loaded.model, frame, folder / "tokenizer", arguments, watch)
    return watch.result(loaded, folder, steps, len(frame))


def run_trainer(folder: Path, *, width: int, steps: int) -> dict[str, Any]:
    """Trains with transformers' Trainer."""
    return train_peer(folder, train_trainer, width, steps)


def run_trl(folder: Path, *, width: int, steps: int, packing: bool) -> dict[str, Any]:
    """Trains with TRL's SFTTrainer."""
    return train_peer(folder, train_trl, width, steps, packing)


CONTESTANTS: dict[str, Callable[..., dict[str, Any]]] = {
    "ours": train_ours,
    "bare loop": train_bare_loop,
    "Trainer": run_trainer,
    "TRL": run_trl,
}

if __name__ == "__main__":
    main()
