"""Learning curves without training: a smooth surrogate of the embedded model's study, for comparing searches.

It is **not** training, and no score of it says anything about spelling. Real trials of the embedded model cannot tell
one search from another: in the steps a laptop has for a trial they move position and count, which the transfer score is
made of, by less than the noise of a few hundred questions. (Measured with training/embedded.yml, 45 steps and 150
questions a task: spelling 32.0% before and 39.3% after, position 30.7% and 28.0%, count 28.7% and 30.0%.)

What is kept of the real thing: the configurations of search_spaces/embedded.yml, their cost in steps, scores along the
way, the base scores and the gain in spelling, and the noise of scores that are shares of right answers on as many
questions as a study asks. What is assumed, and the same for every search:

- progress is the learning rate summed over the steps, so the schedule, the scale ``alpha / r`` and ``max_steps`` act
  together;
- position and count gain most where they are trained themselves, spelling where it is;
- too high a rate loses what it gained, small ranks and small steps limit it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spelling_transfer.study.config import TrialConfig
from spelling_transfer.study.interfaces import Evaluation

BASE = {"spelling": 0.320, "position": 0.307, "count": 0.287}
GAIN = {"spelling": 0.20, "position": 0.22, "count": 0.22}
QUESTIONS = 200
"""Validation questions of a task, as in the study."""

_BEST_RATE = 2e-3
_USEFUL_PROGRESS = 0.035
"""Summed learning rate at which 63% of the gain is reached, at alpha / r = 2 and 64 examples a step."""


def rate_at(step: int, config: TrialConfig) -> float:
    """Returns the learning rate of a step (1-based), as the trainer schedules it: warm-up, then a cosine."""
    training = config.training
    if step <= training.warmup_steps:
        return training.learning_rate * step / training.warmup_steps
    done = (step - training.warmup_steps) / max(1, training.max_steps - training.warmup_steps)
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def expected_scores(config: TrialConfig, step: int) -> dict[str, float]:
    """Returns each task's expected share of right answers after so many steps."""
    scale = math.sqrt(config.lora.alpha / config.lora.r / 2)
    size = config.training.batch_size * config.training.grad_accum_steps
    progress = scale * sum(rate_at(each, config) for each in range(1, step + 1)) * (size / 64) ** 0.3
    learnt = 1 - math.exp(-progress / _USEFUL_PROGRESS)
    too_high = max(0.0, math.log(scale * config.training.learning_rate / _BEST_RATE))
    able = math.exp(-0.8 * too_high**2) * (1 - 0.25 / math.sqrt(config.lora.r)) * min(1.0, (size / 32) ** 0.15)
    difficulty = {"all": 1.0, "medium": 0.95, "hard": 0.85, "easy": 0.8}[config.spelling.spelling_difficulty]
    ratio = config.spelling.spelling_data_ratio
    trained = {"spelling": ratio**0.4 * difficulty, "position": 0.3 * ratio + 1.2 * math.sqrt(1 - ratio) / 1.4}
    trained["count"] = trained["position"] * 0.8
    subset = 1.0 if config.tokenizer.use_english_only_tokens else 0.97
    return {task: BASE[task] + GAIN[task] * trained[task] * able * subset * learnt for task in BASE}


def evaluate(config: TrialConfig, step: int) -> Evaluation:
    """Returns the scores of a trial after so many steps; the questions a seed has luck with are the same throughout."""
    luck = np.random.default_rng([config.training.seed, 77]).random((len(BASE), QUESTIONS))
    scores: dict[str, Any] = {
        task: float((luck[place] < share).mean())
        for place, (task, share) in enumerate(expected_scores(config, step).items())
    }
    return Evaluation(step, scores["spelling"], scores["position"], scores["count"])
