"""The whole check of a deployable: start its endpoint, ask, put it under load, stop it, and say whether it obeys."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kedro_non_thinking import Policy
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.attacks import check_attacks
from spelling_transfer.serving.checks import Check
from spelling_transfer.serving.client import EndpointClient, Reply
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.load import LoadSettings, measure_load
from spelling_transfer.serving.probes import (
    check_accepted,
    check_answers,
    check_refusals,
    check_settings,
)
from spelling_transfer.serving.process import StopReport, running_endpoint
from spelling_transfer.serving.settings import API_KEY_VARIABLE, DeploymentCheckSettings
from spelling_transfer.tasks.base import Task
from spelling_transfer.tokenizer.chat import ChatTokenizer


def check_deployable(
    deployable: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    tasks: dict[str, Task],
    *,
    policy: Policy,
    settings: DeploymentCheckSettings,
    load: LoadSettings,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Starts the endpoint of a deployable once and finds out whether it obeys and how fast it is.

    Args:
        deployable: The folder to serve.
        tokenizer: The tokenizer of training.
        examples: The questions to ask, with ``task``, ``question``, ``answer`` and what the tasks need to mark them.
        tasks: Tasks by name, for marking.
        policy: The rules, which say how the endpoint is attacked.
        settings: How the endpoint is started and stopped.
        load: How much load it gets.

    Returns:
        The conformance (``obeys``, every check with its evidence, the answers) and the load profile.

    Raises:
        EndpointError: The endpoint does not start.
    """
    card = read_card(deployable)
    questions = [str(question) for question in examples["question"]]
    with (
        running_endpoint(
            deployable,
            start_timeout_seconds=settings.start_timeout_seconds,
            stop_timeout_seconds=settings.stop_timeout_seconds,
            accelerator=settings.accelerator,
            environment={} if settings.threads is None else {"OMP_NUM_THREADS": str(settings.threads)},
            unset=(API_KEY_VARIABLE,),  # the check is about this endpoint, not about the user's key
        ) as endpoint,
        EndpointClient(endpoint.url, endpoint.model) as client,
    ):
        answer_checks, replies = check_answers(client, tokenizer, questions)
        checks = [
            *check_refusals(client, card.sampling),
            *check_accepted(client, card.sampling, questions[0]),
            *check_attacks(endpoint.url, endpoint.model, tokenizer, policy),
            *answer_checks,
            *check_settings(client, card.sampling),
        ]
        profile = measure_load(client, questions, load, endpoint.memory_mib)
    assert endpoint.stop_report is not None
    checks += [_check_load(profile), _check_stop(endpoint.stop_report)]
    conformance = {
        "obeys": all(check.passed for check in checks),
        "model": card.model,
        "fingerprint": card.fingerprint,
        "sampling": card.sampling.model_dump(),
        "n_checks": len(checks),
        "n_failed": sum(not check.passed for check in checks),
        "checks": [check.as_dict() for check in checks],
        "answers": _answers(examples, replies, tasks),
    }
    return conformance, profile


def _check_load(profile: pd.DataFrame) -> Check:
    n_failed = int(profile["n_failed"].sum())
    return Check(
        "answers/under-load",
        "Every request is answered, also with several clients at once.",
        n_failed == 0,
        {"n_requests": int(profile["n_requests"].sum()), "n_failed": n_failed},
    )


def _check_stop(report: StopReport) -> Check:
    return Check(
        "stops/clean",
        "The endpoint ends when asked, with no process left and its port released.",
        report.clean,
        {
            "n_processes_left": report.n_processes_left,
            "port_released": report.port_released,
            "had_to_be_killed": report.killed,
        },
    )


def _answers(examples: pd.DataFrame, replies: list[Reply], tasks: dict[str, Task]) -> list[dict[str, Any]]:
    return [
        {
            "task": row.task,
            "question": row.question,
            "answer": row.answer,
            "output": reply.text,
            "exact": bool(reply.ok and tasks[str(row.task)].mark(row, reply.text).exact),  # type: ignore[arg-type]
            "token_ids": reply.token_ids,
        }
        for row, reply in zip(examples.itertuples(index=False), replies, strict=True)
    ]
