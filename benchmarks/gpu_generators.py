"""The generators of ``gpu.py``, and attention by itself."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_models
import torch
from gpu_models import NotMeasuredError, begun, load_ours

Answer = Callable[[list[list[int]], int], list[list[int]]]
SAMPLING = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}


def read_prompts(data: Path, questions: int) -> tuple[Any, list[list[int]]]:
    """Returns the tokenizer and the prompts of the first questions."""
    import pandas as pd

    from spelling_transfer.tokenizer.chat import load_chat_tokenizer

    tokenizer = load_chat_tokenizer(data / "tokenizer")
    asked = pd.read_parquet(data / "questions.parquet")["question"]
    return tokenizer, tokenizer.encode_prompts([asked[i] for i in asked.index[:questions]])


def generate_ours(
    data: Path,
    *,
    questions: int,
    new_tokens: int,
    shape: str = "4b",
    dtype: str = "bfloat16",
    side_by_side: int | None = None,
    sampled: bool = False,
    subset: bool = False,
    once: bool = False,
    keep_answers: bool = False,
) -> dict[str, Any]:
    """Answers with this project's generator."""
    started, import_s = begun("spelling_transfer.models.generate", "spelling_transfer.models.load")

    from spelling_transfer.models.generate import Sampling, generate_answers

    gpu_models.fresh_memory(None)
    loaded = load_ours(shape, dtype, adapter=False)
    tokenizer, prompts = read_prompts(data, questions)
    allowed = gpu_models.read_subset(data) if subset else None

    def answer(asked: list[list[int]], longest: int) -> list[list[int]]:
        how: dict[str, Any] = {"max_new_tokens": longest, "batch_size": side_by_side, "allowed_ids": allowed}
        if sampled:
            how |= {"sampling": Sampling(**SAMPLING), "seeds": list(range(len(asked)))}
        return generate_answers(loaded, tokenizer, asked, **how)

    return time_answers(answer, prompts, new_tokens, started, import_s, once=once, keep_answers=keep_answers)


def generate_peer(
    data: Path,
    *,
    questions: int,
    new_tokens: int,
    shape: str = "4b",
    dtype: str = "bfloat16",
    side_by_side: int = 512,
    sampled: bool = False,
    keep_answers: bool = False,
) -> dict[str, Any]:
    """Answers with transformers' ``generate``: sorted, batched, all batches of one width, the whole head."""
    started, import_s = begun("transformers", "spelling_transfer.tokenizer.chat")

    gpu_models.fresh_memory(None)
    model = gpu_models.build_model(shape, dtype)
    # Random weights do not end their answers; without an end token nothing looks whether they do.
    model.generation_config.eos_token_id = None
    _, prompts = read_prompts(data, questions)
    # One width for all: generate builds no plan twice.
    width = max(map(len, prompts))
    drawn: dict[str, Any] = {"do_sample": True, **SAMPLING} if sampled else {"do_sample": False}

    def answer(asked: list[list[int]], longest: int) -> list[list[int]]:
        order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
        answers: list[list[int]] = [[] for _ in asked]
        for start in range(0, len(order), side_by_side):
            indices = order[start : start + side_by_side]
            rows = [[gpu_models.PAD_ID] * (width - len(asked[i])) + asked[i] for i in indices]
            ids = torch.tensor(rows, device=gpu_models.device())
            mask = torch.tensor([[0] * (width - len(asked[i])) + [1] * len(asked[i]) for i in indices])
            with torch.inference_mode():
                out = model.generate(
                    input_ids=ids,
                    attention_mask=mask.to(ids.device),
                    max_new_tokens=longest,
                    pad_token_id=gpu_models.PAD_ID,
                    **drawn,
                )
            for i, row in zip(indices, out[:, width:].tolist(), strict=True):
                answers[i] = row
        return answers

    return time_answers(answer, prompts, new_tokens, started, import_s, keep_answers=keep_answers)


def time_answers(
    answer: Answer,
    prompts: list[list[int]],
    new_tokens: int,
    started: float,
    import_s: float,
    *,
    once: bool = False,
    keep_answers: bool = False,
) -> dict[str, Any]:
    """Times a generator: the first call, with all its stalls, and the second.

    The decoder alone is what a call takes more than one for a single new token.
    """
    gpu_models.synchronize()
    ready = time.perf_counter()

    def timed(longest: int) -> tuple[float, list[list[int]]]:
        begin = time.perf_counter()
        answers = answer(prompts, longest)
        gpu_models.synchronize()
        return time.perf_counter() - begin, answers

    first_s, answers = timed(new_tokens)
    tokens = sum(map(len, answers))
    result: dict[str, Any] = {
        "questions": len(prompts),
        "new_tokens": new_tokens,
        "tokens": tokens,
        "first_s": round(first_s, 3),
        "seconds": round(first_s, 3),
        "import_s": round(import_s, 2),
        "start_up_s": round(import_s + ready - started, 2),
    }
    if not once:
        seconds, answers = timed(new_tokens)
        timed(1)
        prefill_s, beginnings = timed(1)
        decoded = tokens - sum(map(len, beginnings))
        result["seconds"] = round(seconds, 3)
        result["prefill_s"] = round(prefill_s, 3)
        result["decode_tokens_per_second"] = round(decoded / max(seconds - prefill_s, 1e-6), 1)
    result["tokens_per_second"] = round(tokens / result["seconds"], 1)
    if keep_answers:
        result["answers"] = [hashlib.sha256(str(each).encode()).hexdigest()[:8] for each in answers]
    return result | gpu_models.peak_memory()


def attention_shapes(_: Path, *, backend: str) -> dict[str, Any]:
    """Times attention of a layer of Qwen3-4B, forward and backward, at widths that are met for the first time.

    Flash attention takes no mask: it is given a causal one, which is enough where padding is on the right.
    """
    begun("torch")
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if not torch.cuda.is_available():
        raise NotMeasuredError("the attention backends are CUDA's")
    gpu_models.fresh_memory(None)
    kernel = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
    }[backend]
    widths = []
    for width in (24, 32, 40, 48, 56, 64):
        q, k, v = (
            torch.randn(32, heads, width, 128, device="cuda", dtype=torch.bfloat16, requires_grad=True)
            for heads in (32, 8, 8)
        )
        mask = torch.ones(width, width, dtype=torch.bool, device="cuda").tril().expand(32, 1, width, width)
        how: dict[str, Any] = {"is_causal": True} if backend == "flash" else {"attn_mask": mask}

        def step(q: Any = q, k: Any = k, v: Any = v, how: dict[str, Any] = how) -> None:
            with sdpa_kernel(kernel):
                keys, values = (each.repeat_interleave(4, dim=1) for each in (k, v))
                F.scaled_dot_product_attention(q, keys, values, **how).sum().backward()

        torch.cuda.synchronize()
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        first = time.perf_counter() - begin
        begin = time.perf_counter()
        for _step in range(20):
            step()
        torch.cuda.synchronize()
        steady = (time.perf_counter() - begin) / 20
        widths.append({"width": width, "first_ms": round(1e3 * first, 2), "steady_ms": round(1e3 * steady, 3)})
    return {"widths": widths}
