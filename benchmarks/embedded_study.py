"""A study of the embedded model on few words, made from the repository alone: real trials that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.material import TrialMaterial
from spelling_transfer.tasks.encoding import encode_examples
from spelling_transfer.tasks.examples import ExampleMix, write_examples
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import load_chat_tokenizer
from spelling_transfer.words.difficulty import rate_difficulty, structural_score
from spelling_transfer.words.word_list import WordSelection, select_words
from spelling_transfer.words.word_sets import describe_words, split_words

MODEL = Path(__file__).parents[1] / "data/01_raw/models/tiny-qwen3"
VALIDATION_WORDS = 50


def embedded_material(n_words: int = 3000) -> TrialMaterial:
    """Returns what trials are made of."""
    tokenizer = load_chat_tokenizer()
    selection = WordSelection(max_words=n_words, random_words=0)
    words = split_words(describe_words(select_words(selection).words, tokenizer), tokenizer, selection)
    words = rate_difficulty(words, structural_score(words))
    mix = ExampleMix.model_validate(
        {"separators": ["space"], "case_variants": False, "other_task_questions": 0, "spelling_difficulty": "all"}
    )
    examples = write_examples(words, tokenizer, mix, load_tasks())
    encoded = encode_examples(examples, tokenizer)
    return TrialMaterial(
        ModelFolder.open(MODEL),
        ModelProfile(name="tiny-qwen3", lora_targets=("q_proj", "k_proj", "v_proj", "o_proj")),
        tokenizer,
        examples,
        encoded,
        encoded["input_ids"].explode().unique().astype("int64"),
        validation_words=VALIDATION_WORDS,
        evaluate_every=30,
    )


def embedded_settings(**changes: Any) -> StudySettings:
    """Returns a random search over rank and learning rate."""
    space = {"lora.r": {"values": [8, 16]}, "training.learning_rate": {"low": 5e-4, "high": 3e-3, "log": True}}
    shared = {"name": "embedded", "sampler": "random", "pruner": "none", "space": space, "checkpoint_every": 30}
    return StudySettings.model_validate(
        {**shared, "validation_words": VALIDATION_WORDS, "transfer_eval_frequency": 30, **changes}
    )


def embedded_defaults() -> TrialConfig:
    """Returns a trial of 60 steps on one thread, as two workers on two cores take."""
    training = {"batch_size": 32, "grad_accum_steps": 1, "max_steps": 60, "warmup_steps": 10, "threads": 1}
    spelling = {"spelling_data_ratio": 1.0, "spelling_difficulty": "all"}
    lora = {"r": 16, "alpha": 32, "dropout": 0.0}
    return TrialConfig.model_validate({"training": training, "spelling": spelling, "lora": lora})
