"""How fast adapters are trained and answers generated, beside the usual trainers and generators: one table, one run.

Spelling examples are short prompts with tiny answers over a head of 151,936 rows. Every contestant trains the same
adapter on the same random Qwen3, on the same ids, in float32 on two threads, in a process of its own, so that its peak
memory is its own. Contestants take turns and the median counts; the first steps are not timed. The peers are
transformers' Trainer and TRL's SFTTrainer (completions only, without and with packing; the same batches, no
checkpointing of activations, the fused optimiser). Generation is measured on the embedded model with its embedding
spread over the whole vocabulary, because answers of random weights do not end.

    python benchmarks/training.py --json results.json
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmark_table import finish, parser_of, row

ROOT = Path(__file__).parents[1]
CONTESTANTS = Path(__file__).with_name("training_contestants.py")
GENERATORS = Path(__file__).with_name("training_generators.py")
FULL_ROWS = 151_936
SHAPES = {128: (4, 2, 32), 512: (8, 4, 64), 1024: (16, 8, 64)}
"""Query heads, key-value heads and head size of each width; all have 4 layers."""
PARTS = (*(f"train-{width}" for width in SHAPES), "lightning", "generate")
# A thread that waits gives way: on a machine that others use too, spinning threads would stall each other.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
GOALS = {("TRL", 128): (10, 24), ("Trainer", 128): (3.5, 8), ("TRL", 512): (7, 11), ("Trainer", 512): (3, 5)}
"""How many times as fast as a peer, with the whole head and with the English subset."""
GOAL_MEMORY, GOAL_OVERHEAD, GOAL_PIPELINE, GOAL_GENERATE = 0.6, 0.10, 5, 2


def main() -> None:
    """Runs the comparison and prints it; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "few steps, one width")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant runs")
    parser.add_argument("--steps", type=int, default=14, help="optimiser steps of each training run")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"what to measure, of {', '.join(PARTS)}")
    parser.add_argument("--folder", type=Path, help="keep the models there and take them again in the next run")
    parser.add_argument("--launcher", default="", help="command in front of each process, such as 'taskset -c 0,1'")
    arguments = parser.parse_args()
    rounds, steps, parts = arguments.rounds, arguments.steps, arguments.parts.split(",")
    if arguments.quick:
        rounds, steps, parts = 1, 4, ["train-128", "generate"]
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--parts: {', '.join(unknown)} is none of {', '.join(PARTS)}")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-training-") as name:
        bench = Bench(arguments.folder or Path(name), shlex.split(arguments.launcher), rounds)
        widths = [int(part.removeprefix("train-")) for part in parts if part.startswith("train-")]
        prepare(bench.folder, sorted({*widths, *([128] if "lightning" in parts else [])}))
        for width in widths:
            rows += compare_training(bench, width, steps)
        if "lightning" in parts:
            rows += compare_lightning(bench, steps * 3)
        if "generate" in parts:
            rows += compare_generation(bench, prompts=64 if arguments.quick else 512)
    finish(rows, arguments.json)


