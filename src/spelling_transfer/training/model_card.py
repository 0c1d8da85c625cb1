"""What the embedded base model scores, and the card that says so."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Mapping

import pandas as pd

from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.tasks.base import Task
from spelling_transfer.tasks.registry import CORE_TASKS
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.pretrain import PLAIN_LINES, PretrainSettings

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
