"""A deployable that wants to think, and one endpoint that serves it to all tests that only ask."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

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
Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]
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
def make_deployable(tokenizer: ChatTokenizer) -> Callable[..., ModelFolder]:
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
def deployable(make_deployable: Callable[..., ModelFolder], tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
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
    with running_endpoint(
        deployable,
        start_timeout_seconds=600,  # a busy machine is no failure
        stop_timeout_seconds=120,
        accelerator="cpu",
        environment={"OMP_NUM_THREADS": "1"},
    ) as running:
        yield running
    assert running.stop_report is not None
    assert running.stop_report.clean


@pytest.fixture
def client(endpoint: RunningEndpoint) -> Iterator[EndpointClient]:
    with EndpointClient(endpoint.url, endpoint.model, timeout_seconds=600) as opened:
        yield opened


@pytest.fixture
def served_by() -> Iterator[Callable[[Answer], EndpointClient]]:
    """Starts small servers that answer each request as a function says, however wrong."""
    servers: list[ThreadingHTTPServer] = []
    clients: list[EndpointClient] = []

    def start(answer: Answer) -> EndpointClient:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(*answer(body))

            def do_GET(self) -> None:
                self._send(200, {"model": {"settings": {"max_choices": 64}}})

            def _send(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        clients.append(EndpointClient(f"http://127.0.0.1:{server.server_port}", "m"))
        return clients[-1]

    yield start
    for client in clients:
        client.__exit__(None, None, None)
    for server in servers:
        server.shutdown()
        server.server_close()


def completion(text: str, **beside: Any) -> tuple[int, dict[str, Any]]:
    message = {"role": "assistant", "content": text, **beside.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "token_ids": beside.pop("token_ids", [])}
    return 200, {
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        **beside,
    }
