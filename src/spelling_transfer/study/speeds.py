"""How fast a machine trains and answers: as measured on one card, or scaled from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from pydantic import Field

from spelling_transfer.frozen import FrozenModel
from spelling_transfer.models.profile import ModelShape
from spelling_transfer.study.config import StudyConfigError


class MeasuredSpeed(FrozenModel):
    """What was measured on one card; ``speeds.yml`` says where each figure comes from."""

    card: str
    model: str
    layer_weights: int = Field(gt=0)
    head_weights: int = Field(gt=0)
    examples_per_second: float = Field(gt=0)
    tokens_per_example: float = Field(gt=0)
    labels_per_example: float = Field(gt=0)
    step_at_least_s: float = Field(gt=0)
    answers_per_second: float = Field(gt=0)
    tokens_per_prompt: float = Field(gt=0)
    tokens_per_answer: int = Field(gt=0)
    import_s: float = Field(gt=0)
    ready_s: float = Field(gt=0)

    def example_work(self, layer_weights: int, head_weights: int, *, passes: int = 2) -> float:
        """Returns the multiplications and additions of training on one example.

        Two for each weight and token forwards and, as frozen weights need no gradient of their own, two backwards
        (Kaplan et al. 2020, arXiv:2001.08361, section 2.1); the head at labels alone.

        Args:
            layer_weights: Weights that multiply each token.
            head_weights: Weights that multiply each label.
            passes: Through the layers: 3 where their states are computed again for the gradient.
        """
        return 2 * passes * layer_weights * self.tokens_per_example + 4 * head_weights * self.labels_per_example

    def answer_work(self, layer_weights: int, head_weights: int, new_tokens: float) -> float:
        """Returns the same for one answer: its prompt is read, then each of its tokens goes through layers and head."""
        return 2 * layer_weights * (self.tokens_per_prompt + new_tokens) + 2 * head_weights * new_tokens


class Card(FrozenModel):
    """What a maker publishes of a card; ``efficiency`` is the share of it that is reached where none was measured."""

    teraflops: float = Field(gt=0)
    gigabytes_per_second: float = Field(gt=0)
    efficiency: float | None = Field(None, gt=0, le=1)


class Speeds(FrozenModel):
    """The content of ``speeds.yml``."""

    measured: MeasuredSpeed
    cards: dict[str, Card]


@cache
def read_speeds() -> Speeds:
    """Returns what is known of speeds."""
    text = Path(__file__).with_name("speeds.yml").read_text(encoding="utf-8")
    return Speeds.model_validate(yaml.safe_load(text))


@dataclass(frozen=True)
class Speed:
    """How fast one card works with one model.

    A time is the longest of three: arithmetic, at the share of the card's peak that the measured card reached; the
    weights' way through memory, at the published bandwidth; and for training what the smallest step takes. Several
    cards in one machine count as one: no speed of several was measured. The flops are multiplications and additions a
    second. The basis is ``measured``; ``scaled``, where card or model is another one; or ``guess``, where nothing was
    measured. The note is a sentence without its capital and full stop.
    """

    measured: MeasuredSpeed
    shape: ModelShape
    training_flops: float
    answering_flops: float
    bytes_per_second: float
    basis: str
    note: str

    def training_seconds(self, steps: int, examples_per_step: int, *, checkpointing: bool = False) -> float:
        """Returns the seconds of one training, from a process whose imports are done."""
        measured = self.measured
        work = examples_per_step * measured.example_work(*_weights(self.shape), passes=3 if checkpointing else 2)
        read = 2 * self._read_seconds  # forwards and backwards
        return measured.ready_s + steps * max(work / self.training_flops, read, measured.step_at_least_s)

    def answering_seconds(self, answers: int, new_tokens: int, *, side_by_side: int | None = None) -> float:
        """Returns the seconds of generating answers with a model that is ready; as measured, 1,024 go side by side."""
        work = answers * self.measured.answer_work(*_weights(self.shape), new_tokens)
        read = math.ceil(answers / (side_by_side or 1024)) * new_tokens * self._read_seconds
        return max(work / self.answering_flops, read)

    @property
    def _read_seconds(self) -> float:
        """Seconds in which the weights are read once."""
        return sum(_weights(self.shape)) * self.shape.bytes_per_weight / self.bytes_per_second


def find_speed(card: str, shape: ModelShape) -> Speed:
    """Returns the speed of a card with a model.

    Args:
        card: Its name, such as ``L4``; ``CPU`` for a machine without one.
        shape: The sizes of the model.

    Raises:
        StudyConfigError: Nothing is known of the card; those that are known are named.
    """
    cards, measured = read_speeds().cards, read_speeds().measured
    if card not in cards:
        raise StudyConfigError(f"{card}: no speed is known of this machine; known are {', '.join(cards)}.")
    here, there = cards[card], cards[measured.card]
    peak, bandwidth = here.teraflops * 1e12, here.gigabytes_per_second * 1e9
    if here.efficiency is not None:
        flops, note = peak * here.efficiency, f"a guess for {card}: {here.efficiency:.0%} of {here.teraflops:g} TFLOP/s"
        return Speed(measured, shape, flops, flops, bandwidth, "guess", note)
    known = (measured.layer_weights, measured.head_weights)
    share = here.teraflops / there.teraflops
    training = share * measured.examples_per_second * measured.example_work(*known)
    answering = share * measured.answers_per_second * measured.answer_work(*known, measured.tokens_per_answer)
    basis, note = "measured", f"measured: {measured.model} on one {measured.card}, benchmarks/results/h100.json"
    other = "" if _weights(shape) == known else f", {shape.name} by its arithmetic"
    if card != measured.card:
        other += (
            f", {card} by {here.teraflops:g} of {there.teraflops:,g} TFLOP/s and {here.gigabytes_per_second:,g} of "
            f"{there.gigabytes_per_second:,g} GB/s"
        )
    if other:
        basis = "scaled"
        note = f"scaled, not measured: {measured.model} on one {measured.card} (benchmarks/results/h100.json){other}"
    return Speed(measured, shape, training, answering, bandwidth, basis, note)


def _weights(shape: ModelShape) -> tuple[int, int]:
    """Returns the weights of layers and head."""
    return shape.layer_weights, shape.vocabulary_rows * shape.hidden_size
