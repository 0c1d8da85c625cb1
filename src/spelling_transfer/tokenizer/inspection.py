"""What can be analysed of a tokenizer, and what cannot, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from spelling_transfer.tokenizer.byte_level import TokenBytes, name_of_special
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, ChatTokenizer

QWEN3_ADDED_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
"""The added tokens of Qwen3 that prompts, padding and the policy speak of."""


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer is.

    Attributes:
        sha256: Hash of its file.
        is_pinned: Whether it is the official Qwen3 tokenizer.
        missing_added: Those of ``QWEN3_ADDED_TOKENS`` that it does not have, by name: a tag written out would be one.
        ids_without_token: How many ids below the highest one have no token.
        statements: What that means for the analysis, a sentence each.
    """

    sha256: str
    is_pinned: bool
    missing_added: tuple[str, ...]
    ids_without_token: int
    statements: tuple[str, ...]


def inspect_tokenizer(tokenizer: ChatTokenizer, tokens: TokenBytes) -> TokenizerReport:
    """Says what a byte-level tokenizer lets us analyse; others are refused when their vocabulary is decoded."""
    present = {token.content for token in tokenizer.tokenizer.get_added_tokens_decoder().values()}
    missing = tuple(text for text in QWEN3_ADDED_TOKENS if text not in present)
    is_pinned = tokenizer.sha256 == QWEN3_TOKENIZER_SHA256
    without = sum(not token for token in tokens.strings)
    statements = []
    if is_pinned:
        statements.append("This is the official Qwen3 tokenizer: everything is analysed.")
    else:
        statements.append(
            f"This is not the official Qwen3 tokenizer (sha256 {tokenizer.sha256[:12]}…): its vocabulary, words and "
            "subset are analysed, more slowly; the figures in docs/qwen3_token_analysis.md are not about it."
        )
    if without:
        statements.append(f"{without} ids have no token; they count as tokens of no text.")
    for text in missing:
        statements.append(f"It has no {name_of_special(text)}: {_CONSEQUENCES[text]}.")
    return TokenizerReport(
        sha256=tokenizer.sha256,
        is_pinned=is_pinned,
        missing_added=tuple(map(name_of_special, missing)),
        ids_without_token=without,
        statements=tuple(statements),
    )


_CONSEQUENCES = {
    "<|endoftext|>": "a rule that names it for padding finds nothing",
    "<|im_start|>": "turns are marked in another way, and the prompt's tokens are those of its own template",
    "<|im_end|>": "an answer ends with the end-of-sequence token of its configuration",
    "<think>": "there is no think tag to keep out of answers, and the two renderings of the template may not differ",
    "</think>": "there is no think tag to keep out of answers, and the two renderings of the template may not differ",
}
