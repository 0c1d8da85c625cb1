"""``kedro pretrain``: the command that made the embedded base model, so that anyone can make it again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from spelling_transfer.training.pretrain import PretrainSettings
from spelling_transfer.training.pretrain_data import PretrainMixture


@click.command(epilog="\b\nExample:\n  kedro pretrain --out data/01_raw/models/tiny-qwen3 --device cuda")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write the model to.")
@click.option("--max-words", type=int, default=4_000, show_default=True, help="Most frequent words to take.")
@click.option("--steps", type=int, default=None, help="Optimiser steps; 200 after a restart follow.")
@click.option("--hidden-size", type=int, default=None, help="Width of the model.")
@click.option("--layers", type=int, default=None, help="Decoder layers.")
@click.option("--feed-forward-ratio", type=float, default=None, help="Width inside the feed-forward layers.")
@click.option("--batch-rows", type=int, default=None, help="Rows per step.")
@click.option("--spelling-families", type=int, default=None, help="Families with spelling questions in chat form.")
@click.option("--question-families", type=int, default=None, help="Of those, families with other questions.")
@click.option("--forms", type=int, default=None, help="Wordings of places and counts in plain lines.")
@click.option("--letters-given", type=float, default=None, help="Share of chat questions about made-up words.")
@click.option("--seed", type=int, default=None, help="Seed of weights and data.")
@click.option("--threads", type=int, default=None, help="CPU threads.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
def pretrain(out: Path, max_words: int, device: str, **options: Any) -> None:
    """Pre-train the embedded base model tiny-qwen3 on public word lists. Needs no network."""
    from spelling_transfer.tasks.registry import load_tasks
    from spelling_transfer.tokenizer.chat import load_chat_tokenizer
    from spelling_transfer.training.pretrain_making import make_model
    from spelling_transfer.words.word_list import WordSelection, select_words
    from spelling_transfer.words.word_sets import describe_words, split_words

    given = {name: value for name, value in options.items() if value is not None}
    mixture = {name: value for name, value in given.items() if name in PretrainMixture.model_fields}
    shape = {name: value for name, value in given.items() if name in PretrainSettings.model_fields}
    settings = PretrainSettings(**shape, mixture=PretrainMixture(**mixture))
    tokenizer = load_chat_tokenizer()
    selection = WordSelection(max_words=max_words, random_words=0)
    words = split_words(describe_words(select_words(selection).words, tokenizer), tokenizer, selection)
    shown = {"max_words": max_words, "device": device, **given}
    command = f"kedro pretrain --out {out} " + " ".join(f"--{k.replace('_', '-')} {v}" for k, v in shown.items())
    started = time.perf_counter()
    folder = make_model(words, load_tasks(), tokenizer, settings, out, device=device, command=command, say=click.echo)
    click.echo(f"Wrote {folder.path} in {(time.perf_counter() - started) / 60:.1f} minutes")
