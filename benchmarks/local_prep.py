"""How fast local preparation is, beside rendering each example on its own: one table from one run.

The peer makes the same ids with one ``apply_chat_template`` call an example, as training scripts do; each distinct
answer is encoded once for both, in the peer's favour. Ours is ``encode_examples``. Both start from a loaded tokenizer
and the same examples. The whole preparation (words, families, difficulty, examples, baselines, ids, schemas, Parquet)
runs in a process of its own, for its time and its memory; the peer's whole is ours with its encoding instead.

    python benchmarks/local_prep.py --json results.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark_table import finish, in_own_process, memory_mb, parser_of, row

GOAL_RATIO, GOAL_SECONDS, GOAL_MB = 10, 60, 2_000
GOAL_WORDS, GOAL_EXAMPLES = 36_000, 300_000
QUICK_WORDS = 3_000
PREPARE = "--prepare"


def main() -> None:
    """Runs the comparison and prints it; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "few words")
    parser.add_argument(PREPARE, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        print(json.dumps(prepare_everything(arguments.prepare, quick=arguments.quick)))
        return
    rows = compare(quick=arguments.quick)
    finish(rows, arguments.json)


def prepare_everything(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Prepares 300,000 examples of all words as the pipeline does, and writes them; returns seconds and memory."""
    from spelling_transfer.pipelines.local_prep import nodes
    from spelling_transfer.tasks.examples import ExampleMix
    from spelling_transfer.tasks.schemas import ENCODED_EXAMPLES, EXAMPLES, WORDS
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer
    from spelling_transfer.words.difficulty import DifficultySettings
    from spelling_transfer.words.word_list import WordListFile, WordSelection

    start = time.perf_counter()
    seconds: dict[str, float] = {}

    def lap(name: str) -> None:
        seconds[name] = time.perf_counter() - start - sum(seconds.values())

    tokenizer = load_chat_tokenizer()
    selection = WordSelection(max_words=QUICK_WORDS if quick else None)
    # Three spellings in variants, their controls, and four questions of position and of count each word.
    mix = ExampleMix(spelling_difficulty="all", spelling_per_word=3, direct_per_word=3)
    lap("load tokenizer")
    selected, _ = nodes.select(WordListFile(), tokenizer, selection)
    lap("select words")
    split, _ = nodes.split_by_family(selected, tokenizer, selection)
    words = nodes.rate(split, tokenizer, None, DifficultySettings(), None)  # type: ignore[arg-type]
    lap("split and rate")
    examples, _ = nodes.write(words, tokenizer, mix)
    lap("write examples and baselines")
    encoded, _ = nodes.encode(examples, tokenizer)
    lap("encode")
    for name, schema, frame in (
        ("words", WORDS, words),
        ("examples", EXAMPLES, examples),
        ("encoded_examples", ENCODED_EXAMPLES, encoded),
    ):
        schema.validate(frame).to_parquet(folder / f"{name}.parquet", compression="zstd")
    lap("check schemas and save")
    real_words = int((words["word_set"] != "random").sum())
    return {"seconds": seconds, "peak_mb": memory_mb(), "words": real_words, "examples": len(examples)}


def compare(*, quick: bool) -> list[dict[str, Any]]:
    """Runs the preparation, then renders and encodes the same examples one by one, and compares the ids."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        done = in_own_process(__file__, PREPARE, folder, *(["--quick"] if quick else []))
        examples = pd.read_parquet(Path(folder) / "examples.parquet", columns=["kind", "question", "answer"])
        examples = examples[examples["kind"] != "rehearsal"]  # plain lines have no prompt
        ours = pd.read_parquet(Path(folder) / "encoded_examples.parquet", columns=["input_ids", "label_start"])
    if not quick:
        assert done["words"] >= GOAL_WORDS
        assert done["examples"] >= GOAL_EXAMPLES
    peer_seconds, same = encode_one_by_one(examples, ours)
    assert same, "the ids differ"
    seconds = done["seconds"]
    whole = sum(seconds.values())
    what = f"{done['words']:,} words, {done['examples']:,} examples"
    peer = "one apply_chat_template call an example"
    return [
        row(f"render and encode: {what}", seconds["encode"], peer_seconds, peer, "s", goal=GOAL_RATIO),
        row(
            f"everything, from word list to Parquet: {what}", whole, whole - seconds["encode"] + peer_seconds, peer, "s"
        ),
        row("everything: seconds", whole, unit="s", goal=GOAL_SECONDS),
        row("everything: peak memory", done["peak_mb"], unit="MB", goal=GOAL_MB),
        *(row(f"part: {name}", value, unit="s") for name, value in seconds.items()),
    ]


def encode_one_by_one(examples: Any, ours: Any) -> tuple[float, bool]:
    """Returns the seconds that the peer takes and whether its ids are ours."""
    import numpy as np
    from transformers import AutoTokenizer

    from spelling_transfer.tokenizer.chat import embedded_folder

    tokenizer = AutoTokenizer.from_pretrained(str(embedded_folder()))
    questions, answers = examples["question"].tolist(), examples["answer"].tolist()
    start = time.perf_counter()
    distinct = list(dict.fromkeys(answers))
    ids_of = dict(zip(distinct, tokenizer([f"{text}<|im_end|>" for text in distinct])["input_ids"], strict=True))
    encoded, starts = [], []
    for question, answer in zip(questions, answers, strict=True):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            enable_thinking=False,
            return_dict=False,
        )
        starts.append(len(prompt))
        encoded.append(np.array(prompt + ids_of[answer], dtype=np.int32))
    seconds = time.perf_counter() - start
    same = starts == ours["label_start"].tolist() and all(map(np.array_equal, encoded, ours["input_ids"]))
    return seconds, same


if __name__ == "__main__":
    main()
