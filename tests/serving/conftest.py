"""A deployable that wants to think, and one endpoint that serves it to all tests that only ask."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from json_server import Answer, json_server

from spelling_transfer.models.export import ALLOWED_IDS_FILE
from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.deployable import SETTINGS_FILE
from spelling_transfer.serving.process import RunningEndpoint, running_endpoint
from spelling_transfer.serving.settings import ServedSettings
from spelling_transfer.tokenizer.chat import ChatTokenizer

SAMPLING = Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)
MakeDeployable = Callable[..., ModelFolder]
Serve = Callable[[Answer], EndpointClient]
patient_endpoint = partial(running_endpoint, start_timeout_seconds=600, stop_timeout_seconds=120, accelerator="cpu")
"""Starts an endpoint; a busy machine is no failure."""
QUESTION = "How do you spell apple ?"
KNOWN_TEXTS = (
    QUESTION,
    "How do you spell banana ?",
    "How do you spell word ?",
    f"<think> {QUESTION} </think>",
    " ".join("abcdefghijklmnopqrstuvwxyz"),
    "a a",
)


@pytest.fixture(scope="session")
def make_deployable(tokenizer: ChatTokenizer) -> MakeDeployable:
    """A random Qwen3 with a trimmed vocabulary, whose logit of ``<think>`` is 50 above where it was."""

    def make(target: Path, settings: ServedSettings | None = None, allowed_ids: list[int] | None = None) -> ModelFolder:
        import torch
        from transformers import Qwen3Config, Qwen3ForCausalLM

        ids = {token for text in tokenizer.encode_texts(KNOWN_TEXTS) for token in text}
        ids |= {*tokenizer.prefix_ids, *tokenizer.suffix_ids, *tokenizer.think_ids, tokenizer.end_id}
        token_ids = sorted(ids)
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(token_ids),
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
                max_position_embeddings=128,
                tie_word_embeddings=False,
            )
        )
        # The first hidden number is kept constant on its way through the layers, so that it can carry a bias: after
        # the last norm it is near 5.6 (the root of 32, as it outweighs the rest), and only <think> listens to it.
        with torch.no_grad():
            model.model.embed_tokens.weight[:, 0] = 100.0
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight[0] = 0.0
                layer.mlp.down_proj.weight[0] = 0.0
            model.lm_head.weight[:] *= 1000.0
            model.lm_head.weight[:, 0] = 0.0
            model.lm_head.weight[token_ids.index(tokenizer.think_ids[0]), 0] = 50.0 / 5.6
        notes = {
            "kind": "deployable",
            "model": "wants-to-think",
            "enable_thinking": False,
            "sampling": SAMPLING.model_dump(),
            "tokenizer_sha256": tokenizer.sha256,
            "template_sha256": tokenizer.template_sha256,
        }
        with new_folder(target, notes) as work:
            model.save_pretrained(str(work))
            (work / TOKEN_IDS_FILE).write_text(json.dumps(token_ids))
            (work / SETTINGS_FILE).write_text((settings or ServedSettings()).model_dump_json())
            if allowed_ids is not None:
                (work / ALLOWED_IDS_FILE).write_text(json.dumps(allowed_ids))
        return ModelFolder(target)

    return make


@pytest.fixture(scope="session")
def deployable(make_deployable: MakeDeployable, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    settings = ServedSettings(
        default_max_tokens=8,
        max_tokens_limit=32,
        max_body_bytes=4096,
        max_batch_size=64,
        queue_timeout_seconds=600,  # a busy machine is no failure
        threads=1,
    )
    return make_deployable(tmp_path_factory.mktemp("models") / "deployable", settings)


@pytest.fixture(scope="session")
def endpoint(deployable: ModelFolder) -> Iterator[RunningEndpoint]:
    with patient_endpoint(deployable, environment={"OMP_NUM_THREADS": "1"}) as running:
        yield running
    assert running.stop_report is not None
    assert running.stop_report.clean


def patient_client(endpoint: RunningEndpoint) -> EndpointClient:
    return EndpointClient(endpoint.url, endpoint.model, timeout_seconds=600)


@pytest.fixture
def client(endpoint: RunningEndpoint) -> Iterator[EndpointClient]:
    with patient_client(endpoint) as opened:
        yield opened


@pytest.fixture
def served_by() -> Iterator[Serve]:
    """Starts small servers that answer each request as a function says, however wrong."""
    with ExitStack() as opened:

        def start(answer: Answer) -> EndpointClient:
            return opened.enter_context(EndpointClient(opened.enter_context(json_server(answer)), "m"))

        yield start


def completion(text: str, **beside: Any) -> tuple[int, dict[str, Any]]:
    message = {"role": "assistant", "content": text, **beside.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "token_ids": beside.pop("token_ids", [])}
    return 200, {
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        **beside,
    }
