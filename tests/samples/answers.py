"""Answers as two models might give them, marked by the real tasks."""

import random

import pandas as pd
import pytest

from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks

WORDS = [
    "apple", "banana", "cherry", "damson", "elder", "fennel", "garlic", "hazel", "iris", "juniper", "kale", "lemon",
    "mango", "nettle", "olive", "pepper", "quince", "radish", "sorrel", "thyme", "ulluco", "vanilla", "walnut", "xigua",
]  # fmt: skip


def make_examples(words: list[str] = WORDS, word_set: str = "word", split: str = "test") -> pd.DataFrame:
    """One example of each core task a word."""
    rng = random.Random(0)
    rows = []
    for task in CORE_TASKS:
        for place, word in enumerate(words):
            template = load_tasks()[task].templates[place % len(load_tasks()[task].templates)]
            example = load_tasks()[task].make(word, rng, template=template)
            rows.append(
                {
                    "example_id": f"{task}/{word_set}/{split}/{word}",
                    "task": task,
                    "template": example.template,
                    "template_held_out": example.template_held_out,
                    "kind": "real",
                    "word": word,
                    "stem": word.rstrip("s"),
                    "word_set": word_set,
                    "split": split,
                    "difficulty": ("easy", "medium", "hard")[place % 3],
                    "question": example.question,
                    "answer": example.answer,
                    "argument": example.argument,
                    "separator": example.separator,
                    "n_tokens": 1 + place % 5,
                    "endpoint": {"word": "held_out", "random": "made_up"}[word_set],
                }
            )
    return pd.DataFrame(rows)


def make_answers(examples: pd.DataFrame, right: dict[str, dict[str, float]], seed: int = 0) -> pd.DataFrame:
    """Answers of each arm; ``right[arm][task]`` is the share that is right, the rest are wrong but readable."""
    rng = random.Random(seed)
    frames = []
    for arm, shares in right.items():
        outputs = [
            row.answer if rng.random() < shares[row.task] else {"count": "9"}.get(row.task, "z")
            for row in examples.itertuples()
        ]
        frames.append(examples.assign(arm=arm, seed=-1 if arm == "base" else 0, output=outputs, ended=True))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def examples() -> pd.DataFrame:
    return make_examples()


@pytest.fixture
def answers() -> pd.DataFrame:
    words = [f"{word}{end}" for word in WORDS for end in ("a", "e", "i", "o", "u", "y")]
    right = {
        "base": {"spelling": 0.3, "position": 0.5, "count": 0.6},
        "spelling": {"spelling": 0.8, "position": 0.5, "count": 0.3},
    }
    examples = pd.concat([make_examples(words), make_examples(["qzx", "vvk"], word_set="random")])
    return make_answers(examples, right)
