"""Nodes of the deployment check."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from kedro_non_thinking import Policy
from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.evaluation.questions import sample_test_examples
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.serving import DeploymentCheckSettings, EndpointSettings, LoadSettings, ServedSettings
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.subset import TokenSubset
from spelling_transfer.words.randomness import key_of, random_for
from spelling_transfer.words.word_sets import RANDOM, UNKNOWN_SPELLING

_MOST_UNSURE = 150
"""Questions about words that the model does not know; it is asked others beside them."""


class EndpointDisobeysError(SpellingTransferError):
    """The endpoint failed a check, so the deployable must not ship."""


def export(
    *,
    base_model: ModelFolder,
    best_adapter: ModelFolder,
    tokenizer: ChatTokenizer,
    english_subset: dict[str, Any],
    policy_rules: dict[str, Any],
    model_profile: ModelProfile,
    endpoint: EndpointSettings,
    settings: DeploymentCheckSettings,
) -> tuple[ModelFolder, dict[str, Any]]:
    """Merges the adapter into the base model, writes down how the result may be served, and tries to make it think.

    Returns:
        The deployable, and what the attempts to make it think led to.

    Raises:
        ModelThinksError: The merged model thinks, so that nothing is exported.
    """
    policy = Policy.model_validate(policy_rules)
    place = tempfile.TemporaryDirectory(prefix="spelling-transfer-")
    # Here, so that a command that looks at pipelines alone need not import the server.
    from spelling_transfer.serving import probe_merged, require_no_thoughts, write_deployable

    folder = write_deployable(
        base_model,
        best_adapter,
        model_profile,
        tokenizer,
        sampling=Sampling(**policy.sampling.model_dump()),
        allowed_ids=_answer_ids(english_subset, tokenizer, settings),
        settings=ServedSettings(**endpoint.model_dump(), engine=settings.engines[0], threads=settings.threads),
        target=Path(place.name) / "deployable",
    )
    probe = require_no_thoughts(probe_merged(folder, tokenizer, policy), model_profile.name)
    # The folder lives as long as its handle: until the catalog has copied it.
    return ModelFolder(folder.path, owner=place), probe


def _answer_ids(
    english_subset: dict[str, Any], tokenizer: ChatTokenizer, settings: DeploymentCheckSettings
) -> list[int] | None:
    if not settings.english_only:
        return None
    subset = TokenSubset.from_json(english_subset)
    subset.check_usable(tokenizer)
    ids: list[int] = subset.answer_ids.tolist()
    return ids


def probe_endpoint(
    *,
    deployable: ModelFolder,
    base_model: ModelFolder,
    best_adapter: ModelFolder,
    tokenizer: ChatTokenizer,
    english_subset: dict[str, Any],
    examples: pd.DataFrame,
    policy_rules: dict[str, Any],
    model_profile: ModelProfile,
    settings: DeploymentCheckSettings,
    load: LoadSettings,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Starts the endpoint, asks it what it must answer and must refuse, puts it under load, and stops it.

    What it must agree with is made here anew, from base, adapter, subset and policy, not from the deployable.
    """
    real = examples[examples["task"].isin(CORE_TASKS)]
    per_task = -(-settings.n_questions // real["task"].nunique()) if len(real) else settings.n_questions
    questions = sample_test_examples(real, per_task=per_task, per_other_word_set=0, seed=settings.seed)
    policy = Policy.model_validate(policy_rules)
    from spelling_transfer.models.load import load_model
    from spelling_transfer.serving import check_deployable
    from spelling_transfer.serving.reference import Reference

    device = None if settings.accelerator == "auto" else settings.accelerator
    reference = Reference(
        load_model(base_model, model_profile, best_adapter, device=device),
        tokenizer,
        Sampling(**policy.sampling.model_dump()),
        _answer_ids(english_subset, tokenizer, settings),
    )
    return check_deployable(
        deployable,
        tokenizer,
        questions,
        load_tasks(),
        policy=policy,
        settings=settings,
        load=load,
        reference=reference,
        unsure=_unsure_questions(examples),
    )


def _unsure_questions(examples: pd.DataFrame) -> list[str]:
    """Returns questions about letters of words that the model does not know, alone and two in one.

    A confident model draws the same token however it samples, and would show nothing of it. It does not know words
    that it was never told and strings, and less what to answer to two questions at once.
    """
    asked = examples[(examples["split"] == "test") & (examples["task"] == "position")]
    words = asked[asked["word_set"].isin((UNKNOWN_SPELLING, RANDOM))]["word"].unique()
    task = load_tasks()["position"]
    rng = random_for("unsure")
    places = [(word, place) for word in words for place in range(2, len(word) + 1)]
    chosen = sorted(places, key=lambda each: key_of("unsure", *each))[:_MOST_UNSURE]
    alone = [task.make(w, rng, template=task.templates[0], argument=str(place)).question for w, place in chosen]
    return [*alone, *(f"{one} {other}" for one, other in zip(alone[::2], alone[1::2], strict=False))]


def enforce(conformance: dict[str, Any], deployment_page: str, settings: DeploymentCheckSettings) -> None:
    """Ends the run with an error if the endpoint disobeyed; the page is an input so that it is written first.

    Raises:
        EndpointDisobeysError: A check failed and ``fail_on_violation`` is on.
    """
    failed = [check for check in conformance["checks"] if not check["passed"]]
    if failed and settings.fail_on_violation:
        shown = "\n".join(f"  {check['id']}: {check['requirement']}" for check in failed[:5])
        more = f"\n  and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise EndpointDisobeysError(
            f"The endpoint failed {len(failed)} of {conformance['n_checks']} checks and must not be served:\n"
            f"{shown}{more}\nEach is in 'conformance' and on 'deployment_page' with what was seen. To let a run end "
            "well in spite of them, set deployment_check.fail_on_violation to false."
        )
