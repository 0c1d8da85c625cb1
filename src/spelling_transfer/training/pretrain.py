"""Makes ``tiny-qwen3``, the embedded base model: Qwen3's architecture and tokenizer, small enough for any laptop.

A large model has met most words spelled out in running text, but not in the chat format of this study. The embedded one
is brought to the same state: plain spelled-out lines for the words of all splits, position and count questions in chat
format for the word families of the ``pretrain`` split, and chat-format spelling for a few of those families. LoRA then
has something to elicit. What it scores is measured and said on its card.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE, Vocabulary
from spelling_transfer.progress import progress_bar
from spelling_transfer.tasks.base import SEPARATORS, Task
from spelling_transfer.tasks.registry import CORE_TASKS
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.config import TrainingSettings

if TYPE_CHECKING:
    from spelling_transfer.models.load import LoadedModel


PLAIN_LINES = (
    "{word}:\n",
    " {word}:\n",
    " {word} is spelled\n",
    "The letters of {word} are\n",
    "Word: {word}\nLetters: ",
    "Spelling list\n {word}\n",
)
"""Wordings of the plain lines; none of them is a template of a task."""

SEPARATED_LINE = "{word} (letters, {separator} between)\n"
_SEPARATED = [entry for entry in SEPARATORS.values() if entry[0].strip()]


class PretrainSettings(BaseModel):
    """Shape of the embedded model and what it is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_size: int = Field(128, ge=32, description="Width.")
    layers: int = Field(4, ge=1, description="Decoder layers.")
    plain_lines_per_word: int = Field(3, ge=1, description="Plain lines a word and epoch; drawn anew each epoch.")
    questions_per_word: int = Field(1, ge=1, description="Position and count questions each, a pretrain-split word.")
    spelling_families: int = Field(200, ge=0, description="Families whose spelling is asked in chat format.")
    epochs: int = Field(5, ge=1, description="Passes over the data, each with new lines and questions.")
    batch_size: int = Field(128, ge=8, description="Examples a step.")
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate.")
    full_softmax_steps: int = Field(150, ge=0, description="Last steps with the softmax over all rows.")
    seed: int = Field(0, ge=0, description="Seed of the weights, the data and their order.")
    threads: int = Field(2, ge=1, description="CPU threads; sums, and so the weights, depend on their number.")


@dataclass(frozen=True)
class PretrainData:
    """Everything the model is pre-trained on.

    Attributes:
        frame: ``input_ids`` and ``label_start`` of each example, as ``encoded_examples`` has them.
        label_ids: Every token id that occurs in a label.
    """

    frame: pd.DataFrame
    label_ids: np.ndarray


def line_texts() -> list[str]:
    """Returns the text around the word of every plain line, for the vocabulary."""
    separated = [SEPARATED_LINE.format(word="the", separator=wording) for _, wording in SEPARATORS.values()]
    return [*separated, *(line.format(word="the") for line in PLAIN_LINES)]


def make_data(
    words: pd.DataFrame,
    tasks: Mapping[str, Task],
    tokenizer: ChatTokenizer,
    settings: PretrainSettings,
) -> PretrainData:
    """Writes and encodes the pre-training examples of all epochs.

    Args:
        words: Columns ``word``, ``stem``, ``split``.
        tasks: The core tasks.
        tokenizer: The Qwen3 tokenizer.
        settings: How much of what.
    """
    rng = random.Random(settings.seed)
    pool = words[words["split"] == "pretrain"]
    stems = sorted(pool["stem"].unique())
    spelled = set(rng.sample(stems, min(settings.spelling_families, len(stems))))
    spelled_words = pool[pool["stem"].isin(spelled)]["word"].tolist()
    prompts: list[list[int]] = []
    answers: list[str] = []
    for _ in range(settings.epochs):
        lines, line_answers = _plain_lines(words["word"].tolist(), settings.plain_lines_per_word, rng)
        examples = [
            tasks[name].make(word, rng)
            for word in pool["word"]
            for name in ("position", "count")
            for _ in range(settings.questions_per_word)
        ]
        examples += [
            tasks["spelling"].make(word, rng, separator=_draw_separator(rng))
            for word in spelled_words
            for _ in range(2)
        ]
        prompts += tokenizer.encode_texts(lines)
        prompts += tokenizer.encode_prompts([example.question for example in examples])
        answers += line_answers + [example.answer for example in examples]
    labels = [[*ids, tokenizer.end_id] for ids in tokenizer.encode_texts(answers)]
    frame = pd.DataFrame(
        {
            "example_id": [str(i) for i in range(len(prompts))],
            "input_ids": [prompt + label for prompt, label in zip(prompts, labels, strict=True)],
            "label_start": [len(prompt) for prompt in prompts],
        }
    )
    return PretrainData(frame, np.unique(np.concatenate([np.asarray(label) for label in labels])))


