"""How fast the evaluation is, beside lm-evaluation-harness and its own earlier comparison: one table.

5,000 questions of the core tasks, asked of the embedded model twice (as it is, and with an adapter of random numbers),
marked and compared. The peer is `hf` of lm-evaluation-harness at the batch size that is best for it, with the same
weights, prompts and stop token, in two forms: "plain ids", the model with all of Qwen3's rows and Qwen3's tokenizer, as
any tool opens it (rows that the embedded model lacks are copies of one that it has and never says); and "rows", the
embedded model's 9,556 rows with a tokenizer that reads and writes their numbers, which no user has: what is left of the
difference is not the vocabulary's. What counts is processor time, as neighbours on the machine change all else; each is
a process of its own.

    python benchmarks/evaluation.py --peer ENVIRONMENT/bin/python --json benchmarks/results/evaluation.json

ENVIRONMENT has lm-eval 0.4.13 beside the torch and transformers of this one; without --peer it is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark_table import finish, in_own_process, memory_mb, parser_of, row

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "data" / "01_raw" / "models" / "tiny-qwen3"
ITEMS, QUICK_ITEMS, PEER_ITEMS, TRIAL_ITEMS = 5_000, 60, 1_500, 300
BATCH_SIZES = (64, 128, 256)
GOAL_SECONDS, GOAL_RATIO, GOAL_COMPARISON_SECONDS = 30, 5, 1
MAX_NEW_TOKENS = 32


def main() -> None:
    """Runs all parts and prints the table; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "few questions")
    parser.add_argument("--peer", type=Path, help="Python of an environment that has lm-eval")
    parser.add_argument("--part", nargs=3, metavar=("NAME", "FOLDER", "OPTION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, folder, option = arguments.part
        print(json.dumps(PARTS[name](Path(folder), int(option))))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), arguments.peer, QUICK_ITEMS if arguments.quick else ITEMS)
    finish(rows, arguments.json)


def measure(folder: Path, peer: Path | None, items: int) -> list[dict[str, Any]]:
    """Runs the parts in turn and returns the rows."""
    run("prepare", folder, items)
    whole = run("evaluate", folder, items)
    rows = [
        row(f"{items:,} items asked of two arms, marked and compared", whole["cpu_s"], unit="CPU s", goal=GOAL_SECONDS),
        row("the same, by the clock of a shared machine", whole["seconds"], unit="s"),
        row("the same: peak memory", whole["peak_mb"], unit="MB"),
        row("marked", whole["marking_cpu_s"], unit="CPU s"),
        row(
            "compared, with the verdict",
            whole["comparison_cpu_s"],
            whole["rows_drawn_cpu_s"],
            "resamples drawn row by row",
            "CPU s",
            goal=GOAL_COMPARISON_SECONDS,
        ),
    ]
    few, items = min(TRIAL_ITEMS, items), min(PEER_ITEMS, items)
    whole_vocabulary, subset = run("ask_plain", folder, few), run("ask_subset", folder, few)
    same = share_equal(whole_vocabulary["answers"], subset["answers"])
    name = "whole vocabulary"
    rows += [
        row(f"{few:,} greedy answers, English subset", subset["cpu_s"], whole_vocabulary["cpu_s"], name, "CPU s"),
        row("the same: peak memory", subset["peak_mb"], whole_vocabulary["peak_mb"], name, "MB"),
        row("answers that the subset does not change", same, unit="share"),
    ]
    for form, goal in (("plain ids", GOAL_RATIO), ("rows", None)) if peer is not None else ():
        asked = {"python": peer, "form": form}
        tried = {size: run("ask_peer", folder, size, items=few, **asked)["cpu_s"] for size in BATCH_SIZES}
        best = min(tried, key=lambda size: tried[size])
        before = run("ask", folder, items)
        theirs = run("ask_peer", folder, best, items=items, **asked)
        after = run("ask", folder, items)  # on both sides of the peer, whatever else the machine did
        name = f"lm-eval {theirs['version']} hf, {form}, batch size {best}"
        ours = (before["cpu_s"] + after["cpu_s"]) / 2
        rows += [
            row(f"{items:,} greedy answers", ours, theirs["cpu_s"], name, "CPU s", goal=goal),
            row("the same: peak memory", before["peak_mb"], theirs["peak_mb"], name, "MB"),
            row("answers that are the same", share_equal(before["texts"], theirs["texts"]), unit="share", goal=1),
        ]
    return rows


