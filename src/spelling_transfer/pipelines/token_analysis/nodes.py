"""Nodes of the token analysis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.load import read_embedding
from spelling_transfer.models.profile import ModelProfile, ModelShape, VocabularySavings, measure_head, savings
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.pages import tokens_figures as figures
from spelling_transfer.pages.documents import write_token_document
from spelling_transfer.pages.tokens import TokenFindings, render_token_page
from spelling_transfer.pipelines.reports import take_figures
from spelling_transfer.tokenizer.byte_level import decode_vocabulary
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, ChatTokenizer
from spelling_transfer.tokenizer.english import TokenRules, summarise_english
from spelling_transfer.tokenizer.english import find_english_tokens as apply_rules
from spelling_transfer.tokenizer.probe import LetterProbe, probe_letters
from spelling_transfer.tokenizer.subset import (
    Segmentation,
    SubsetCoverage,
    TokenSubset,
    cover,
    encoded_parts,
    sentences_of,
)
from spelling_transfer.tokenizer.template_cost import TemplateCost
from spelling_transfer.tokenizer.template_cost import compare_template_cost as compare_renderings
from spelling_transfer.tokenizer.vocabulary import inspect_tokenizer, summarise_vocabulary, vocabulary_table
from spelling_transfer.tokenizer.word_stats import (
    WordAnalysis,
    segmentation_in_contexts,
    segmentation_in_templates,
    summarise_words,
)
from spelling_transfer.tokenizer.words import analyse_words as cut_words
from spelling_transfer.words.word_sets import RANDOM

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def describe_vocabulary(tokenizer: ChatTokenizer, saving: VocabularySavings) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Decodes every token to the bytes it stands for, describes it, and counts."""
    tokens = decode_vocabulary(tokenizer.tokenizer)
    vocabulary = vocabulary_table(tokens)
    report = inspect_tokenizer(tokenizer, tokens)
    rows = saving.reference.vocabulary_rows if report.is_pinned else len(vocabulary)
    return vocabulary, summarise_vocabulary(vocabulary, report, embedding_rows=rows)


def find_english_tokens(
    vocabulary: pd.DataFrame, words: pd.DataFrame, tokenizer: ChatTokenizer, rules: TokenRules
) -> tuple[pd.DataFrame, list[dict[str, Any]], dict[str, int], dict[str, Any]]:
    """Applies the rules to every token and counts; gives the subset in use as vocabulary, and as ids with its hash."""
    english = apply_rules(vocabulary, real_words(words)["word"], tokenizer, rules)
    kept = english[english[f"in_{rules.use}"]]
    vocab = dict(zip(kept["token"].tolist(), kept["token_id"].tolist(), strict=True))
    subset = TokenSubset.of_tokens(english, rules.use, tokenizer)
    return english, summarise_english(english, rules), vocab, subset.to_json(tokenizer)


