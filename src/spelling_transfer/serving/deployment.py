"""The whole check of a deployable: its weights asked without a mask, its endpoint asked, put under load and stopped."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import pandas as pd

from kedro_non_thinking import Policy, ProbeReport, ask_model, run_probe
from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import cpu_threads
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.vocabulary import UnknownTokenError
from spelling_transfer.serving.checks import (
    Check,
    check_accepted,
    check_answers,
    check_attacks,
    check_refusals,
    check_settings,
)
from spelling_transfer.serving.client import EndpointClient, LoadSettings, Reply, measure_load
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.faults import InFlight, check_faults, check_key, check_stopped_worker
from spelling_transfer.serving.process import StopReport, running_endpoint
from spelling_transfer.serving.reference import (
    Reference,
    check_answer_tokens,
    check_masks,
    check_merge,
    check_same_answers,
    check_sampling,
)
from spelling_transfer.serving.settings import (
    API_KEY_VARIABLE,
    API_KEYS_FILE_VARIABLE,
    DeploymentCheckSettings,
    Engine,
)
from spelling_transfer.tasks.base import Task
from spelling_transfer.tokenizer.chat import ChatTokenizer

_ENGINE_PACKAGES = ("fastapi", "uvicorn", "torch", "transformers")


def check_deployable(
    deployable: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    tasks: dict[str, Task],
    *,
    policy: Policy,
    settings: DeploymentCheckSettings,
    load: LoadSettings,
    reference: Reference,
    unsure: Sequence[str] = (),
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Starts the endpoint of a deployable, once with each engine, and finds out whether it obeys and how fast it is.

    Args:
        deployable: The folder to serve.
        tokenizer: The tokenizer of training.
        examples: The questions to ask, with ``task``, ``question``, ``answer`` and what the tasks need to mark them.
        tasks: Tasks by name, for marking.
        policy: The rules, which say how the endpoint is attacked.
        settings: How the endpoint is started and stopped.
        load: How much load it gets.
        reference: Base and adapter, with which the endpoint must agree.
        unsure: Questions of which the model is not confident: a confident one draws alike in each way to sample.

    Returns:
        The conformance (``obeys``, every check with its evidence, the answers) and the load profile, whose rows name
        their ``engine``. Checks of another engine than the first begin with its name: ``vllm/answers/answered``.

    Raises:
        EndpointError: The endpoint does not start.
        VllmError: vLLM is to be checked, and is not there or does not start.
    """
    card = read_card(deployable)
    questions = [str(question) for question in examples["question"]]
    texts = [*unsure, *questions, *map(str, examples["word"]), *map(str, examples["answer"])]
    served = _Served(deployable, tokenizer, questions, texts, policy, settings, load, reference)
    checks, profiles, said = [], [], {}
    with cpu_threads(card.settings.threads):
        for place, engine in enumerate(settings.engines):
            found, replies, profile, versions = served.check(engine)
            # The first engine's checks are known by their names alone, the others' by their engine's before it.
            checks += [replace(check, id=f"{engine}/{check.id}") if place else check for check in found]
            profiles.append(profile.assign(engine=engine))
            said[engine] = {"versions": versions, "answers": _answers(examples, replies, tasks)}
    conformance = {
        "obeys": all(check.passed for check in checks),
        "model": card.model,
        "fingerprint": card.fingerprint,
        "sampling": card.sampling.model_dump(),
        "settings": card.settings.model_dump(),
        "device": reference.loaded.device.type,
        "n_checks": len(checks),
        "n_failed": sum(not check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
        **said.pop(settings.engines[0]),
        "other_engines": said,
    }
    return conformance, pd.concat(profiles, ignore_index=True)


@dataclass(frozen=True)
class _Served:
    """What is served and asked, whatever engine answers."""

    deployable: ModelFolder
    tokenizer: ChatTokenizer
    questions: list[str]
    texts: list[str]
    policy: Policy
    settings: DeploymentCheckSettings
    load: LoadSettings
    reference: Reference

    def check(self, engine: Engine) -> tuple[list[Check], list[Reply], pd.DataFrame, dict[str, str]]:
        """Returns the checks, the answers to the questions, the load profile and the versions of libraries."""
        card = read_card(self.deployable, engine)
        settings, reference, questions = self.settings, self.reference, self.questions
        key = secrets.token_hex(24)
        versions = {name: version(name) for name in _ENGINE_PACKAGES}
        with ExitStack() as afterwards:
            checks = self._check_model(masks=engine == "slots")
            if engine == "vllm":
                checks += self._check_vllm(versions)
            with running_endpoint(
                self.deployable,
                start_timeout_seconds=settings.start_timeout_seconds,
                stop_timeout_seconds=settings.stop_timeout_seconds + card.settings.drain_seconds,
                accelerator=reference.loaded.device.type,
                engine=engine,
                environment={API_KEY_VARIABLE: key},  # one of this check's own, never the user's
                unset=(API_KEYS_FILE_VARIABLE,),
                limit_rates=False,
            ) as endpoint:
                client = afterwards.enter_context(EndpointClient(endpoint.url, endpoint.model, api_key=key))
                answer_checks, replies = check_answers(client, self.tokenizer, questions)
                checks += [
                    *check_refusals(client, card.sampling),
                    *check_accepted(client, card.sampling, questions[0]),
                    *check_attacks(endpoint.url, endpoint.model, self.tokenizer, self.policy, api_key=key),
                    *answer_checks,
                    *check_answer_tokens(reference, questions, replies),
                    *check_sampling(client, reference, self.texts),
                    *check_settings(client, card.sampling, card.settings),
                    *check_key(endpoint.url, client, questions[0]),
                    *check_faults(endpoint.url, client, questions[0]),
                    *check_stopped_worker(client, endpoint.worker()),
                ]
                if engine == "slots":  # the same seed is another draw elsewhere
                    checks.append(check_same_answers(reference, questions, replies, card.settings.default_max_tokens))
                profile = measure_load(client, questions, self.load, endpoint.memory_mib)
                in_flight = InFlight(client, questions[0])
            checks.append(in_flight.check())
        assert endpoint.stop_report is not None
        checks += [_check_load(profile), _check_stop(endpoint.stop_report)]
        return checks, replies, profile, versions

    def _check_model(self, *, masks: bool) -> list[Check]:
        """Checks what can be checked without an endpoint, with the engine that answers in it."""
        import torch

        wanted, reference, questions = self.settings.accelerator, self.reference, self.questions
        engine = AnswerEngine.load(self.deployable, None if wanted == "auto" else wanted)
        checks = [
            _check_subset(engine, reference),
            *check_merge(reference, engine.loaded, questions),
            *(check_masks(engine, reference, questions) if masks else ()),
        ]
        on_gpu = engine.loaded.device.type == "cuda"
        del engine
        if on_gpu:
            torch.cuda.empty_cache()  # the endpoint's process needs the place
        return checks

    def _check_vllm(self, versions: dict[str, str]) -> list[Check]:
        from spelling_transfer.serving.vllm_checks import check_vllm
        from spelling_transfer.serving.vllm_engine import running_vllm

        device = self.reference.loaded.device.type
        with running_vllm(self.deployable, device, self.settings.start_timeout_seconds) as vllm:
            versions["vllm"] = vllm.version
            return list(check_vllm(vllm, self.reference, self.questions))


def _check_subset(engine: AnswerEngine, reference: Reference) -> Check:
    served, wanted = engine.allowed_ids, reference.answer_ids
    same = (served is None) == (wanted is None) and set(served or ()) == set(wanted or ())
    return Check(
        "filter/subset",
        "The tokens an answer may hold are those of the English subset of this tokenizer.",
        same,
        {"n_served": None if served is None else len(served), "n_wanted": None if wanted is None else len(wanted)},
    )


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
        "The endpoint shuts down on request, with no process left and its port released.",
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


MAX_NEW_TOKENS = 24


class ModelThinksError(SpellingTransferError):
    """A merged model thinks, or cannot be asked, so it must not be exported."""


class _TooLongError(Exception):
    """A question does not fit into the context of the model."""


def probe_merged(folder: ModelFolder, tokenizer: ChatTokenizer, policy: Policy) -> ProbeReport:
    """Asks a deployable every question that may make it think, with no mask on its logits.

    A merge of an adapter can wake habits that the base had unlearnt. Our own endpoint masks the think tokens, but the
    folder is a model like any other, and another server would let it think.

    Args:
        folder: The deployable.
        tokenizer: The tokenizer of training.
        policy: The rules, which say what is asked and what a thought is.

    Raises:
        ModelFolderError: The folder cannot be loaded.
    """
    loaded = load_model(folder, read_card(folder).profile)
    ask = ask_model(
        tokenizer.encode_prompts,
        lambda prompts: [_most_likely(loaded, tokenizer, prompt) for prompt in prompts],
        lambda ids: tokenizer.tokenizer.decode(list(ids), skip_special_tokens=False),
        refusals=(UnknownTokenError, _TooLongError),
    )
    return run_probe(ask, policy, prompt_end=tokenizer.end_without_tags)


def require_no_thoughts(report: ProbeReport, model: str) -> dict[str, Any]:
    """Returns a report that may be kept as evidence.

    Raises:
        ModelThinksError: An attempt led to a thought, or none was answered.
    """
    if not report.passed:
        failed = [result for result in report.results if not result.passed]
        shown = "\n".join(f"  {result.name}: {'; '.join(result.problems)}" for result in failed[:5])
        more = f"\n  and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise ModelThinksError(
            f"{model}: merged with its adapter, the model fails {len(failed)} attempts to make it think, so it was not "
            f"exported:\n{shown}{more}\nLook for thoughts in the examples it was trained on ('kedro policy check'), "
            "train the adapter again with 'kedro run --pipelines=tuning', then export again."
        )
    return report.as_dict()


def _most_likely(loaded: LoadedModel, tokenizer: ChatTokenizer, prompt: Sequence[int]) -> list[int]:
    """Returns the most likely answer, up to and including the first think token; the end token is left out."""
    import torch

    longest = loaded.model.config.max_position_embeddings - MAX_NEW_TOKENS
    if len(prompt) > longest:
        raise _TooLongError(f"{len(prompt)} tokens, of which {longest} fit")
    end_row = int(loaded.vocabulary.to_rows([tokenizer.end_id])[0])
    think_rows = set(loaded.vocabulary.known_rows(tokenizer.think_ids).tolist())
    step = torch.from_numpy(loaded.vocabulary.to_rows(prompt)).long().to(loaded.device)[None]
    answer: list[int] = []
    cache = None
    with torch.inference_mode():
        for _ in range(MAX_NEW_TOKENS):
            out = loaded.model(input_ids=step, use_cache=True, logits_to_keep=1, **{loaded.cache_name: cache})
            cache, step = out[loaded.cache_name], out.logits[:, -1].argmax(-1, keepdim=True)
            row = int(step)
            if row == end_row:
                break
            answer.append(row)
            if row in think_rows:
                break
    return [int(token) for token in loaded.vocabulary.to_ids(answer)]