def run(
    part: str, folder: Path, option: int, *, python: Path | None = None, items: int = 0, form: str = ""
) -> dict[str, Any]:
    """Runs a part in a process of its own, with two threads that sleep while they wait."""
    environment = {
        **os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2", "ITEMS": str(items), "FORM": form,
        "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    if python is None:
        environment["PYTHONPATH"] = str(ROOT / "src")
    found: dict[str, Any] = in_own_process(
        __file__, "--part", part, folder, option, python=python, environment=environment
    )
    return found


def share_equal(first: list[Any], second: list[Any]) -> float:
    """Returns the share of places at which two lists hold the same."""
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def prepare(folder: Path, items: int) -> dict[str, Any]:
    """Writes the questions, an adapter of random numbers, and the model as lm-eval can open it."""
    import random

    import pandas as pd
    import torch
    from safetensors.torch import load_file

    from spelling_transfer.models.folder import ModelFolder, new_folder
    from spelling_transfer.models.load import load_model
    from spelling_transfer.models.profile import ModelProfile
    from spelling_transfer.models.trainable import LoraSettings, attach_lora
    from spelling_transfer.models.vocabulary import Vocabulary
    from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer
    from spelling_transfer.words.word_list import WordSelection, select_words

    tokenizer, base = load_chat_tokenizer(), ModelFolder(MODEL)
    n_rows = len(load_file(MODEL / "model.safetensors")["model.embed_tokens.weight"])
    vocabulary = Vocabulary.of_folder(MODEL, n_rows)
    known = set(vocabulary.to_ids(range(n_rows)).tolist())
    words, chance, rows = select_words(WordSelection(max_words=items)).words, random.Random(0), []
    for word in words:
        for task in CORE_TASKS:
            example = load_tasks()[task].make(word, chance)
            about = {"example_id": f"{task}/{word}", "stem": word, "word_set": "word", "difficulty": "easy"}
            rows.append({**vars(example), **about, "split": "test", "kind": "real"})
    examples = pd.DataFrame(rows)
    examples["prompt"] = tokenizer.encode_prompts(examples["question"].tolist())
    examples = examples[[set(prompt) <= known for prompt in examples["prompt"]]].head(items)
    examples.to_parquet(folder / "examples.parquet")
    torch.manual_seed(0)
    model = attach_lora(load_model(base, device="cpu"), LoraSettings(r=4), ModelProfile(name="tiny").lora_targets)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    with new_folder(folder / "adapter", {}) as work:
        model.save_pretrained(str(work))
    write_rows(folder / "rows", vocabulary.to_ids(range(n_rows)).tolist(), tokenizer.end_id)
    write_plain_ids(folder / "plain ids", vocabulary.to_ids(range(n_rows)).tolist(), tokenizer.sha256)
    return {"items": len(examples)}


def write_plain_ids(target: Path, ids: list[int], tokenizer_sha256: str) -> None:
    """Writes the model with a row for each of Qwen3's tokens, and Qwen3's tokenizer."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    from spelling_transfer.models.folder import write_manifest
    from spelling_transfer.tokenizer.chat import embedded_folder

    name, rows = "model.embed_tokens.weight", 151_936
    target.mkdir()
    weights = load_file(MODEL / "model.safetensors")
    whole = weights[name][-1:].repeat(rows, 1)
    whole[ids] = weights[name]
    save_file({**weights, name: whole}, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((MODEL / "config.json").read_text())
    end = ids[config["eos_token_id"]]
    (target / "config.json").write_text(json.dumps({**config, "vocab_size": rows, "eos_token_id": end}))
    AutoTokenizer.from_pretrained(str(embedded_folder())).save_pretrained(str(target))
    write_manifest(target, {"tokenizer_sha256": tokenizer_sha256})


def write_rows(target: Path, ids: list[int], end_id: int) -> None:
    """Writes the model with a tokenizer whose words are the numbers of tokens: "12 7" are tokens 12 and 7."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    target.mkdir()
    for name in ("config.json", "model.safetensors"):
        (target / name).write_bytes((MODEL / name).read_bytes())
    names = {str(token): row for row, token in enumerate(ids)}
    tokenizer = Tokenizer(models.WordLevel(names, unk_token=str(end_id)))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = str(end_id)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end, unk_token=end).save_pretrained(
        str(target)
    )


