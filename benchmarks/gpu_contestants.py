"""The contestants of ``gpu.py``. Started by it; runs some one after another in this process, a line of JSON for each.

Everyone trains the same adapter (rank 16 on the attention projections, no dropout) on the same random weights and the
same examples, neighbours in length side by side, with AdamW (fused), a constant learning rate, gradients clipped to 1.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_models
import torch
from gpu_generators import attention_shapes, generate_ours, generate_peer
from gpu_models import NotMeasuredError, begun, load_ours
from peer_trainers import train_trainer, train_trl, trainer_arguments

MARK = "@gpu-benchmark "
"""Begins each line that is meant for ``gpu.py``."""
LIBRARIES = (
    "torch",
    "triton",
    "transformers",
    "tokenizers",
    "peft",
    "pytorch-lightning",
    "accelerate",
    "trl",
    "datasets",
    "liger-kernel",
    "bitsandbytes",
)


def main() -> None:
    """Runs the contestants that are given as JSON in the first argument, with the data of the second."""
    contestants, data = json.loads(sys.argv[1]), Path(sys.argv[2])
    # Standard output is for gpu.py alone: what libraries print goes to the log, with their errors.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(kind: str, content: dict[str, Any]) -> None:
        print(f"{MARK}{json.dumps({'kind': kind, 'content': content})}", file=channel, flush=True)

    tell("environment", environment())
    for contestant in contestants:
        try:
            result = RUNS[contestant["run"]](data, **contestant["options"])
        except NotMeasuredError as reason:
            tell("not measured", {"why": str(reason)})
        else:
            tell("result", result)


def environment() -> dict[str, Any]:
    """Returns the device and the versions of what is measured."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {"device": "CPU", "python": platform.python_version(), "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"device": properties.name, "device_gb": round(properties.total_memory / 1e9, 1)}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def train_ours(
    data: Path,
    *,
    batch: int,
    accumulate: int,
    steps: int,
    shape: str = "4b",
    dtype: str | None = None,
    precision: str = "auto",
    subset: bool = False,
    head: str = "auto",
    eager: bool = False,
    one_step: bool = False,
    limit_gib: float | None = None,
    pass_tokens: int | None = None,
    four_bit: bool = False,
) -> dict[str, Any]:
    """Trains with the engine of this project."""
    needed = ["bitsandbytes"] if four_bit else []
    started, import_s = begun("peft", "spelling_transfer.training.run", "spelling_transfer.models.trainable", *needed)
    from pytorch_lightning import Callback

    from spelling_transfer.training.config import TrainingSettings
    from spelling_transfer.training.data import EncodedExamples
    from spelling_transfer.training.run import train

    gpu_models.fresh_memory(limit_gib)
    watch = gpu_models.Watch(started, import_s)
    base_dtype = dtype or default_dtype(shape, precision)
    if four_bit:
        loaded = gpu_models.load_four_bit(shape, base_dtype, limit_gib)
    else:
        loaded = load_ours(shape, base_dtype, adapter=True)
    frame = gpu_models.read_examples(data, batch * accumulate * (1 if one_step else steps))
    examples = EncodedExamples(frame, loaded.vocabulary, gpu_models.END_ID)
    rows = torch.tensor(gpu_models.read_subset(data)) if subset else None

    class Watching(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            watch.step()

    settings = TrainingSettings(
        learning_rate=gpu_models.LEARNING_RATE,
        batch_size=batch,
        grad_accum_steps=accumulate,
        max_steps=steps,
        warmup_steps=0,
        schedule="constant",
        precision=precision,
        pass_tokens=pass_tokens,
        head=head,  # type: ignore[arg-type]
        cuda_graphs=not eager,
    )
    watch.start()
    done = train(loaded, examples, settings, subset_rows=rows, callbacks=[Watching()])
    return {**watch.result(batch * accumulate), "losses": [round(float(loss), 7) for loss in done.losses]}


def default_dtype(shape: str, precision: str) -> str:
    """Returns the type of the base weights: what a GPU would be given, and float32 where float32 is to be shown."""
    return "float32" if precision == "fp32" else "float16" if precision == "fp16" else "bfloat16"


def peer_run(
    train_peer: Callable[..., None],
    data: Path,
    started: float,
    import_s: float,
    *,
    batch: int,
    accumulate: int,
    steps: int,
    shape: str = "4b",
    precision: str = "bf16",
    **more: Any,
) -> dict[str, Any]:
    """Trains with a peer on the batches that our engine makes, so that it is spared the same padding."""
    gpu_models.fresh_memory(None)
    watch, dtype = gpu_models.Watch(started, import_s), default_dtype(shape, precision)
    model = gpu_models.peer_adapter(gpu_models.build_model(shape, dtype))
    frame = gpu_models.in_batches(gpu_models.read_examples(data, batch * accumulate * steps), batch, accumulate)
    arguments = trainer_arguments(
        tempfile.mkdtemp(prefix="gpu-benchmark-"), batch=batch, accumulate=accumulate, steps=steps,
        learning_rate=gpu_models.LEARNING_RATE, bf16=dtype == "bfloat16",
    )  # fmt: skip
    train_peer(model, frame, data / "tokenizer", {**arguments, **more}, watch)
    return watch.result(batch * accumulate)


def run_trl(data: Path, *, liger: bool = False, **options: Any) -> dict[str, Any]:
    """Trains with TRL's SFTTrainer."""
    begin = begun("peft", "datasets", "trl", *(["liger_kernel"] if liger else []))
    return peer_run(train_trl, data, *begin, **options, **({"use_liger_kernel": True} if liger else {}))


def run_trainer(data: Path, **options: Any) -> dict[str, Any]:
    """Trains with transformers' Trainer."""
    return peer_run(train_trainer, data, *begun("peft", "datasets", "transformers", "accelerate"), **options)


RUNS: dict[str, Callable[..., dict[str, Any]]] = {
    "train_ours": train_ours,
    "train_trl": run_trl,
    "train_trainer": run_trainer,
    "generate_ours": generate_ours,
    "generate_peer": generate_peer,
    "attention_shapes": attention_shapes,
}

if __name__ == "__main__":
    main()
