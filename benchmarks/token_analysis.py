"""How fast the token analysis is, beside the loop it replaces: one table from one run.

The loop is that of the original study script: ``tokenizer.tokenize`` word by word, and a Python scan of the vocabulary
for strings that are ASCII. Ours does the same work (every word in four forms, the ASCII tokens of the vocabulary) in
one batch and on decoded bytes. Both start from a loaded tokenizer and take turns; the median counts.

    python benchmarks/token_analysis.py --json results.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark_table import finish, in_own_process, memory_mb, parser_of, row

GOAL_SECONDS, GOAL_MB = 10, 1_000
QUICK_WORDS = 4_000
ANALYSE_ONLY = "--analyse-only"


def main() -> None:
    """Runs the comparison and prints it; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "few words, one round")
    parser.add_argument(ANALYSE_ONLY, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    words = listed_words(QUICK_WORDS if arguments.quick else None)
    if arguments.analyse_only:
        print(json.dumps(analyse_everything(words)))
        return
    rows = compare_loops(words, rounds=1 if arguments.quick else 5)
    rows += measure_everything(quick=arguments.quick)
    finish(rows, arguments.json)


def listed_words(count: int | None) -> list[str]:
    """Returns the words of the study, or the most frequent of them."""
    from spelling_transfer.words.word_list import WordSelection, select_words

    return select_words(WordSelection(max_words=count)).words


def compare_loops(words: list[str], rounds: int) -> list[dict[str, Any]]:
    """Times ours and the loop on the same words and the same vocabulary."""
    from transformers import AutoTokenizer

    from spelling_transfer.tokenizer.byte_level import decode_vocabulary
    from spelling_transfer.tokenizer.chat import embedded_folder, load_chat_tokenizer
    from spelling_transfer.tokenizer.words import WORD_FORMS, write_forms

    theirs = AutoTokenizer.from_pretrained(str(embedded_folder()))
    ours = load_chat_tokenizer()
    forms = write_forms(words)
    texts = [text for form in WORD_FORMS for text in forms[form]]

    def loop() -> tuple[list[int], int]:
        word_tokens = {}
        for text in texts:
            tokens = theirs.tokenize(text)
            word_tokens[text] = {"tokens": tokens, "token_count": len(tokens)}
        vocabulary = theirs.get_vocab()
        english = {
            token: token_id
            for token, token_id in vocabulary.items()
            if all(ord(character) < 128 for character in token) and not token.startswith("<")
        }
        return [word_tokens[text]["token_count"] for text in texts], len(english)

    def batch() -> tuple[list[int], int]:
        tokens = decode_vocabulary(ours.tokenizer)
        return [len(ids) for ids in ours.encode_texts(texts)], sum(map(bytes.isascii, tokens.pieces()))

    runs: dict[str, Callable[[], tuple[list[int], int]]] = {"ours": batch, "loop": loop}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    found = {}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            found[name] = run()
            seconds[name].append(time.perf_counter() - start)
    assert found["ours"][0] == found["loop"][0], "the tokens differ"
    metric = f"{len(texts):,} forms of words into tokens, and the ASCII tokens of the vocabulary"
    usual = {name: statistics.median(turns) for name, turns in seconds.items()}
    return [
        row(metric, usual["ours"], usual["loop"], "tokenizer.tokenize in a loop", "s"),
        row("ASCII tokens found", found["ours"][1], found["loop"][1], "raw strings", "tokens", more=True),
    ]


def measure_everything(*, quick: bool) -> list[dict[str, Any]]:
    """Runs the whole analysis (the probe aside) in a process of its own, for its time and its memory."""
    result = in_own_process(__file__, ANALYSE_ONLY, *(["--quick"] if quick else []))
    metric = f"whole analysis of {result['tokens']:,} tokens and {result['words']:,} words in four forms"
    return [
        row(metric, result["seconds"], unit="s", goal=GOAL_SECONDS),
        row(f"{metric}: peak memory", result["peak_mb"], unit="MB", goal=GOAL_MB),
    ]


def analyse_everything(words: list[str]) -> dict[str, Any]:
    """Runs every part of the analysis that needs no model; returns seconds and peak memory."""
    import pandas as pd
    import yaml

    from spelling_transfer.tokenizer.byte_level import decode_vocabulary
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer
    from spelling_transfer.tokenizer.english import TokenRules, find_english_tokens, summarise_english
    from spelling_transfer.tokenizer.subset import Segmentation, SubsetCoverage, TokenSubset, cover
    from spelling_transfer.tokenizer.template_cost import TemplateCost, compare_template_cost
    from spelling_transfer.tokenizer.vocabulary import inspect_tokenizer, summarise_vocabulary, vocabulary_table
    from spelling_transfer.tokenizer.word_stats import WordAnalysis, segmentation_in_contexts, summarise_words
    from spelling_transfer.tokenizer.words import analyse_words

    study = Path(__file__).parents[1] / "conf/base/study/token_analysis"
    rules = TokenRules.model_validate(yaml.safe_load((study / "rules.yml").read_text()))
    settings = WordAnalysis.model_validate(yaml.safe_load((study / "words.yml").read_text()))
    tokenizer = load_chat_tokenizer()
    frame = pd.DataFrame({"word": words, "zipf_frequency": 3.0, "length": [len(word) for word in words]})
    start = time.perf_counter()
    tokens = decode_vocabulary(tokenizer.tokenizer)
    vocabulary = vocabulary_table(tokens)
    summarise_vocabulary(vocabulary, inspect_tokenizer(tokenizer, tokens), embedding_rows=151_936)
    english = find_english_tokens(vocabulary, words, tokenizer, rules)
    summarise_english(english, rules)
    table = analyse_words(frame, tokenizer, tokens)
    summarise_words(table, settings)
    segmentation_in_contexts(tokenizer, frame, settings)
    questions = [f"How do you spell {word}?" for word in words]
    compare_template_cost(tokenizer, questions, TemplateCost())
    subsets = [TokenSubset.of_tokens(english, rule, tokenizer) for rule in rules.rules]
    corpora = {
        "words": Segmentation.of_rows(table["ids"].tolist()),
        "questions": Segmentation.of_rows(tokenizer.encode_texts(questions)),
    }
    cover(corpora, subsets, tokens, SubsetCoverage())
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "peak_mb": round(memory_mb(), 1),
        "tokens": len(tokens),
        "words": len(words),
    }


if __name__ == "__main__":
    main()
