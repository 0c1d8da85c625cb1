"""The tokenizer: questions to prompts, and what its tokens hide.

`ChatTokenizer` is the one way from a question to a prompt, always in non-thinking mode. The rest says what the tokens
are: the vocabulary as decoded bytes, the rules of its English subset, words in tokens, the cost of the template, and
what an embedding tells of its letters. No deep-learning library is needed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.tokenizer.byte_level import TokenBytes, decode_vocabulary
    from spelling_transfer.tokenizer.chat import (
        QWEN3_TOKENIZER_SHA256,
        ChatTokenizer,
        embedded_folder,
        load_chat_tokenizer,
    )
    from spelling_transfer.tokenizer.english import TokenRules, find_english_tokens, summarise_english
    from spelling_transfer.tokenizer.plain import PlainTokenizer, plain_tokenizer
    from spelling_transfer.tokenizer.probe import LetterProbe, probe_letters
    from spelling_transfer.tokenizer.subset import (
        Segmentation,
        SubsetCoverage,
        TokenSubset,
        cover,
        encoded_parts,
        english_subset,
        sentences_of,
    )
    from spelling_transfer.tokenizer.template_cost import TemplateCost, compare_template_cost
    from spelling_transfer.tokenizer.vocabulary import inspect_tokenizer, summarise_vocabulary, vocabulary_table
    from spelling_transfer.tokenizer.word_stats import (
        WordAnalysis,
        segmentation_in_contexts,
        segmentation_in_templates,
        summarise_words,
    )
    from spelling_transfer.tokenizer.words import (
        FORM_DESCRIPTIONS,
        LONGEST_WORD,
        WORD_FORMS,
        analyse_words,
        write_forms,
    )

__all__ = [
    "FORM_DESCRIPTIONS",
    "LONGEST_WORD",
    "QWEN3_TOKENIZER_SHA256",
    "WORD_FORMS",
    "ChatTokenizer",
    "LetterProbe",
    "PlainTokenizer",
    "Segmentation",
    "SubsetCoverage",
    "TemplateCost",
    "TokenBytes",
    "TokenRules",
    "TokenSubset",
    "WordAnalysis",
    "analyse_words",
    "compare_template_cost",
    "cover",
    "decode_vocabulary",
    "embedded_folder",
    "encoded_parts",
    "english_subset",
    "find_english_tokens",
    "inspect_tokenizer",
    "load_chat_tokenizer",
    "plain_tokenizer",
    "probe_letters",
    "segmentation_in_contexts",
    "segmentation_in_templates",
    "sentences_of",
    "summarise_english",
    "summarise_vocabulary",
    "summarise_words",
    "vocabulary_table",
    "write_forms",
]

_HOMES = {
    "byte_level": "TokenBytes decode_vocabulary",
    "chat": "QWEN3_TOKENIZER_SHA256 ChatTokenizer embedded_folder load_chat_tokenizer",
    "english": "TokenRules find_english_tokens summarise_english",
    "plain": "PlainTokenizer plain_tokenizer",
    "probe": "LetterProbe probe_letters",
    "subset": "Segmentation SubsetCoverage TokenSubset cover encoded_parts english_subset sentences_of",
    "template_cost": "TemplateCost compare_template_cost",
    "vocabulary": "inspect_tokenizer summarise_vocabulary vocabulary_table",
    "word_stats": "WordAnalysis segmentation_in_contexts segmentation_in_templates summarise_words",
    "words": "FORM_DESCRIPTIONS LONGEST_WORD WORD_FORMS analyse_words write_forms",
}

__getattr__, __dir__ = lazy_names(__name__, {f"{__name__}.{home}": names.split() for home, names in _HOMES.items()})