def evaluate(folder: Path, items: int) -> dict[str, Any]:
    """Asks two arms, marks and compares."""
    import pandas as pd

    from spelling_transfer.evaluation import arm_table, compare_all, decide, mark_answers, score_answers
    from spelling_transfer.evaluation.answering import answer_examples
    from spelling_transfer.evaluation.kept_answers import KeptAnswers, Respondent
    from spelling_transfer.evaluation.settings import EvaluationSettings
    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.models.profile import ModelProfile
    from spelling_transfer.statistics import resampling
    from spelling_transfer.statistics.scores import FOCUS_WEIGHTS
    from spelling_transfer.tasks.registry import load_tasks
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer

    settings, tokenizer = EvaluationSettings(), load_chat_tokenizer()
    examples = pd.read_parquet(folder / "examples.parquet")
    prompts = [prompt.tolist() for prompt in examples["prompt"]]
    started, cpu = time.perf_counter(), time.process_time()
    frames = []
    for arm, seed, adapter in (("base", -1, None), ("spelling", 0, ModelFolder(folder / "adapter"))):
        respondent = Respondent(ModelFolder(MODEL), adapter, ModelProfile(name="tiny"), tokenizer, KeptAnswers())
        frames.append(
            answer_examples(
                examples,
                prompts,
                respondent=respondent,
                arm=arm,
                seed=seed,
                tokenizer=tokenizer,
                max_new_tokens=MAX_NEW_TOKENS,
            )
        )
    marking = time.process_time()
    marked = mark_answers(pd.concat(frames, ignore_index=True), load_tasks())
    score_answers(marked)
    comparing = time.process_time()

    def compare() -> None:
        compare_all(marked, "balanced", FOCUS_WEIGHTS["balanced"], settings.bootstrap, seed_spread=0.02)
        decide(arm_table(marked), settings.verdict, confidence=settings.confidence)

    compare()
    found = {
        "cpu_s": time.process_time() - cpu,
        "seconds": time.perf_counter() - started,
        "marking_cpu_s": comparing - marking,
        "comparison_cpu_s": time.process_time() - comparing,
        "peak_mb": memory_mb(),
    }
    resampling._DRAWS_A_COUNT = len(marked)  # no count is ever cheaper
    before = time.process_time()
    compare()
    return {**found, "rows_drawn_cpu_s": time.process_time() - before}


def ask(folder: Path, items: int, *, plain_ids: bool = False, subset: bool = False) -> dict[str, Any]:
    """Lets the embedded model answer, as it is or with a row for each of Qwen3's tokens."""
    import pandas as pd

    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.models.generate import generate_answers
    from spelling_transfer.models.load import load_model
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer
    from spelling_transfer.tokenizer.subset import english_subset

    model = folder / "plain ids" if plain_ids else MODEL
    tokenizer, loaded = load_chat_tokenizer(), load_model(ModelFolder(model), device="cpu")
    examples = pd.read_parquet(folder / "examples.parquet").head(items)
    prompts = [prompt.tolist() for prompt in examples["prompt"]]
    allowed = english_subset(sorted(set(examples["word"])), tokenizer).answer_ids.tolist() if subset else None
    found = timed(
        lambda: generate_answers(loaded, tokenizer, prompts, max_new_tokens=MAX_NEW_TOKENS, allowed_ids=allowed)
    )
    return {**found, "texts": [tokenizer.decode(ids).strip() for ids in found["answers"]]}


def ask_peer(folder: Path, batch_size: int) -> dict[str, Any]:
    """Lets lm-evaluation-harness answer; runs in its environment."""
    import lm_eval
    import pandas as pd
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    form = os.environ["FORM"]
    prompts = pd.read_parquet(folder / "examples.parquet", columns=["prompt"])["prompt"].head(int(os.environ["ITEMS"]))
    model = HFLM(str(folder / form), dtype="float32", device="cpu", batch_size=batch_size)
    numbers = form == "rows"
    end = model.tokenizer.eos_token if numbers else "<|im_end|>"
    texts = [" ".join(map(str, prompt)) if numbers else model.tokenizer.decode(prompt) for prompt in prompts]
    options = {"until": [end], "max_gen_toks": MAX_NEW_TOKENS, "do_sample": False}
    requests = [Instance("generate_until", {}, (text, options), place) for place, text in enumerate(texts)]

    def answer() -> list[Any]:
        texts = model.generate_until(requests, disable_tqdm=True)
        return [[int(token) for token in text.split()] for text in texts] if numbers else texts

    found = timed(answer)
    decode = AutoTokenizer.from_pretrained(str(folder / "plain ids")).decode
    answers = found["answers"]
    texts = [(decode(each) if numbers else each).strip() for each in answers]
    return {**found, "texts": texts, "version": lm_eval.__version__}


def timed(answer: Callable[[], list[Any]]) -> dict[str, Any]:
    """Returns what an answer takes, and the answers."""
    cpu = time.process_time()
    answers = answer()
    return {"cpu_s": time.process_time() - cpu, "peak_mb": memory_mb(), "answers": answers}


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "prepare": prepare,
    "evaluate": evaluate,
    "ask": ask,
    "ask_plain": lambda folder, items: ask(folder, items, plain_ids=True),
    "ask_subset": lambda folder, items: ask(folder, items, plain_ids=True, subset=True),
    "ask_peer": ask_peer,
}


if __name__ == "__main__":
    main()
