"""A deployable as a folder that any tool opens: ids from 0, a tokenizer beside it, a template that cannot think."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kedro_non_thinking import non_thinking_template
from spelling_transfer.models.engines import with_rope
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.tokenizer.chat import ChatTokenizer, embedded_folder
from spelling_transfer.tokenizer.plain import PlainTokenizer, plain_tokenizer

if TYPE_CHECKING:
    import torch


def write_plain(
    loaded: LoadedModel,
    tokenizer: ChatTokenizer,
    sampling: Sampling,
    target: Path,
    *,
    allowed_ids: Sequence[int] | None = None,
    trim: bool = False,
    tokenizer_folder: Path | None = None,
) -> None:
    """Writes a merged model for transformers, vLLM, lm-eval, mlx-lm and the like.

    A trimmed model, and one that is trimmed here, lacks tokens that its tokenizer needs to read any text. Each gets the
    mean of the rows of its two parts (a byte the mean of all rows): its logit is then a mean of other logits, never the
    highest, so greedy answers stay as they are.

    Args:
        loaded: The merged model; its embeddings are replaced.
        tokenizer: The tokenizer of training.
        sampling: Written into the generation configuration.
        target: A folder that is there.
        allowed_ids: Tokens an answer may hold, which transformers is told where tokens are left out.
        trim: Of a whole model, keep those tokens and the prompt's alone. Questions in others are read in other pieces.
        tokenizer_folder: Where the tokenizer's files are; the embedded ones by default.

    Raises:
        UnsupportedTokenizerError: Tokens are to be left out, and the tokenizer is no byte-level BPE.
    """
    from transformers import GenerationConfig

    vocabulary = loaded.vocabulary
    keep: list[int] | None = None if vocabulary.token_ids is None else vocabulary.token_ids.tolist()
    if trim and keep is None and allowed_ids is not None:
        keep = [*allowed_ids, *tokenizer.prefix_ids, *tokenizer.suffix_ids, tokenizer.end_id, *tokenizer.think_ids]
    template = tokenizer.template_source
    if "enable_thinking" in template:
        template = non_thinking_template(template)
    named = {**tokenizer.template_tokens, "eos_token": str(tokenizer.tokenizer.id_to_token(tokenizer.end_id))}
    plain = plain_tokenizer(tokenizer_folder or embedded_folder(), keep, template, named)
    if keep is not None:
        _replace_rows(loaded, plain)
    place = {token: i for i, token in enumerate(plain.token_ids)}
    silent = [place[token] for token in tokenizer.think_ids]
    if keep is not None and allowed_ids is not None:
        answer = {*allowed_ids, tokenizer.end_id} - set(tokenizer.think_ids)
        silent = [place[token] for token in plain.token_ids if token not in answer]
    model, end = loaded.model, place[tokenizer.end_id]
    model.config.update({"eos_token_id": end, "pad_token_id": end, "bos_token_id": None})
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, eos_token_id=end, pad_token_id=end, suppress_tokens=silent or None, **sampling.model_dump()
    )
    model.save_pretrained(str(target), safe_serialization=True)
    plain.write(target)
    file = target / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    # Where tools from before transformers 5 look; without these they would take values of their own, unsaid.
    config |= {"torch_dtype": config["dtype"], **with_rope(target)}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _replace_rows(loaded: LoadedModel, plain: PlainTokenizer) -> None:
    model = loaded.model

    def rows() -> list[torch.Tensor]:
        head = model.get_output_embeddings()
        weights = [model.get_input_embeddings().weight, *([] if model.config.tie_word_embeddings else [head.weight])]
        bias = [] if head.bias is None else [head.bias[:, None]]
        return [weight.detach() for weight in [*weights, *bias]]

    replaced = [_rows(weight, loaded, plain) for weight in rows()]
    model.resize_token_embeddings(len(plain.token_ids), mean_resizing=False)
    for weight, new in zip(rows(), replaced, strict=True):
        weight.copy_(new)


def _rows(weight: torch.Tensor, loaded: LoadedModel, plain: PlainTokenizer) -> torch.Tensor:
    place = {token: i for i, token in enumerate(plain.token_ids)}
    known = np.array([len(loaded.vocabulary.known_rows([token])) > 0 for token in plain.token_ids])
    new = weight.new_empty((len(known), weight.shape[1]))
    new[known] = weight[loaded.vocabulary.to_rows(np.array(plain.token_ids)[known])]
    mean, left = weight.float().mean(0), set(np.flatnonzero(~known).tolist())

    def make(i: int) -> Any:
        if i in left:
            left.discard(i)
            parts = plain.parts.get(plain.token_ids[i])
            # The mean of a token with itself would be as likely as the token.
            if parts is None or parts[0] == parts[1]:
                new[i] = mean
            else:
                new[i] = sum(make(place[part]).float() for part in parts) / 2
        return new[i]

    for i in sorted(left):
        make(i)
    return new