def _draw_separator(rng: random.Random) -> str:
    return rng.choice([characters for characters, _ in SEPARATORS.values()])


def _plain_lines(words: Sequence[str], per_word: int, rng: random.Random) -> tuple[list[str], list[str]]:
    lines, answers = [], []
    for word in words:
        for _ in range(per_word):
            if rng.random() < 0.15:
                characters, wording = rng.choice(_SEPARATED)
                line = rng.choice(("", " ")) + SEPARATED_LINE.format(word=word, separator=wording)
            else:
                characters, line = " ", rng.choice(PLAIN_LINES).format(word=word)
            lines.append(line)
            answers.append(characters.join(word))
    return lines, answers


def new_model(vocabulary_ids: np.ndarray, end_id: int, settings: PretrainSettings) -> LoadedModel:
    """Returns a randomly initialised Qwen3 whose embedding has one row for each id of ``vocabulary_ids``."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from spelling_transfer.models.load import LoadedModel

    vocabulary = Vocabulary(vocabulary_ids, len(vocabulary_ids))
    end_row = int(vocabulary.to_rows([end_id])[0])
    config = Qwen3Config(
        vocab_size=len(vocabulary_ids),
        hidden_size=settings.hidden_size,
        intermediate_size=3 * settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=settings.hidden_size // 4,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        eos_token_id=end_row,
        bos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(settings.seed)
    return LoadedModel(Qwen3ForCausalLM(config), vocabulary)


def pretrain(
    loaded: LoadedModel,
    data: PretrainData,
    end_id: int,
    settings: PretrainSettings,
    *,
    on_epoch: Callable[[int], None] | None = None,
) -> list[float]:
    """Trains all weights: first with the softmax over the label ids alone, at last over all rows.

    The first stage is where the time goes, and a head of some hundred rows costs next to nothing there; the second
    teaches the model that the other rows are never an answer.

    Args:
        loaded: The new model; trained in place.
        data: What `make_data` made.
        end_id: The token that ends an answer.
        settings: How long and how fast.
        on_epoch: Called with the number of epochs done, after each.

    Returns:
        The loss of each step.
    """
    import torch

    from spelling_transfer.training.callbacks import EverySteps
    from spelling_transfer.training.data import EncodedExamples
    from spelling_transfer.training.run import train

    examples = EncodedExamples(data.frame, loaded.vocabulary, end_id)
    steps = len(examples) // settings.batch_size
    shared = {
        "batch_size": settings.batch_size,
        "grad_accum_steps": 1,
        "weight_decay": 0.01,
        "threads": settings.threads,
    }
    first = TrainingSettings(
        learning_rate=settings.learning_rate, max_steps=steps, warmup_steps=100, seed=settings.seed, **shared
    )
    subset = torch.from_numpy(loaded.vocabulary.to_rows(data.label_ids))
    callbacks = []
    if on_epoch is not None:
        callbacks.append(
            EverySteps(steps // settings.epochs, lambda step: on_epoch(round(step * settings.epochs / steps)))
        )
    with progress_bar("Pre-training", total=steps) as advance:
        losses = train(loaded, examples, first, subset_rows=subset, callbacks=callbacks, progress=advance).losses
    if settings.full_softmax_steps:
        last = TrainingSettings(
            learning_rate=settings.learning_rate / 6,
            max_steps=settings.full_softmax_steps,
            warmup_steps=10,
            schedule="linear",
            seed=settings.seed + 1,
            **shared,
        )
        with progress_bar("Pre-training, all rows", total=last.max_steps) as advance:
            losses += train(loaded, examples, last, progress=advance).losses
    return losses


def save(
    loaded: LoadedModel, tokenizer: ChatTokenizer, target: Path, notes: dict[str, object], card: str
) -> ModelFolder:
    """Writes the model as bfloat16 safetensors with its id map and its card."""
    import json

    import torch

    assert loaded.vocabulary.token_ids is not None
    identity = {"tokenizer_sha256": tokenizer.sha256, "template_sha256": tokenizer.template_sha256}
    with new_folder(target, {"kind": "model", **identity, **notes}) as work:
        loaded.model.to(torch.bfloat16).save_pretrained(str(work), safe_serialization=True)
        (work / TOKEN_IDS_FILE).write_text(json.dumps(loaded.vocabulary.token_ids.tolist(), separators=(",", ":")))
        (work / "README.md").write_text(card)
    loaded.model.float()
    return ModelFolder(target)


_SAMPLE_SEED = 1
_SAMPLE_WORDS = 1000

_WHAT = (
    "A small language model with Qwen3's architecture and the real Qwen3 tokenizer, for trying the whole of "
    "spelling-transfer on a laptop. It answers spelling questions and nothing else. It is not a product of the Qwen "
    "team."
)
_MEASURED = (
    f"Exact match on {_SAMPLE_WORDS:,} validation families at most, one question a family, greedy, wordings that are "
    "trained on; measured by the command above when it made the model. A plain line gives the word and a colon, "
    "outside the chat format: what the model knows of spelling, as against what it says when asked."
)


def measure(
    loaded: LoadedModel,
    tokenizer: ChatTokenizer,
    tasks: Mapping[str, Task],
    words: pd.DataFrame,
    sample_words: int = _SAMPLE_WORDS,
) -> dict[str, float]:
    """Returns the exact match on validation words, one a word family: of a plain line, and of each core task."""
    validation = words[words["split"] == "validation"].drop_duplicates("stem")
    validation = validation.sample(min(sample_words, len(validation)), random_state=_SAMPLE_SEED)
    rng = random.Random(_SAMPLE_SEED)
    lines = tokenizer.encode_texts([PLAIN_LINES[1].format(word=word) for word in validation["word"]])
    spelled = [tokenizer.decode(ids) for ids in generate_answers(loaded, tokenizer, lines, max_new_tokens=26)]
    right = sum(" ".join(word) == output for word, output in zip(validation["word"], spelled, strict=True))
    scores = {"plain line": right / len(validation)}
    for name in CORE_TASKS:
        examples = [tasks[name].make(word, rng) for word in validation["word"]]
        prompts = tokenizer.encode_prompts([example.question for example in examples])
        outputs = [tokenizer.decode(ids) for ids in generate_answers(loaded, tokenizer, prompts, max_new_tokens=26)]
        right = sum(tasks[name].mark(example, output).exact for example, output in zip(examples, outputs, strict=True))
        scores[name] = right / len(examples)
    return scores


def model_card(
    settings: PretrainSettings,
    scores: Mapping[str, float],
    *,
    n_words: int,
    n_rows: int,
    n_parameters: int,
    minutes: float,
) -> str:
    """Returns the card as Markdown: what it is, its data, its command, its seed, what it scored."""
    table = "\n".join(f"| {name} | {score:.3f} |" for name, score in scores.items())
    command = (
        f"kedro pretrain --out data/01_raw/models/tiny-qwen3 --epochs {settings.epochs} --hidden-size "
        f"{settings.hidden_size} --seed {settings.seed} --threads {settings.threads}"
    )
    facts = [
        f"**Shape**: {settings.layers} layers, {settings.hidden_size} wide, 4 heads, 2 key-value heads, tied "
        f"embeddings, {n_parameters / 1e6:.2f} M parameters, {n_rows:,} embedding rows. `token_ids.json` gives the "
        "Qwen3 token id of each row.",
        f"**Data**: {n_words:,} English words from `wordfreq` 3.1.1 (data CC-BY-SA-4.0) that `english-words` 2.0.2 "
        "knows. Plain spelled-out lines for the words of all splits, "
        f"{settings.plain_lines_per_word} a word and epoch; position and count questions in chat format for the "
        "families of the `pretrain` split; spelling questions in chat format for "
        f"{settings.spelling_families} of those families. No wording that the tasks hold out; no position, count or "
        "chat-format spelling question about a training, validation or test word.",
        "**Wordings of the plain lines**: " + ", ".join(f"`{line!r}`" for line in PLAIN_LINES) + ".",
        f"**Made by**: `{command}`, {minutes:.0f} minutes on {settings.threads} CPU core(s). Another number of threads "
        "or version of torch adds in another order and gives other weights.",
        "**Mode**: non-thinking only (`enable_thinking=False`).",
    ]
    bullets = "\n".join(_wrapped(f"- {fact}", "  ") for fact in facts)
    return f"""---
license: apache-2.0
library_name: transformers
---
# tiny-qwen3

{_wrapped(_WHAT)}

{bullets}

| task | exact match |
|---|---|
{table}

{_wrapped(_MEASURED)}
"""


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
