"""What the contestants of ``gpu.py`` share: models of random weights, batches, and a watch for a device that lags."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from benchmark_table import memory_mb

ROWS, END_ID, PAD_ID = 151_936, 151_645, 151_643
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
RANK, ALPHA = 16, 32
LEARNING_RATE = 1e-3
PEERS = ("bitsandbytes", "datasets", "liger_kernel", "trl")
WARM_UP = 2
SHAPES: dict[str, dict[str, Any]] = {
    "4b": {
        "hidden_size": 2560,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 9728,
        "tie_word_embeddings": True,
    },
    "small": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "intermediate_size": 768,
        "tie_word_embeddings": False,
    },
}
SHAPES["tiny"] = {**SHAPES["small"], "num_hidden_layers": 2}
"""Qwen3-4B's shape, and small ones. These have a head of their own, as answers of a tied one repeat the last token."""
_BUCKET_STEPS = 16
_STARTED = float(os.environ.get("GPU_BENCHMARK_STARTED", time.time()))
_import_seconds: list[float] = []


class NotMeasuredError(Exception):
    """This cannot be measured here; the message says why."""


def begun(*modules: str) -> tuple[float, float]:
    """Imports what a contestant needs; returns the time now and the seconds since the process was started.

    Contestants after the first of a process find modules imported; they are given the seconds of the first.

    Raises:
        NotMeasuredError: A peer is not installed.
    """
    from importlib import import_module

    for module in modules:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if error.name not in PEERS:  # what the project itself needs has to be here
                raise
            raise NotMeasuredError(f"{error.name} is not installed here") from error
    _import_seconds.append(time.time() - _STARTED)
    return time.perf_counter(), _import_seconds[0]


def device() -> torch.device:
    """Returns the GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_model(shape: str, dtype: str) -> Any:
    """Returns a frozen Qwen3 of random weights, the same ones for each contestant.

    The large one is drawn on the GPU, where that takes 0.3 s. Small ones are drawn on the CPU, so that they are the
    same on both.

    Raises:
        NotMeasuredError: The large one is asked for and there is no GPU.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=ROWS,
        max_position_embeddings=4096,
        eos_token_id=END_ID,
        bos_token_id=None,
        pad_token_id=PAD_ID,
        **SHAPES[shape],
    )
    before = torch.get_default_dtype()
    large = shape == "4b"
    if large and device().type == "cpu":
        raise NotMeasuredError("Qwen3-4B's shape is measured on a GPU, and there is none; --quick takes a tiny model")
    torch.set_default_dtype(getattr(torch, dtype) if large else torch.float32)
    torch.manual_seed(0)
    try:
        with torch.device(device() if large else "cpu"):
            model: Any = Qwen3ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return model.to(device=device(), dtype=getattr(torch, dtype)).eval().requires_grad_(False)


def load_ours(shape: str, dtype: str, *, adapter: bool) -> Any:
    """Returns the model as this project holds it, with the adapter where that is asked for."""
    from spelling_transfer.models.load import LoadedModel
    from spelling_transfer.models.trainable import LoraSettings, attach_lora
    from spelling_transfer.models.vocabulary import Vocabulary

    loaded = LoadedModel(build_model(shape, dtype), Vocabulary(None, ROWS))
    if adapter:
        settings = LoraSettings(r=RANK, alpha=ALPHA, dropout=0.0)
        if shape != "4b":  # the adapter's numbers are to be the same on both, too
            loaded.model.to("cpu")
        torch.manual_seed(0)
        attach_lora(loaded, settings, TARGETS)
        loaded.model.to(device())
    return loaded


def load_four_bit(shape: str, compute_dtype: str, limit_gib: float | None) -> Any:
    """Returns the model as `load_ours` does, its weights in 4 bits: written to a folder and loaded from there.

    That is what a user's run does, and what packs the weights. Memory is limited, and its peak counted, from there on.
    """
    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.models.load import load_model
    from spelling_transfer.models.profile import ModelProfile
    from spelling_transfer.models.trainable import LoraSettings, attach_lora

    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as folder:
        build_model(shape, compute_dtype).save_pretrained(folder)
        fresh_memory(limit_gib)
        profile = ModelProfile(name="Qwen3-4B's shape", dtype=compute_dtype, four_bit=True)  # type: ignore[arg-type]
        loaded = load_model(ModelFolder.open(Path(folder)), profile)
    attach_lora(loaded, LoraSettings(r=RANK, alpha=ALPHA, dropout=0.0), TARGETS)
    return loaded


