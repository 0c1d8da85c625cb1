"""Settings of the evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spelling_transfer.frozen import FrozenModel
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.tasks.arms import PromptedArm
from spelling_transfer.tasks.registry import TRAINED_TASK

Decoding = Literal["policy_sampling", "advised_sampling", "english_subset"]


class VerdictSettings(FrozenModel):
    """What has to hold before the question of the study is answered, and what counts as an answer."""

    dose: float = Field(
        0.05,
        ge=0.0,
        lt=1.0,
        description="Share by which the spelling arm has to spell better than control and base, interval included.",
    )
    ceiling: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="Share by which direct training has to exceed control and base in its task, interval included.",
    )
    negligible: float = Field(0.05, gt=0.0, lt=1.0, description="No transfer: its whole interval is below this share.")
    seed_spread: float = Field(
        0.02,
        ge=0.0,
        lt=0.5,
        description="Assumed standard deviation of a training seed's effect, for arms of fewer than three seeds.",
    )
    base_above_guess: float = Field(
        0.15,
        ge=0.0,
        lt=1.0,
        description="Least lead of a suitable base model over the best guess in each task, as a share.",
    )
    base_invalid: float = Field(
        0.02,
        ge=0.0,
        le=1.0,
        description="Largest share of invalid answers of a suitable base model.",
    )
    base_room: float = Field(
        0.08,
        ge=0.0,
        lt=1.0,
        description="Share of wrong answers that the base model has to leave in position and count, as room to rise; "
        "in spelling the dose.",
    )

    def room(self, task: str) -> float:
        """Returns the share of wrong answers that a base model has to leave in a task."""
        return self.dose if task == TRAINED_TASK else self.base_room


class LayerProbes(FrozenModel):
    """Whether linear probes read the right answers from each layer of every arm, and what they are fitted to."""

    enabled: bool = Field(False, description="Whether to probe; the rest of the evaluation does not need it.")
    training_families: int = Field(
        500, ge=100, le=100_000, description="Word families a probe of a task is fitted to at most, one question each."
    )


class EvaluationSettings(FrozenModel):
    """Which questions are asked in the evaluation, how they are answered and how intervals are made."""

    examples_per_task: int = Field(
        600, ge=10, le=100_000, description="Questions of each task on words of held-out families, one per family."
    )
    examples_per_other_word_set: int = Field(
        150,
        ge=0,
        le=100_000,
        description="Questions of each task on each other word set (random strings, unseen tokens).",
    )
    examples_per_trained_words: int = Field(
        200, ge=0, le=100_000, description="Questions of each task on words of which spelling alone is trained."
    )
    prompted: tuple[PromptedArm, ...] = Field((), description="Other ways of asking the base model; see tasks/arms.py.")
    shots: int = Field(3, ge=1, le=32, description="Solved questions before each, for few_shots.")
    decodings: tuple[Decoding, ...] = Field(
        (), description="Other decodings, in addition to greedy; see evaluation/decodings.py."
    )
    samples: int = Field(5, ge=2, le=100, description="Answers sampled per question, for decodings that sample.")
    ask_again: bool = Field(
        False, description="Generate all answers again, also those of earlier evaluations; see kept_answers."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the choice of questions and of the bootstrap.")
    max_new_tokens: int = Field(32, ge=1, le=512, description="Longest answer, in tokens.")
    batch_size: int | None = Field(
        None, ge=1, le=4096, description="Questions that are answered side by side; by default 1024 on a GPU, else 256."
    )
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads; sums depend on their number. Null: one per physical core."
    )
    confidence: float = Field(0.95, ge=0.5, lt=1.0, description="Confidence level of all intervals.")
    n_resamples: int = Field(9_999, ge=999, le=1_000_000, description="Bootstrap resamples of word families.")
    verdict: VerdictSettings = Field(default_factory=VerdictSettings, description="Thresholds of the verdict.")
    layer_probes: LayerProbes = Field(
        default_factory=LayerProbes,
        description="Probes of each layer: what the model knows, compared with its answers.",
    )

    @property
    def bootstrap(self) -> Bootstrap:
        """How families are resampled."""
        return Bootstrap(self.confidence, self.n_resamples, self.seed)
