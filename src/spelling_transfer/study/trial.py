"""One trial: attach LoRA to the base model, train it on the training families, score it on validation families."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.evaluation.questions import longest_answer, prompts_of, sample_examples
from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.progress import ProgressHandle, progress_bar
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.config import StudyConfigError, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, Monitor, TrialFailedError, TrialOutcome, Verdict
from spelling_transfer.tasks.arm_examples import PLAIN_LINE
from spelling_transfer.tasks.arms import FORM_CONTROL, SPELLING_ARM, ArmError, TrainedArm, choose_arm, with_rehearsal
from spelling_transfer.tasks.base import DEFAULT_SEPARATOR
from spelling_transfer.tasks.encoding import encode_lines
from spelling_transfer.tasks.mixture import REHEARSAL, SPELLING, MixtureSettings, first_by_hash
from spelling_transfer.tasks.registry import load_tasks

if TYPE_CHECKING:
    import torch

    from spelling_transfer.models.load import LoadedModel
    from spelling_transfer.study.material import TrialMaterial
    from spelling_transfer.training.data import EncodedExamples

MAX_ANSWER_TOKENS = 26
"""A letter and a separator for each letter of a word of 12, and the end token, with one to spare; more if the right
answers of the validation words take more."""
OWN_ANSWERS = 2_000
"""Spelling questions that the base model answers for the form control."""
_IN_FORM = re.compile(r"[A-Za-z]([ ,-]?[A-Za-z])+")


def validation_questions(examples: pd.DataFrame, per_task: int) -> pd.DataFrame:
    """Returns the questions that trials are scored on.

    Args:
        examples: All examples, or this function's own result.
        per_task: Questions of each task.

    Raises:
        StudyConfigError: A task has no validation example.
    """
    chosen = sample_examples(examples, split="validation", per_task=per_task)
    chosen = chosen[chosen["task"].isin(SCORED_TASKS)]
    if missing := sorted(set(SCORED_TASKS) - set(chosen["task"])):
        raise StudyConfigError(
            f"examples: no validation example of {', '.join(missing)}, so no trial can be scored. Run 'kedro run "
            "--pipelines=local_prep' with these tasks and a longer word list (for count, one whose words have a letter "
            "three times or more)."
        )
    return chosen


class TrialRunner:
    """Trains and scores configurations on one base model, which is loaded once.

    Args:
        material: The base model, and what it is trained and scored on.

    Raises:
        StudyConfigError: A task has no validation example.
    """

    def __init__(self, material: TrialMaterial) -> None:
        from spelling_transfer.models.load import load_model

        self.material = material
        self.tokenizer = material.tokenizer
        self.validation = material.validation
        encoded, examples = material.encoded, material.examples
        self.prompts = prompts_of(self.validation, encoded)
        self.max_answer_tokens = max(MAX_ANSWER_TOKENS, longest_answer(self.validation, encoded))
        self.loaded: LoadedModel = load_model(material.base, material.profile)
        self.encoded = encoded[encoded["split"] == "train"].reset_index(drop=True)
        self.lines = encode_lines(examples[examples["kind"] == REHEARSAL], self.tokenizer)
        self._chosen: dict[tuple[MixtureSettings, TrainedArm], EncodedExamples] = {}

    def _training_examples(self, settings: MixtureSettings, arm: TrainedArm) -> EncodedExamples:
        from spelling_transfer.training.data import EncodedExamples

        if (settings, arm) not in self._chosen:
            rows = choose_arm(self.encoded, arm, settings)
            if arm == FORM_CONTROL:
                rows = self._with_own_answers(rows)
            rows = with_rehearsal(rows, self.lines, settings.rehearsal_share)
            made = EncodedExamples(rows, self.loaded.vocabulary, self.tokenizer.end_id)
            self._chosen = {(settings, arm): made}  # the last alone: a search over mixtures has one a trial
        return self._chosen[settings, arm]

    def _answers(self, prompts: list[list[int]]) -> list[list[int]]:
        from spelling_transfer.models.generate import generate_answers

        return generate_answers(self.loaded, self.tokenizer, prompts, max_new_tokens=self.max_answer_tokens)

    def evaluate(self, step: int) -> Evaluation:
        """Returns the exact match of each task on the validation questions, for the model as it is now."""
        outputs = [self.tokenizer.decode(ids) for ids in self._answers(self.prompts)]
        marked = mark_answers(self.validation.assign(output=outputs), load_tasks())
        scores = marked.groupby("task")["exact"].mean()
        spelling, position, count = (float(scores[task]) for task in SCORED_TASKS)
        return Evaluation(step, spelling, position, count, tuple(map(bool, marked["exact"])))

    def _with_own_answers(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Gives spelling rows the answers of the model as it is now, where they are letters in the form asked for.

        A part of the rows is answered, and repeated in place of the rest.
        """
        is_spelling = rows["task"] == SPELLING
        ids = rows.loc[is_spelling, "example_id"]
        asked = rows.loc[sorted(first_by_hash(ids, min(OWN_ANSWERS, len(ids)), 0))]
        prompts = [
            list(map(int, tokens[:start]))
            for tokens, start in zip(asked["input_ids"], asked["label_start"], strict=True)
        ]
        answers = self._answers(prompts)
        in_form = [bool(_IN_FORM.fullmatch(self.tokenizer.decode(answer))) for answer in answers]
        if not any(in_form):
            raise ArmError(
                f"form_control: none of {len(asked)} spelling questions is answered in letters by the base model, so "
                "there is no form of its own to practise. Leave the arm out of arms.trained."
            )
        full = [
            np.array([*prompt, *answer, self.tokenizer.end_id], dtype=np.int32)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        own = asked.assign(input_ids=pd.Series(full, index=asked.index, dtype=object))[in_form]
        repeated = own.iloc[np.resize(np.arange(len(own)), len(ids))]
        return pd.concat([rows[~is_spelling], repeated], ignore_index=True)

    @cached_property
    def _base_plain_lines(self) -> float:
        return self.plain_lines()

    def plain_lines(self) -> float:
        """Returns the exact match of plain lines of the validation words: what the model knows, as against says."""
        words = sorted(self.validation["word"].unique())
        prompts = self.tokenizer.encode_texts([PLAIN_LINE.format(word=word) for word in words])
        said = [self.tokenizer.decode(ids) for ids in self._answers(prompts)]
        return float(np.mean([text == DEFAULT_SEPARATOR.join(word) for word, text in zip(words, said, strict=True)]))

    def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
        """Trains one configuration and scores it along the way; the base model is restored afterwards.

        What an earlier attempt left in the monitor's folder is resumed.

        Raises:
            TrialFailedError: The configuration diverges or needs too much memory.
        """
        from spelling_transfer.training.errors import TrainingDivergedError, TrainingMemoryError

        try:
            with self._attached(config) as model:
                outcome = self._train(config, monitor, monitor)
                if outcome.verdict != "pruned":
                    self._save(model, config, monitor.folder / "adapter")
            return outcome
        except (TrainingDivergedError, TrainingMemoryError) as error:
            raise TrialFailedError(str(error)) from error

    def train_adapter(
        self, config: TrialConfig, target: Path, arm: TrainedArm = SPELLING_ARM
    ) -> tuple[ModelFolder, TrialOutcome]:
        """Trains one configuration as an arm to its end and writes its adapter to ``target``."""
        before = self._base_plain_lines
        self._training_examples(config.spelling, arm)  # before an adapter is attached: some are the model's own answers
        with self._attached(config) as model:
            outcome = self._train(config, lambda _: "complete", None, arm)
            outcome = outcome._replace(plain_lines=(before, self.plain_lines()))
            self._save(model, config, target, arm)
        return ModelFolder(target), outcome

    def _save(self, model: Any, config: TrialConfig, target: Path, arm: TrainedArm = SPELLING_ARM) -> None:
        from spelling_transfer.models.trainable import save_adapter

        identity = {"kind": "adapter", "arm": arm, "base_sha256": self.material.base.sha256}
        notes = {**identity, "config": config.model_dump(mode="json")}
        with new_folder(target, notes) as work:
            save_adapter(model, work, self.material.profile.hub_id or self.material.profile.name)

    @contextmanager
    def _attached(self, config: TrialConfig) -> Iterator[Any]:
        from spelling_transfer.models.trainable import attach_lora
        from spelling_transfer.training.run import seeded

        with seeded(config.training.seed, config.training.threads):  # the adapter starts from random numbers
            model = attach_lora(self.loaded, config.lora, self.material.profile.lora_targets)
        try:
            yield model
        finally:
            self.loaded.model = model.unload()

    def _train(
        self,
        config: TrialConfig,
        judge: Callable[[Evaluation], Verdict],
        monitor: Monitor | None,
        arm: TrainedArm = SPELLING_ARM,
    ) -> TrialOutcome:
        from pytorch_lightning.callbacks import LambdaCallback

        from spelling_transfer.training.callbacks import EverySteps
        from spelling_transfer.training.checkpoints import Checkpoints
        from spelling_transfer.training.run import seeded, train

        verdict: Verdict = "complete"
        curve = {each.step: each for each in monitor.curve} if monitor is not None else {}
        evaluated_at = 0
        bar: ProgressHandle | None = None

        def evaluate(step: int) -> bool:
            nonlocal verdict, evaluated_at
            if step not in curve:
                curve[step] = self.evaluate(step)
                if bar is not None:
                    bar.show(**{task: getattr(curve[step], task) for task in SCORED_TASKS})
            verdict, evaluated_at = judge(curve[step]), step
            return verdict != "complete"

        settings = config.training
        examples = self._training_examples(config.spelling, arm)
        evaluation = EverySteps(self.material.evaluate_every, evaluate)
        callbacks: list[Any] = [evaluation]
        checkpoints = None
        if monitor is not None:
            report = monitor.progress

            def catch_up(trainer: Any, *_: Any) -> None:
                if trainer.global_step:  # one that was stopped between a step and its score has no score there
                    evaluation.on_train_batch_end(trainer)

            # After the scores, before the checkpoint, which is written where this ends the run.
            told = LambdaCallback(
                on_train_start=catch_up, on_train_batch_end=lambda trainer, *_: report(trainer.global_step)
            )
            callbacks.append(told)
            checkpoints = Checkpoints(monitor.folder / "checkpoints", monitor.checkpoint_every)
        with ExitStack() as stack:
            if monitor is None:
                bar = stack.enter_context(
                    progress_bar(f"Training {arm}, seed {settings.seed}", total=settings.max_steps)
                )
            result = train(
                self.loaded,
                examples,
                settings,
                subset_rows=self._subset_rows(config),
                callbacks=callbacks,
                progress=bar,
                checkpoints=checkpoints,
                on_metrics=None if monitor is None else monitor.metrics,
            )
        if evaluated_at != result.steps:
            # With the trial's own threads, as the evaluations before: sums depend on their number.
            with seeded(settings.seed, settings.threads):
                evaluate(result.steps)
        scored = [curve[step] for step in sorted(curve) if step <= result.steps]
        return TrialOutcome(scored, result.losses[-1], result.steps, verdict)

    def _subset_rows(self, config: TrialConfig) -> torch.Tensor | None:
        import torch

        if not config.tokenizer.use_english_only_tokens:
            return None
        return torch.from_numpy(np.unique(self.loaded.vocabulary.known_rows(self.material.english_ids)))