def peer_adapter(model: Any) -> Any:
    """Returns the model with the adapter that all contestants train, as PEFT makes it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def read_examples(data: Path, count: int) -> pd.DataFrame:
    """Returns the first examples, from the start again where there are not enough."""
    frame = pd.read_parquet(data / "examples.parquet")
    return frame.iloc[np.arange(count) % len(frame)].reset_index(drop=True)


def in_batches(frame: pd.DataFrame, batch: int, accumulate: int) -> pd.DataFrame:
    """Returns examples in an order in which neighbours in length share a batch, as our engine has them.

    A trainer that takes them in sequence is so spared the same padding.
    """
    rng = np.random.default_rng(0)
    lengths = frame["input_ids"].map(len).to_numpy()
    order: list[int] = []
    bucket_size = batch * accumulate * _BUCKET_STEPS
    for start in range(0, len(frame), bucket_size):
        bucket = np.arange(start, min(start + bucket_size, len(frame)))
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        batches = [bucket[i : i + batch] for i in range(0, len(bucket), batch)]
        order += [i for place in rng.permutation(len(batches)) for i in batches[place].tolist()]
    return frame.iloc[order]


def read_subset(data: Path) -> list[int]:
    """Returns the token ids of the English subset."""
    ids: list[int] = json.loads((data / "subset.json").read_text())
    return ids


def fresh_memory(limit_gib: float | None) -> None:
    """Frees what the last contestant left, and lets this one have so much of the GPU's memory."""
    import gc

    gc.collect()
    if device().type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        total = torch.cuda.get_device_properties(0).total_memory
        _left[:] = [torch.cuda.memory_allocated()]
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_gib * 2**30 / total) if limit_gib else 1.0)


_left = [0]
"""Bytes that contestants before this one did not give back: they are not in its peak."""


def synchronize() -> None:
    """Waits for the device."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def peak_memory() -> dict[str, float]:
    """Returns the most memory that was used since `fresh_memory`, in GB of 10^9 bytes; on a CPU since the start."""
    if device().type == "cuda":
        return {
            "peak_gb": round((torch.cuda.max_memory_allocated() - _left[0]) / 1e9, 2),
            "reserved_gb": round(torch.cuda.max_memory_reserved() / 1e9, 2),
        }
    peak_gb = round(memory_mb() / 1e3, 2)
    return {"peak_gb": peak_gb, "reserved_gb": peak_gb}


class Watch:
    """Notes when each step ends, on the GPU's own clock where there is one, so that nothing has to wait for it.

    Args:
        begun: `time.perf_counter` when the contestant began, imports left out.
        import_s: Seconds from the start of the process until all was imported.
    """

    def __init__(self, begun: float, import_s: float) -> None:
        self.begun, self.import_s = begun, import_s
        self.marks: list[Any] = []
        self.first_s = 0.0

    def start(self) -> None:
        """Is called right before the trainer is."""
        synchronize()
        self.started = time.perf_counter()
        self.step()

    def step(self) -> None:
        """Is called at the end of each step."""
        if device().type == "cuda":
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
            self.marks.append(mark)
        else:
            self.marks.append(time.perf_counter())
        if len(self.marks) == 2:
            synchronize()
            self.first_s = time.perf_counter() - self.begun

    def result(self, examples: int) -> dict[str, Any]:
        """Returns what was measured. ``examples`` is how many a step has."""
        synchronize()
        total = time.perf_counter() - self.started
        if device().type == "cuda":
            steps = [before.elapsed_time(after) for before, after in pairwise(self.marks)]
        else:
            steps = [1e3 * (after - before) for before, after in pairwise(self.marks)]
        steady = statistics.median(steps[WARM_UP:])
        return {
            "examples": examples,
            "steps": len(steps),
            "examples_per_second": round(examples / steady * 1e3, 2),
            "median_ms": round(steady, 2),
            "steps_ms": [round(step, 1) for step in steps],
            "total_s": round(total, 3),
            "import_s": round(self.import_s, 2),
            "start_up_s": round(self.import_s + self.first_s, 2),
            **peak_memory(),
        }
