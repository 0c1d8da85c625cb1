"""How long the nodes that train and answer take on a rented machine; ``estimates`` in ``compute.yml`` names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kedro_lightning import NodeTime
from spelling_transfer.evaluation import EvaluationSettings
from spelling_transfer.evaluation.decodings import DECODED_ARMS
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.study.arms import ArmSettings
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.estimates import arms_seconds, check_memory, planned_configs, study_seconds
from spelling_transfer.study.space import read_space
from spelling_transfer.study.speeds import Speed, find_speed
from spelling_transfer.tasks.registry import CORE_TASKS, UNTRAINED_TASKS, load_tasks
from spelling_transfer.words import WORD_SETS

if TYPE_CHECKING:
    from kedro_lightning.platform.machines import Machine

_LEFT_OUT = "The machine's start and the model's way there are not in it."
_FIT_SECONDS = 0.5
"""Of one probe at a width of 2,560 with 500 families, on two CPU cores: 0.2 to 0.4 were measured."""
Parameters = Mapping[str, Any]


def estimate_node(node: str, machine: Machine, parameters: Parameters) -> NodeTime:
    """Returns how long a node takes at most: pruning and patience end trials earlier, and answers end by themselves.

    Args:
        node: Its name.
        machine: What it would run on; several cards count as one.
        parameters: The run's.

    Raises:
        StudyConfigError: The study has nothing to try, or its model does not fit its machine.
    """
    seconds = _NODES.get(node)
    if seconds is None:
        return NodeTime(None, note="its speed was never measured.")
    profile = ModelProfile.model_validate(parameters["model_profile"])
    if profile.shape is None:
        return NodeTime(None, note=f"model_profile.shape of {profile.name} is not set.")
    try:
        speed = find_speed(machine.family.upper(), profile.shape)
    except StudyConfigError as error:
        return NodeTime(None, note=str(error))
    return NodeTime(seconds(parameters, speed), speed.basis, f"{speed.note[0].upper()}{speed.note[1:]}. {_LEFT_OUT}")


def _run_study(parameters: Parameters, speed: Speed) -> float:
    return study_seconds(_configs(parameters), _study(parameters), speed)


def _train_arms(parameters: Parameters, speed: Speed) -> float:
    return arms_seconds(_configs(parameters), _arms(parameters), _study(parameters), speed)


def _answer(parameters: Parameters, speed: Speed) -> float:
    settings, arms = EvaluationSettings.model_validate(parameters["evaluation"]), _arms(parameters)
    runs = len(arms.trained) * arms.seeds
    others = settings.examples_per_other_word_set * (len(WORD_SETS) - 1)
    answers = 2 * len(load_tasks()) * (settings.examples_per_task + others)
    answers += (runs - 1) * len(CORE_TASKS) * settings.examples_per_task
    drawn = {"policy_sampling": settings.samples, "advised_sampling": settings.samples}
    draws = sum(drawn.get(decoding, 1) for decoding in settings.decodings)
    answers += draws * len(DECODED_ARMS) * len(CORE_TASKS) * settings.examples_per_task
    start = speed.measured.import_s + (1 + runs) * speed.measured.ready_s
    return start + speed.answering_seconds(answers, settings.max_new_tokens, side_by_side=settings.batch_size)


def _probe_layers(parameters: Parameters, speed: Speed) -> float:
    settings, runs = EvaluationSettings.model_validate(parameters["evaluation"]), 1 + len(_arms(parameters).trained)
    if not settings.layer_probes.enabled:
        return 0.0
    questions = runs * len(UNTRAINED_TASKS) * (settings.layer_probes.training_families + settings.examples_per_task)
    fits = runs * len(UNTRAINED_TASKS) * (speed.shape.layers + 1)
    return runs * speed.measured.ready_s + speed.answering_seconds(questions, 1) + fits * _FIT_SECONDS


def _configs(parameters: Parameters) -> list[TrialConfig]:
    study, trial = _study(parameters), TrialConfig.model_validate(parameters["trial"])
    space = read_space(study.space, trial)
    check_memory(space, study, ModelProfile.model_validate(parameters["model_profile"]))
    return planned_configs(space, study)


def _study(parameters: Parameters) -> StudySettings:
    return StudySettings.model_validate(parameters["study"])


def _arms(parameters: Parameters) -> ArmSettings:
    return ArmSettings.model_validate(parameters["arms"])


_NODES: dict[str, Callable[[Parameters, Speed], float]] = {
    "tuning.run_study": _run_study,
    "tuning.train_arms": _train_arms,
    "evaluation.answer": _answer,
    "evaluation.probe_layers": _probe_layers,
}