def analyse_words(
    words: pd.DataFrame, examples: pd.DataFrame, tokenizer: ChatTokenizer, settings: WordAnalysis
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Cuts every word in four forms into tokens, and looks at what the text around a word changes."""
    tokens = decode_vocabulary(tokenizer.tokenizer)
    real = real_words(words)
    word_tokens = cut_words(real, tokenizer, tokens)
    stats = summarise_words(word_tokens, settings)
    stats["contexts"] = segmentation_in_contexts(tokenizer, real, settings)
    stats["templates"] = segmentation_in_templates(tokenizer, examples)
    return word_tokens, stats


def compare_template_cost(tokenizer: ChatTokenizer, examples: pd.DataFrame, settings: TemplateCost) -> dict[str, Any]:
    """Counts the tokens of the same prompts in both renderings of the template; nothing is generated."""
    return compare_renderings(tokenizer, examples["question"].tolist(), settings)


def measure_coverage(
    *,
    english_tokens: pd.DataFrame,
    word_tokens: pd.DataFrame,
    words: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_text: str,
    tokenizer: ChatTokenizer,
    base_model: ModelFolder,
    model_profile: ModelProfile,
    settings: SubsetCoverage,
    saving: VocabularySavings,
) -> dict[str, Any]:
    """Says which tokens words, examples and English text need that a subset lacks, and what the subset saves."""
    tokens = decode_vocabulary(tokenizer.tokenizer)
    rules = [column.removeprefix("in_") for column in english_tokens.columns if column.startswith("in_")]
    subsets = [TokenSubset.of_tokens(english_tokens, rule, tokenizer) for rule in rules]
    strings = words.loc[words["word_set"] == RANDOM, "word"].tolist()
    texts = {
        "words": Segmentation.of_rows(word_tokens["ids"].tolist()),
        "random strings": Segmentation.of_rows(tokenizer.encode_texts([f" {string}" for string in strings])),
        **encoded_parts(encoded_examples),
        "English text": Segmentation.of_rows(tokenizer.encode_texts(sentences_of(english_text))),
    }
    shape = _shape(base_model, model_profile, saving)
    # A subset of another vocabulary saves the reference nothing.
    models = [shape, saving.reference] if tokenizer.sha256 == QWEN3_TOKENIZER_SHA256 else [shape]
    return {
        "coverage": cover(texts, subsets, tokens, settings),
        "savings": [{"rule": subset.rule, **savings(model, len(subset.ids))} for model in models for subset in subsets],
        "measured": [
            {"rule": subset.rule, "model": shape.name, **measured}
            for subset in subsets
            if (measured := measure_head(shape, len(subset.ids), saving)) is not None
        ],
    }


def probe_embedding(
    vocabulary: pd.DataFrame, base_model: ModelFolder, model_profile: ModelProfile, settings: LetterProbe
) -> dict[str, Any]:
    """Predicts the letters of tokens from the base model's embedding, beside a control with shuffled labels."""
    if not settings.enabled:
        return {}
    ids, matrix = read_embedding(base_model)
    return {"model": model_profile.name, **probe_letters(vocabulary, ids, matrix, settings)}


def plot(
    vocabulary_stats: dict[str, Any],
    english_stats: list[dict[str, Any]],
    word_tokens: pd.DataFrame,
    subset_coverage: dict[str, Any],
    letter_probe: dict[str, Any],
) -> tuple[Figure, ...]:
    """Draws the vocabulary, its scripts, tokens a word, coverage and probe."""
    return (
        figures.plot_classes(english_stats),
        figures.plot_lengths(vocabulary_stats),
        figures.plot_scripts(vocabulary_stats),
        figures.plot_tokens_per_word(word_tokens),
        figures.plot_coverage(subset_coverage),
        figures.plot_probe(letter_probe),
    )


def report(*, word_tokens: pd.DataFrame, run_env: str, **inputs: Any) -> tuple[str, str]:
    """Writes the page with the search box, and the document; the further inputs are those of ``TokenFindings``."""
    drawn = take_figures(inputs)
    found = TokenFindings(**inputs)
    return render_token_page(found, word_tokens, drawn, env=run_env), write_token_document(found, word_tokens)


def real_words(words: pd.DataFrame) -> pd.DataFrame:
    """Returns the words of the list without the random strings."""
    return words[words["word_set"] != RANDOM].reset_index(drop=True)


def _shape(base_model: ModelFolder, profile: ModelProfile, saving: VocabularySavings) -> ModelShape:
    config = json.loads((base_model.path / "config.json").read_text())
    # A trimmed model's own vocabulary is a subset already: what it was cut from is the reference's.
    is_trimmed = (base_model.path / TOKEN_IDS_FILE).is_file()
    rows = saving.reference.vocabulary_rows if is_trimmed else int(config["vocab_size"])
    return ModelShape.of_config(
        config, name=profile.name, vocabulary_rows=rows, bytes_per_weight=profile.bytes_per_weight
    )
