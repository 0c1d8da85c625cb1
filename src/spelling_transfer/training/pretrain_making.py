"""From words to the folder of the embedded model: data, training, measurement, card. Needs no Kedro."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from spelling_transfer.models.folder import ModelFolder, check_replaceable
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.tasks.base import Task
from spelling_transfer.tasks.registry import CORE_TASKS
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.pretrain import PretrainSettings, new_model, pretrain, save
from spelling_transfer.training.pretrain_card import model_card
from spelling_transfer.training.pretrain_data import PretrainData, pretraining_vocabulary
from spelling_transfer.training.pretrain_measure import measure


def make_model(
    words: pd.DataFrame,
    tasks: Mapping[str, Task],
    tokenizer: ChatTokenizer,
    settings: PretrainSettings,
    target: Path,
    *,
    device: str = "cpu",
    command: str = "",
    say: Callable[[str], None] = print,
) -> ModelFolder:
    """Makes the embedded model, measures it on validation words, and writes its folder with its card.

    Args:
        words: Columns ``word``, ``stem`` and ``split``, the most frequent first; real words only.
        tasks: Every registered task.
        tokenizer: The Qwen3 tokenizer.
        settings: Shape and training.
        target: The folder to write.
        device: Where to train.
        command: What the card says the model was made by.
        say: Told what is going on.

    Raises:
        ModelFolderError: Something else stands at the target.
    """
    import torch

    check_replaceable(target)
    started = time.perf_counter()
    ids = pretraining_vocabulary(words, tasks, tokenizer)
    core = {name: tasks[name] for name in CORE_TASKS}
    data = PretrainData(words, core, tokenizer, Vocabulary(ids, len(ids)), settings.mixture)
    loaded = new_model(ids, tokenizer.end_id, settings)
    n_parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    say(f"{len(words)} words, {len(ids)} embedding rows, {n_parameters / 1e6:.2f} M parameters")
    loaded.model.to(device)
    pretrain(loaded, data, settings, on_tenth=lambda step: say(f"step {step}"))
    minutes = (time.perf_counter() - started) / 60
    place = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {os.cpu_count()} CPU cores"
    machine = f"{place}, torch {torch.__version__}"
    # What is measured is what is written: weights of bfloat16, on the CPU.
    loaded.model.to("cpu").to(torch.bfloat16).float()
    asked = words.loc[words["split"] == "validation", "word"]
    lined = set(data.lined)
    known = measure(loaded, tokenizer, core, [word for word in asked if word in lined])
    unknown = measure(loaded, tokenizer, core, [word for word in asked if word not in lined])
    say(known.to_string(index=False))
    notes = {
        "made_by": {"command": command, "minutes": round(minutes, 1), "machine": machine},
        "settings": settings.model_dump(),
        "words": len(words),
        "without_plain_lines": sorted(set(words["word"]) - lined),
        "asked_in_chat_form": {name: sorted(asked) for name, asked in data.asked.items()},
        "scores": {row.probe: row.right for row in known.itertuples()},
    }
    card = model_card(
        settings,
        command,
        known,
        unknown,
        n_words=len(words),
        n_rows=len(ids),
        n_parameters=n_parameters,
        minutes=minutes,
        machine=machine,
    )
    return save(loaded, tokenizer, target, notes, card)
