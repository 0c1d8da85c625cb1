"""The peers of ``training.py`` and ``gpu.py``: transformers' Trainer and TRL's, told the same and fed the same ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def trainer_arguments(
    folder: str, *, batch: int, accumulate: int, steps: int, learning_rate: float, bf16: bool = False
) -> dict[str, Any]:
    """Returns what both trainers are told; what they could waste time on is off."""
    import torch

    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulate,
        "max_steps": steps,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "train_sampling_strategy": "sequential",
        "gradient_checkpointing": False,
        "bf16": bf16,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 0,
    }


def train_trainer(model: Any, frame: Any, tokenizer: Path, arguments: dict[str, Any], watch: Any) -> None:
    """Trains with transformers' Trainer, the prompt masked by labels of -100.

    Args:
        model: The model with its adapter.
        frame: The examples in the order of steps: ``input_ids`` and ``label_start``.
        tokenizer: Folder of the tokenizer.
        arguments: What the trainer is told.
        watch: Its ``start`` is called right before the trainer is made, its ``step`` at the end of each step.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    rows = [
        {
            "input_ids": ids.tolist(),
            "attention_mask": [1] * len(ids),
            "labels": [-100] * start + ids[start:].tolist(),
        }
        for ids, start in zip(frame["input_ids"], frame["label_start"], strict=True)
    ]
    collator = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(tokenizer), pad_to_multiple_of=None)
    watch.start()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=Dataset.from_list(rows),
        data_collator=collator,
        callbacks=[_watching(watch)],
    )
    trainer.train()


def train_trl(model: Any, frame: Any, tokenizer: Path, arguments: dict[str, Any], watch: Any) -> None:
    """Trains with TRL's SFTTrainer on completions alone, from the same ids; arguments as of ``train_trainer``."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"input_ids": ids.tolist(), "completion_mask": [0] * start + [1] * (len(ids) - start)}
        for ids, start in zip(frame["input_ids"], frame["label_start"], strict=True)
    ]
    processing = AutoTokenizer.from_pretrained(tokenizer)
    watch.start()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments, completion_only_loss=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=processing,
        callbacks=[_watching(watch)],
    )
    trainer.train()


def _watching(watch: Any) -> Any:
    from transformers import TrainerCallback

    class Watching(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.step()

    return Watching()
