"""Other engines than ours for the same greedy answers, think tokens masked: transformers' ``generate``, and MLX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.models.load import LoadedModel, base_of, load_merged
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE, Vocabulary, until_end
from spelling_transfer.tokenizer.chat import ChatTokenizer


class MlxMissingError(SpellingTransferError):
    """MLX is asked for where it is not installed."""


def transformers_answers(
    loaded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Generates greedy answers by ``generate`` of transformers, with nothing of ours but the mask of the think tags.

    What the model's folder says of generation (sampling, tokens to suppress) is put aside for the call.

    Args:
        loaded: The model, with or without an adapter.
        tokenizer: Says which token ends an answer and which are think tags.
        prompts: Token ids of each prompt.
        max_new_tokens: Longest answer, in tokens, the end token included.
        batch_size: Prompts that run side by side, padded on the left; 1 pads nothing.
        progress: Called with the number of prompts done after each batch.

    Returns:
        Token ids of each answer, the end token left out.

    Raises:
        ModelFolderError: The tokenizer is not the model's.
        UnknownTokenError: A prompt holds a token the model does not have.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from transformers import GenerationConfig

    from kedro_non_thinking import ThinkTokenMask

    loaded.check_tokenizer(tokenizer)
    model, vocabulary = base_of(loaded.model), loaded.vocabulary
    end = int(vocabulary.to_rows([tokenizer.end_id])[0])
    mask = ThinkTokenMask(vocabulary.known_rows(tokenizer.think_ids).tolist())
    answers: list[list[int]] = [[] for _ in prompts]
    own, model.generation_config = model.generation_config, GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        for places in _batches(prompts, batch_size):
            rows = [torch.from_numpy(vocabulary.to_rows(prompts[place])) for place in places]
            ids = pad_sequence(rows, batch_first=True, padding_value=end, padding_side="left")
            there = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
            with torch.inference_mode():
                found = model.generate(
                    input_ids=ids.to(loaded.device),
                    attention_mask=there.to(loaded.device),
                    do_sample=False,
                    max_new_tokens=max_new_tokens,
                    eos_token_id=end,
                    pad_token_id=end,
                    logits_processor=[mask],
                )
            for place, row in zip(places, found[:, ids.shape[1] :].tolist(), strict=True):
                answers[place] = vocabulary.to_ids(until_end(row, end)).tolist()
            if progress is not None:
                progress(len(places))
    finally:
        model.generation_config = own
    return answers


def _batches(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Yields places of prompts, neighbours in length together."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))


def load_mlx(folder: ModelFolder, profile: ModelProfile | None = None) -> tuple[Any, Vocabulary]:
    """Loads a model by ``mlx-lm``: a safetensors folder as torch reads it, or a quantised one of ``mlx_lm.convert``.

    Args:
        folder: The model's folder.
        profile: Its ``dtype`` is that of the weights, except in a quantised model; float32 without a profile.

    Returns:
        The model, and which token ids its rows are.

    Raises:
        MlxMissingError: ``mlx-lm`` is not installed.
        ModelFolderError: The folder is missing, altered, or holds no model that ``mlx-lm`` knows.
    """
    try:
        import mlx.core as mx
        from mlx.utils import tree_map
        from mlx_lm import utils
    except ImportError as error:
        raise MlxMissingError(
            f"MLX needs mlx-lm, which cannot be imported ({error}). On an Apple Silicon Mac it comes with this "
            "project, on Linux install 'mlx-lm[cpu]'. Or let torch compute (difficulty.backend: torch)."
        ) from error
    path = ModelFolder.open(folder.path).path
    try:
        model, config = utils.load_model(path, model_config=with_rope(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFolderError(f"{path}: cannot be loaded by mlx-lm ({error}).") from error
    if "quantization" not in config:
        dtype = getattr(mx, profile.dtype if profile else "float32")
        model.update(tree_map(lambda weight: weight.astype(dtype), model.parameters()))
    return model, Vocabulary.of_folder(path, int(config["vocab_size"]))


@contextmanager
def merged_folder(
    base: ModelFolder, adapter: ModelFolder | None, profile: ModelProfile | None
) -> Iterator[ModelFolder]:
    """Yields a folder of base and adapter in one, for engines that know no adapter; it is gone after the block.

    Raises:
        ModelFolderError: The adapter belongs to another base, or a folder cannot be loaded.
    """
    if adapter is None:
        yield base
        return
    merged = load_merged(base, profile, adapter).model
    with TemporaryDirectory(prefix="spelling-transfer-") as place:
        merged.save_pretrained(place, safe_serialization=True)
        if (base.path / TOKEN_IDS_FILE).is_file():
            shutil.copyfile(base.path / TOKEN_IDS_FILE, Path(place) / TOKEN_IDS_FILE)
        yield ModelFolder(Path(place))


def mlx_answers(
    model: Any,
    vocabulary: Vocabulary,
    tokenizer: ChatTokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Generates greedy answers by ``mlx-lm``; arguments and result as of :func:`transformers_answers`.

    Args:
        model: The model of :func:`load_mlx`.
        vocabulary: Which token ids its rows are.
        tokenizer: Says which token ends an answer and which are think tags.
        prompts: Token ids of each prompt.
        max_new_tokens: Longest answer, in tokens, the end token included.
        batch_size: Prompts that run side by side.
        progress: Called with 1 for each prompt that is done.
    """
    from mlx_lm.generate import BatchGenerator

    from kedro_non_thinking import MlxThinkTokenMask

    generator: Any = BatchGenerator(
        model,
        stop_tokens=[vocabulary.to_rows([tokenizer.end_id]).tolist()],
        logits_processors=[MlxThinkTokenMask(vocabulary.known_rows(tokenizer.think_ids).tolist())],
        completion_batch_size=batch_size,
        prefill_batch_size=batch_size,
    )
    rows = [vocabulary.to_rows(prompt).tolist() for prompt in prompts]
    names = generator.insert(rows, [max_new_tokens] * len(rows))
    answers: dict[int, list[int]] = {name: [] for name in names}
    while responses := generator.next_generated():
        for response in responses:
            if response.finish_reason != "stop":
                answers[response.uid].append(response.token)
            if response.finish_reason is not None and progress is not None:
                progress(1)
    generator.close()
    return [vocabulary.to_ids(answers[name]).tolist() for name in names]


def with_rope(path: Path) -> dict[str, Any]:
    """Returns what transformers 5 keeps under ``rope_parameters``, where mlx-lm reads it of most models."""
    config = json.loads((path / "config.json").read_text())
    rope = config.get("rope_parameters") or {}
    found = {"rope_theta": rope.get("rope_theta")}
    if rope.get("rope_type", "default") != "default":  # as Llama 3's
        found["rope_scaling"] = rope
    return {name: value for name, value in found.items() if value is not None and config.get(name) is None}
