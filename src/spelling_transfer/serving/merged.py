"""The probe of a merged model: asked without the mask on the think tokens, does it begin to think?

A merge of an adapter can wake habits that the base had unlearnt. Our own endpoint masks the think tokens, but the
folder is a model like any other, and another server would let it think.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kedro_non_thinking import Policy, ProbeReport, ask_model, run_probe
from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.vocabulary import UnknownTokenError
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.tokenizer.chat import ChatTokenizer

MAX_NEW_TOKENS = 24


class ModelThinksError(SpellingTransferError):
    """A merged model thinks, or cannot be asked, so it must not be exported."""


class _TooLongError(Exception):
    """A question does not fit into the context of the model."""


def probe_merged(folder: ModelFolder, tokenizer: ChatTokenizer, policy: Policy) -> ProbeReport:
    """Asks a deployable every question that may make it think, with no mask on its logits.

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