class Bench:
    """Starts contestants one at a time.

    Args:
        folder: Models, examples and token ids.
        launcher: What stands in front of each command.
        rounds: Runs of each contestant.
    """

    def __init__(self, folder: Path, launcher: list[str], rounds: int) -> None:
        self.folder, self.launcher, self.rounds = folder, launcher, rounds

    def run(self, script: Path, contestants: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
        """Lets contestants take turns; returns the median of each of their figures."""
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for turn in range(self.rounds):
            for label, (name, settings) in contestants.items():
                print(f"round {turn + 1}: {label} {settings}", file=sys.stderr, flush=True)
                command = [*self.launcher, sys.executable, script, name, self.folder, json.dumps(settings)]
                done = subprocess.run(command, check=False, capture_output=True, text=True, env=ENVIRONMENT)
                if done.returncode:
                    sys.exit(f"{label} failed:\n{done.stderr[-2000:]}")
                found[label].append(json.loads(done.stdout.splitlines()[-1]))
        return {
            label: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
            for label, runs in found.items()
        }


def prepare(folder: Path, widths: list[int]) -> None:
    """Writes what all contestants read: models, tokenizer, encoded examples, the English subset."""
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer

    tokenizer = load_chat_tokenizer()
    for width in widths:
        if not (folder / f"width-{width}").is_dir():
            write_random_model(folder / f"width-{width}", width, tokenizer.end_id)
    if (folder / "answering").is_dir():
        return
    write_material(folder)
    write_answering_model(folder / "answering", tokenizer.end_id)


def write_material(folder: Path, *, max_words: int = 4_000, asked_splits: tuple[str, ...] = ("test",)) -> None:
    """Writes tokenizer, encoded examples, questions and the English subset.

    Args:
        folder: Where to.
        max_words: How many words of the word list are taken.
        asked_splits: The splits whose questions are written.
    """
    import yaml

    from spelling_transfer.pipelines.local_prep import nodes
    from spelling_transfer.tasks.examples import ExampleMix, write_examples
    from spelling_transfer.tasks.registry import load_tasks
    from spelling_transfer.tokenizer.byte_level import decode_vocabulary
    from spelling_transfer.tokenizer.chat import embedded_folder, load_chat_tokenizer
    from spelling_transfer.tokenizer.english import TokenRules, find_english_tokens
    from spelling_transfer.tokenizer.subset import TokenSubset
    from spelling_transfer.tokenizer.vocabulary import vocabulary_table
    from spelling_transfer.words.difficulty import DifficultySettings
    from spelling_transfer.words.word_list import WordListFile, WordSelection

    tokenizer = load_chat_tokenizer()
    selection = WordSelection(max_words=max_words, random_words=20)
    selected, _ = nodes.select(WordListFile(), tokenizer, selection)
    split, _ = nodes.split_by_family(selected, tokenizer, selection)
    words = nodes.rate(split, tokenizer, None, DifficultySettings(), None)  # type: ignore[arg-type]
    examples = write_examples(words, tokenizer, ExampleMix(separators=("space",), case_variants=False), load_tasks())
    encoded, _ = nodes.encode(examples, tokenizer)
    encoded["question"] = examples["question"]
    spelling = encoded[encoded["task"] == "spelling"]
    trained = spelling[spelling["split"] == "train"].sample(frac=1, random_state=0)
    trained[["example_id", "input_ids", "label_start"]].to_parquet(folder / "examples.parquet")
    asked = encoded[encoded["split"].isin(asked_splits) & encoded["task"].isin(["spelling", "position", "count"])]
    asked.sample(frac=1, random_state=0)[["question", "task"]].to_parquet(folder / "questions.parquet")
    rules = TokenRules.model_validate(yaml.safe_load((ROOT / "conf/base/study/token_analysis/rules.yml").read_text()))
    english = find_english_tokens(
        vocabulary_table(decode_vocabulary(tokenizer.tokenizer)), selected["word"].tolist(), tokenizer, rules
    )
    subset = TokenSubset.of_tokens(english, rules.use, tokenizer)
    (folder / "subset.json").write_text(json.dumps(subset.answer_ids.tolist()))
    (folder / "end.json").write_text(json.dumps(tokenizer.end_id))
    shutil.copytree(embedded_folder(), folder / "tokenizer")


def write_random_model(folder: Path, width: int, end_id: int) -> None:
    """Writes a Qwen3 of random weights, with 4 layers and the vocabulary of the real one."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    heads, key_value_heads, head_size = SHAPES[width]
    config = Qwen3Config(
        vocab_size=FULL_ROWS,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=4,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        head_dim=head_size,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        eos_token_id=end_id,
        bos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)


def write_answering_model(folder: Path, end_id: int) -> None:
    """Writes the embedded model with its rows at their token ids in an embedding of the whole vocabulary."""
    import torch

    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.models.load import load_model

    loaded = load_model(ModelFolder(ROOT / "data/01_raw/models/tiny-qwen3"), device="cpu")
    trimmed = loaded.model.get_input_embeddings().weight.detach().clone()
    loaded.model.resize_token_embeddings(FULL_ROWS, mean_resizing=False)
    # Rows of tokens it never saw are zero: their logits are 0, below those of the answers it knows.
    full = torch.zeros(FULL_ROWS, trimmed.shape[1])
    full[torch.from_numpy(loaded.vocabulary.to_ids(range(len(trimmed))))] = trimmed
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.copy_(full)
    loaded.model.config.eos_token_id = loaded.model.generation_config.eos_token_id = end_id
    loaded.model.save_pretrained(folder)


def compare_training(bench: Bench, width: int, steps: int) -> list[dict[str, Any]]:
    """Trains with each contestant at one width."""
    shared = {"width": width, "steps": steps}
    result = bench.run(
        CONTESTANTS,
        {
            "ours": ("ours", shared),
            "ours, English subset": ("ours", {**shared, "subset": True}),
            "Trainer": ("Trainer", shared),
            "TRL": ("TRL", {**shared, "packing": False}),
            "TRL, packed": ("TRL", {**shared, "packing": True}),
        },
    )
    ours, subset = result["ours"], result["ours, English subset"]
    rows = []
    for peer in ("TRL", "TRL, packed", "Trainer"):
        theirs = result[peer]
        goals = GOALS.get((peer.partition(",")[0], width), (None, None))
        for own, name, goal in ((ours, "whole head", goals[0]), (subset, "English subset", goals[1])):
            rows.append(
                row(
                    f"training, {width} wide, {name}",
                    own["examples_per_second"],
                    theirs["examples_per_second"],
                    peer,
                    "examples/s",
                    goal=goal,
                    more=True,
                )
            )
            processor = (own["processor_ms_per_example"], theirs["processor_ms_per_example"])
            rows.append(row(f"training, {width} wide, {name}: processor time an example", *processor, peer, "ms"))
    for peer in ("TRL", "TRL, packed", "Trainer"):
        theirs, goal = result[peer], round(1 / GOAL_MEMORY, 2) if peer.startswith("TRL") else None
        what = f"training, {width} wide, whole head"
        rows.append(row(f"{what}: peak memory", ours["peak_mb"], theirs["peak_mb"], peer, "MB", goal=goal))
        above = (ours["above_model_mb"], theirs["above_model_mb"])
        rows.append(row(f"{what}: peak memory above the loaded model", *above, peer, "MB"))
        rows.append(row(f"{what}: final loss", ours["loss"], theirs["loss"], peer, "nats/token", goal=1))
    peaks = (subset["peak_mb"], result["TRL"]["peak_mb"])
    rows.append(row(f"training, {width} wide, English subset: peak memory", *peaks, "TRL", "MB"))
    return rows


def compare_lightning(bench: Bench, steps: int) -> list[dict[str, Any]]:
    """Trains with our engine and with its parts in a bare loop, where steps are shortest."""
    rows = []
    for subset in (False, True):
        shared = {"width": 128, "steps": steps, "subset": subset}
        result = bench.run(CONTESTANTS, {"ours": ("ours", shared), "bare": ("bare loop", shared)})
        name = "English subset" if subset else "whole head"
        seconds = (result["ours"]["step_seconds"] * 1e3, result["bare"]["step_seconds"] * 1e3)
        goal = round(1 / (1 + GOAL_OVERHEAD), 2)
        rows.append(row(f"Lightning, 128 wide, {name}: a step", *seconds, "bare loop", "ms", goal=goal))
    return rows


def compare_generation(bench: Bench, prompts: int) -> list[dict[str, Any]]:
    """Answers the same questions with each generator, greedily."""
    shared = {"prompts": prompts}
    result = bench.run(
        GENERATORS,
        {
            "ours": ("ours", shared),
            "ours, English subset": ("ours", {**shared, "subset": True}),
            "pipeline": ("pipeline", shared),
            "generate": ("generate", shared),
        },
    )
    peers = {
        "pipeline": ('transformers.pipeline("text-generation"), batched', GOAL_PIPELINE),
        "generate": ("generate, sorted and batched", GOAL_GENERATE),
    }
    rows = []
    for peer, (name, goal) in peers.items():
        for own, head in (("ours", "whole head"), ("ours, English subset", "English subset")):
            speeds = (result[own]["answers_per_second"], result[peer]["answers_per_second"])
            rows.append(row(f"generation, {head}", *speeds, name, "answers/s", goal=goal, more=True))
            processor = (result[own]["processor_ms_per_answer"], result[peer]["processor_ms_per_answer"])
            what = f"generation, {head}: processor time an answer"
            rows.append(row(what, *processor, name, "ms"))
        same = result["ours"]["digest"] == result[peer]["digest"]
        rows.append(row("generation: same answers", float(same), 1.0, name, "share", goal=1, more=True))
    return rows


if __name__ == "__main__":
    main()
