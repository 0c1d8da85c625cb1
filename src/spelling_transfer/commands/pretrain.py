"""``kedro pretrain``: the command that made the embedded base model, so that anyone can make it again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from spelling_transfer.training.pretrain import PretrainSettings

_EXTRA_TEXTS = [chr(code) for code in range(32, 127)] + [f" {chr(code)}" for code in range(33, 127)]
"""Beside the words and wordings in use: every printable ASCII character, so that users may phrase their own."""

_SENTENCE_OPENERS = 800
"""The most frequent words are kept capitalised too, as questions begin with them."""


@click.command(
    epilog="Example: kedro pretrain --out data/01_raw/models/tiny-qwen3 (about half an hour on two CPU cores)"
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write the model to.")
@click.option("--epochs", type=int, default=None, help="Passes over the words.  [default: 5]")
@click.option("--hidden-size", type=int, default=None, help="Width of the model.  [default: 128]")
@click.option("--seed", type=int, default=None, help="Seed of weights and data.  [default: 0]")
@click.option("--threads", type=int, default=None, help="CPU threads.  [default: 2]")
def pretrain(out: Path, **options: Any) -> None:
    """Pre-train the embedded base model tiny-qwen3 on public word lists. Needs no network."""
    import numpy as np
    import torch

    from spelling_transfer.tasks.encoding import vocabulary_in_use
    from spelling_transfer.tasks.registry import load_tasks
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer
    from spelling_transfer.training import pretrain as engine
    from spelling_transfer.words.word_list import WordSelection, select_words
    from spelling_transfer.words.word_sets import RANDOM, describe_words, split_words

    settings = PretrainSettings(**{name: value for name, value in options.items() if value is not None})
    started = time.perf_counter()
    torch.set_num_threads(settings.threads)
    tokenizer, tasks, selection = load_chat_tokenizer(), load_tasks(), WordSelection()
    words = describe_words(select_words(selection).words, tokenizer)
    words = split_words(words, tokenizer, selection)
    ids = vocabulary_in_use(words["word"], tasks, tokenizer)
    ids |= {token for row in tokenizer.encode_texts([*engine.line_texts(), *_EXTRA_TEXTS]) for token in row}
    openers = [word.capitalize() for word in words["word"].head(_SENTENCE_OPENERS)]
    ids |= {token for row in tokenizer.encode_texts(openers) for token in row}

    loaded = engine.new_model(np.array(sorted(ids), dtype=np.int64), tokenizer.end_id, settings)
    known = words[words["word_set"] != RANDOM]
    data = engine.make_data(known, tasks, tokenizer, settings)
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    click.echo(
        f"{len(known)} words, {len(ids)} embedding rows, {parameters / 1e6:.2f} M parameters, "
        f"{len(data.frame)} examples"
    )

    def report(epoch: int) -> None:
        scores = engine.measure(loaded, tokenizer, tasks, known, sample_words=200)
        click.echo(f"\nepoch {epoch}: " + ", ".join(f"{name} {score:.3f}" for name, score in scores.items()))

    losses = engine.pretrain(loaded, data, tokenizer.end_id, settings, on_epoch=report)
    minutes = (time.perf_counter() - started) / 60
    scores = engine.measure(loaded, tokenizer, tasks, known)
    for name, score in scores.items():
        click.echo(f"{name}: {score:.3f} exact match on validation words")
    notes = {"settings": settings.model_dump(), "scores": scores, "steps": len(losses), "final_loss": losses[-1]}
    card = engine.model_card(
        settings, scores, n_words=len(known), n_rows=len(ids), n_parameters=parameters, minutes=minutes
    )
    folder = engine.save(loaded, tokenizer, out, notes, card)
    click.echo(f"Wrote {folder.path}")
