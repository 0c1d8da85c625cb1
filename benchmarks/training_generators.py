"""The generators of ``training.py``: each answers the same questions greedily, in a process of its own.

From the question's text to the answer's text, tokenizing included. Each takes the batch size, of those tried, at which
it is fastest; the run before the timed one is for that. The peers need not mask anything.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = 2
MAX_NEW_TOKENS = 26
BATCH_SIZES = (16, 64, 256)

Answer = Callable[[list[str], int], list[str]]


def main() -> None:
    """Runs one generator and prints what was measured."""
    name, folder, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    import pandas as pd
    import torch

    torch.set_num_threads(THREADS)
    n_prompts = settings.pop("prompts")
    questions = pd.read_parquet(folder / "questions.parquet")["question"].head(n_prompts).tolist()
    answer = GENERATORS[name](folder, **settings)
    answer(questions[:4], 4)
    best: dict[str, float] = {}
    for batch_size in BATCH_SIZES:
        start, processor = time.perf_counter(), time.process_time()
        answers = answer(questions, batch_size)
        processor_ms = (time.process_time() - processor) / n_prompts * 1e3
        speed = n_prompts / (time.perf_counter() - start)
        if not best or speed > best["answers_per_second"]:
            digest = int(hashlib.sha256("\n".join(answers).encode()).hexdigest()[:12], 16)
            best = {"answers_per_second": speed, "processor_ms_per_answer": processor_ms, "digest": digest}
            best["batch_size"] = batch_size
    print(json.dumps(best))


def load_ours(folder: Path, *, subset: bool = False) -> Answer:
    """Returns this project's generator."""
    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.models.generate import generate_answers
    from spelling_transfer.models.load import load_model
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer

    tokenizer = load_chat_tokenizer()
    loaded = load_model(ModelFolder(folder / "answering"), device="cpu")
    allowed = json.loads((folder / "subset.json").read_text()) if subset else None

    def answer(questions: list[str], batch_size: int) -> list[str]:
        ids = generate_answers(
            loaded,
            tokenizer,
            tokenizer.encode_prompts(questions),
            max_new_tokens=MAX_NEW_TOKENS,
            batch_size=batch_size,
            allowed_ids=allowed,
        )
        return [tokenizer.decode(each) for each in ids]

    return answer


def load_peer(folder: Path) -> tuple[Any, Any, Callable[[list[str]], list[str]]]:
    """Returns model, tokenizer and the rendering of prompts as transformers has them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder / "answering", dtype=torch.float32)
    model.eval()

    def render(questions: list[str]) -> list[str]:
        return tokenizer.apply_chat_template(
            [[{"role": "user", "content": question}] for question in questions],
            add_generation_prompt=True,
            enable_thinking=False,
            tokenize=False,
        )

    return model, tokenizer, render


def load_pipeline(folder: Path) -> Answer:
    """Returns transformers' pipeline with batches."""
    from transformers import pipeline

    model, tokenizer, render = load_peer(folder)
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer)

    def answer(questions: list[str], batch_size: int) -> list[str]:
        found = generator(
            render(questions),
            batch_size=batch_size,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            return_full_text=False,
        )
        return [each[0]["generated_text"] for each in found]

    return answer


def load_generate(folder: Path) -> Answer:
    """Returns a loop over ``generate`` with prompts of like length side by side."""
    import torch

    model, tokenizer, render = load_peer(folder)

    def answer(questions: list[str], batch_size: int) -> list[str]:
        prompts = tokenizer(render(questions), add_special_tokens=False)["input_ids"]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers = [""] * len(prompts)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            batch = tokenizer.pad({"input_ids": [prompts[i] for i in indices]}, return_tensors="pt")
            with torch.inference_mode():
                out = model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
            texts = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            for i, text in zip(indices, texts, strict=True):
                answers[i] = text
        return answers

    return answer


GENERATORS: dict[str, Callable[..., Answer]] = {
    "ours": load_ours,
    "pipeline": load_pipeline,
    "generate": load_generate,
}

if __name__ == "__main__":
    main()
