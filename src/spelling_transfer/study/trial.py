"""One trial: attach LoRA to the base model, train it on the training families, score it on validation families."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.answering import prompts_of
from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.evaluation.sampling import sample_examples
from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.reporting.progress import progress_bar
from spelling_transfer.study.config import StudyConfigError, TrialConfig
from spelling_transfer.study.executor import Evaluation, TrialOutcome, Verdict
from spelling_transfer.study.scores import SCORED_TASKS
from spelling_transfer.tasks.mixture import MixtureSettings, choose_mixture
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer

if TYPE_CHECKING:
    import torch

    from spelling_transfer.models.load import LoadedModel
    from spelling_transfer.training.data import EncodedExamples

MAX_ANSWER_TOKENS = 26
"""A letter and a separator for each letter of the longest word (12), and the end token, with one to spare."""


class TrialRunner:
    """Trains and scores configurations on one base model, which is loaded once.

    Args:
        base: The base model's folder.
        profile: How it is loaded.
        tokenizer: The tokenizer.
        examples: All examples.
        encoded: Their token ids.
        english_ids: Token ids of the English subset.
        validation_words: Questions of each task a score rests on.
        evaluate_every: Steps between scores within a trial.

    Raises:
        StudyConfigError: A task has no validation example.
    """

    def __init__(
        self,
        base: ModelFolder,
        profile: ModelProfile,
        tokenizer: ChatTokenizer,
        examples: pd.DataFrame,
        encoded: pd.DataFrame,
        english_ids: np.ndarray,
        *,
        validation_words: int,
        evaluate_every: int,
    ) -> None:
        from spelling_transfer.models.load import load_model

        self.base = base
        self.profile = profile
        self.tokenizer = tokenizer
        self.english_ids = english_ids
        self.evaluate_every = evaluate_every
        self.validation = sample_examples(examples, split="validation", per_task=validation_words)
        self.validation = self.validation[self.validation["task"].isin(SCORED_TASKS)]
        if missing := sorted(set(SCORED_TASKS) - set(self.validation["task"])):
            raise StudyConfigError(
                f"examples: no validation example of {', '.join(missing)}, so no trial can be scored. Run 'kedro run "
                "--pipelines=local_prep' with these tasks and a longer word list."
            )
        self.prompts = prompts_of(self.validation, encoded)
        self.loaded: LoadedModel = load_model(base, profile)
        self.encoded = encoded[encoded["split"] == "train"].reset_index(drop=True)
        self._mixtures: dict[MixtureSettings, EncodedExamples] = {}

    def _training_examples(self, settings: MixtureSettings) -> EncodedExamples:
        from spelling_transfer.training.data import EncodedExamples

        if settings not in self._mixtures:
            chosen = choose_mixture(self.encoded, settings)
            self._mixtures[settings] = EncodedExamples(chosen, self.loaded.vocabulary, self.tokenizer.end_id)
        return self._mixtures[settings]

    def evaluate(self, step: int) -> Evaluation:
        """Returns the exact match of each task on the validation questions, for the model as it is now."""
        from spelling_transfer.models.generate import generate_answers

        answers = generate_answers(self.loaded, self.tokenizer, self.prompts, max_new_tokens=MAX_ANSWER_TOKENS)
        outputs = [self.tokenizer.decode(ids) for ids in answers]
        marked = mark_answers(self.validation.assign(output=outputs), load_tasks())
        scores = marked.groupby("task")["exact"].mean()
        marks = "".join("1" if right else "0" for right in marked["exact"])
        spelling, position, count = (float(scores[task]) for task in SCORED_TASKS)
        return Evaluation(step, spelling, position, count, marks)

    def __call__(self, config: TrialConfig, monitor: Callable[[Evaluation], Verdict]) -> TrialOutcome:
        """Trains one configuration and scores it along the way; the base model is restored afterwards."""
        model, outcome = self._train(config, monitor)
        self.loaded.model = model.unload()
        return outcome

    def train_adapter(self, config: TrialConfig, target: Path) -> tuple[ModelFolder, TrialOutcome]:
        """Trains one configuration to its end and writes its adapter to ``target``."""
        model, outcome = self._train(config, lambda _: "complete")
        notes = {"kind": "adapter", "base_sha256": self.base.sha256, "config": config.model_dump(mode="json")}
        with new_folder(target, notes) as work:
            # A path of this machine has no business in a folder that travels.
            model.peft_config["default"].base_model_name_or_path = self.profile.hub_id or self.profile.name
            model.save_pretrained(str(work), safe_serialization=True, save_embedding_layers=False)
        self.loaded.model = model.unload()
        return ModelFolder(target), outcome

    def _train(self, config: TrialConfig, monitor: Callable[[Evaluation], Verdict]) -> tuple[Any, TrialOutcome]:
        from spelling_transfer.models.lora import attach_lora
        from spelling_transfer.training.callbacks import EverySteps
        from spelling_transfer.training.run import seeded, train

        verdict: Verdict = "complete"
        curve: list[Evaluation] = []

        def look(step: int) -> bool:
            nonlocal verdict
            curve.append(self.evaluate(step))
            verdict = monitor(curve[-1])
            return verdict != "complete"

        examples = self._training_examples(config.spelling)
        subset_rows = self._subset_rows(config, examples)
        with seeded(config.training.seed, config.training.threads):  # the adapter starts from random numbers
            model = attach_lora(self.loaded, config.lora, self.profile.lora_targets)
        with progress_bar(f"Training with seed {config.training.seed}", total=config.training.max_steps) as advance:
            result = train(
                self.loaded,
                examples,
                config.training,
                subset_rows=subset_rows,
                callbacks=[EverySteps(self.evaluate_every, look)],
                progress=advance,
            )
        if not curve or curve[-1].step != result.steps:
            look(result.steps)
        return model, TrialOutcome(curve, result.losses[-1], result.steps, verdict)

    def _subset_rows(self, config: TrialConfig, examples: EncodedExamples) -> torch.Tensor | None:
        import torch

        if not config.tokenizer.use_english_only_tokens:
            return None
        rows = np.unique(self.loaded.vocabulary.known_rows(self.english_ids))
        outside = np.setdiff1d(examples.label_rows(), rows)
        if len(outside):
            ids = self.loaded.vocabulary.to_ids(outside).tolist()
            raise StudyConfigError(
                f"tokenizer.use_english_only_tokens: {len(ids)} label tokens are outside the English subset (first: "
                f"{ids[:5]}). Widen the rule in conf/base/study/token_analysis/ and run 'kedro run "
                "--pipelines=token_analysis' again."
            )
        return torch.from_numpy(rows)
