"""What trials are made of, written once a machine: workers map it into memory instead of reading it each for itself."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.files import whole_file, whole_folder
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.study.trial import TrialRunner, validation_questions
from spelling_transfer.tasks.mixture import REHEARSAL
from spelling_transfer.tokenizer.chat import ChatTokenizer

_FOLDER = "material"
_IDENTITY = "identity.json"
_TOKENIZER_FIELDS = ("sha256", "template_sha256", "prefix", "suffix", "prefix_ids", "suffix_ids", "end_id", "think_ids")


@dataclass(frozen=True)
class TrialMaterial:
    """Base model, tokenizer, examples: all that a trial needs beside its configuration.

    Attributes:
        base: The base model's folder.
        profile: How it is loaded.
        tokenizer: The tokenizer.
        examples: All examples.
        encoded: Their token ids.
        english_ids: Token ids of the English subset.
        validation_words: Questions of each task a score rests on.
        evaluate_every: Steps between scores within a trial.
    """

    base: ModelFolder
    profile: ModelProfile
    tokenizer: ChatTokenizer
    examples: pd.DataFrame
    encoded: pd.DataFrame
    english_ids: np.ndarray
    validation_words: int
    evaluate_every: int

    @cached_property
    def validation(self) -> pd.DataFrame:
        """The questions every trial is scored on.

        Raises:
            StudyConfigError: A task has no validation example.
        """
        return validation_questions(self.examples, self.validation_words)

    @property
    def _asked_and_lines(self) -> pd.DataFrame:
        return pd.concat([self.validation, self.examples[self.examples["kind"] == REHEARSAL]], ignore_index=True)

    @cached_property
    def _used(self) -> pd.DataFrame:
        # What no trial looks at (test examples, other validation questions) is left behind.
        asked = self.encoded["example_id"].isin(self.validation["example_id"])
        return self.encoded[(self.encoded["split"] == "train") | asked].reset_index(drop=True)

    @property
    def model_bytes(self) -> int:
        """Size of the base model's weights."""
        return sum(file.stat().st_size for file in self.base.path.glob("*.safetensors"))

    def identity(self) -> Mapping[str, str]:
        """Returns hashes of all that scores depend on."""
        return self._identity

    @cached_property
    def _identity(self) -> dict[str, str]:
        flat, offsets = flatten(self._used["input_ids"])
        train = hashlib.sha256(flat.tobytes())
        for column in ("example_id", "task", "split", "kind", "difficulty"):
            train.update("\n".join(self._used[column].astype(str)).encode())
        train.update(offsets.tobytes() + self._used["label_start"].to_numpy(dtype=np.int64).tobytes())
        questions = self._asked_and_lines[["example_id", "question", "answer"]].astype(str)
        asked = "\n".join(questions.agg("\t".join, axis=1))
        return {
            "base_model": self.base.sha256,
            "profile": hashlib.sha256(self.profile.model_dump_json().encode()).hexdigest(),
            "tokenizer": f"{self.tokenizer.sha256}/{self.tokenizer.template_sha256}",
            "training_examples": train.hexdigest(),
            "validation_questions": hashlib.sha256(asked.encode()).hexdigest(),
            "english_tokens": hashlib.sha256(np.asarray(self.english_ids, dtype=np.int64).tobytes()).hexdigest(),
        }

    def open(self) -> TrialRunner:
        """Returns what trains and scores trials in this process."""
        return TrialRunner(self)

    def write(self, folder: Path) -> tuple[str, dict[str, Any]]:
        """Writes everything below a study's folder, unless it is there already."""
        target = folder / _FOLDER
        arguments = {"validation_words": self.validation_words, "evaluate_every": self.evaluate_every}
        identity = json.dumps(self.identity(), sort_keys=True)
        noted = target / _IDENTITY
        if not noted.is_file() or noted.read_text() != identity:
            with whole_folder(target) as work:
                self._write_to(work)
                (work / _IDENTITY).write_text(identity)
        return "spelling_transfer.study.material:open_runner", arguments

    def _write_to(self, work: Path) -> None:
        (work / "base_model").mkdir(parents=True)
        for file in sorted(self.base.path.rglob("*")):
            if file.is_file():
                _link(file, work / "base_model" / file.relative_to(self.base.path))
        (work / "tokenizer.json").write_text(self.tokenizer.tokenizer.to_str())
        fields = {name: getattr(self.tokenizer, name) for name in _TOKENIZER_FIELDS}
        (work / "chat.json").write_text(json.dumps({**fields, "hidden_ids": sorted(self.tokenizer.hidden_ids)}))
        (work / "profile.json").write_text(self.profile.model_dump_json())
        flat, offsets = flatten(self._used["input_ids"])
        np.save(work / "input_ids.npy", flat)
        np.save(work / "offsets.npy", offsets)
        np.save(work / "english_ids.npy", np.asarray(self.english_ids, dtype=np.int64))
        self._used.drop(columns="input_ids").to_feather(work / "encoded.arrow", compression="uncompressed")
        self._asked_and_lines.to_feather(work / "validation.arrow", compression="uncompressed")


def open_runner(folder: Path, *, validation_words: int, evaluate_every: int) -> TrialRunner:
    """Returns what trains and scores trials, from what `TrialMaterial.write` left in a study's folder.

    Token ids and weights are mapped: the pages of one machine's workers are the same memory.
    """
    from tokenizers import Tokenizer

    place = folder / _FOLDER
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads((place / "chat.json").read_text()).items()
    }
    fields["hidden_ids"] = frozenset(fields["hidden_ids"])
    flat, offsets = np.load(place / "input_ids.npy", mmap_mode="r"), np.load(place / "offsets.npy")
    encoded = pd.read_feather(place / "encoded.arrow")
    encoded["input_ids"] = pd.Series(np.split(flat, offsets[1:-1]), index=encoded.index, dtype=object)
    material = TrialMaterial(
        ModelFolder(place / "base_model"),
        ModelProfile.model_validate_json((place / "profile.json").read_text()),
        ChatTokenizer(tokenizer=tokenizer, **fields),
        pd.read_feather(place / "validation.arrow"),
        encoded,
        np.load(place / "english_ids.npy"),
        validation_words=validation_words,
        evaluate_every=evaluate_every,
    )
    runner = material.open()
    if runner.loaded.device.type == "cpu":
        map_weights(runner.loaded.model, place / "weights.safetensors")
    return runner


def map_weights(model: Any, file: Path) -> None:
    """Lets a model's weights be those of a file that is mapped into memory; the first to come writes it.

    Loading converts weights to the type they are used in, into memory of the process's own. Trials train adapters and
    never write to these weights, so what is mapped stays shared by all workers.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    weights = dict(model.named_parameters())
    if not file.is_file():
        with whole_file(file) as partial:
            save_file({name: weight.detach().contiguous() for name, weight in weights.items()}, partial)
    with safe_open(file, framework="pt") as tensors:
        for name, weight in weights.items():
            weight.data = tensors.get_tensor(name)


def flatten(lists: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Returns the token ids of all rows in one array of int32, and where each row begins (one more than rows)."""
    offsets = np.concatenate([[0], np.cumsum(lists.map(len).to_numpy())]).astype(np.int64)
    return np.concatenate(lists.to_list()).astype(np.int32), offsets


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
