"""A whole evaluation of a few words, marked by the real tasks and compared by the real functions."""

from __future__ import annotations

import pandas as pd
from tests.samples.answers import WORDS, make_answers, make_examples

from spelling_transfer.evaluation.arms import arm_table
from spelling_transfer.evaluation.comparison import compare_all
from spelling_transfer.evaluation.errors import describe_errors, error_shares
from spelling_transfer.evaluation.marking import mark_answers, score_answers
from spelling_transfer.evaluation.plotted import arm_effects, floors
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.evaluation.strata import STRATA, empty_strata
from spelling_transfer.evaluation.verdict import decide
from spelling_transfer.pages.evaluation import EvaluationResults
from spelling_transfer.statistics.scores import FocusWeights
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import load_chat_tokenizer

RIGHT = {
    "base": {"spelling": 0.3, "position": 0.5, "count": 0.2},
    "spelling": {"spelling": 0.9, "position": 0.5, "count": 0.05},
    "form_control": {"spelling": 0.3, "position": 0.4, "count": 0.2},
    "direct_position": {"spelling": 0.3, "position": 0.9, "count": 0.2},
}


def table_of(marked: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of answers; strata go by the number of the word, as no tokenizer is asked."""
    place = marked["word"].map({word: i for i, word in enumerate(sorted(set(marked["word"])))})
    position, count = marked["task"] == "position", marked["task"] == "count"
    return pd.DataFrame(
        {
            **{name: marked[name] for name in ("arm", "seed", "example_id", "task", "endpoint", "invalid")},
            "family": marked["stem"],
            "correct": marked["exact"],
            "held_out_wording": marked["template_held_out"],
            "direction": place.mod(2).map({0: "forward", 1: "backward"}).where(position, ""),
            "repeated_letter": place.mod(2).map({0: "no", 1: "yes"}),
            "true_count": place.mod(4).map({0: "0", 1: "1", 2: "2", 3: "3+"}).where(count, ""),
            "token_letters": place.mod(3).map({0: "none", 1: "2", 2: "6+"}),
            "frequency": place.mod(3).map({0: "4 and above", 1: "below 3", 2: "3 to 4"}),
        }
    )[["arm", "seed", "example_id", "task", "family", "endpoint", "correct", "invalid", "held_out_wording", *STRATA]]


def evaluation(settings: EvaluationSettings) -> EvaluationResults:
    """Returns an evaluation of four arms, in which direct training raises position and no arm learned count."""
    words = [f"{word}{end}" for word in WORDS for end in ("a", "e", "i", "o", "u", "y")]
    examples = pd.concat([make_examples(words), make_examples(["qzx", "vvk"], word_set="random")])
    marked = mark_answers(make_answers(examples, RIGHT), load_tasks())
    table = table_of(marked)
    comparison, control = compare_all(marked, "balanced", FocusWeights(position=0.5, count=0.5), settings.bootstrap)
    baselines = pd.DataFrame(columns=["split", "word_set", "task", "baseline", "accuracy", "questions"])
    return EvaluationResults(
        marked=marked,
        scores=score_answers(marked),
        comparison=comparison,
        control=control,
        verdict=decide(arm_table(marked), settings.verdict, confidence=settings.confidence).document(),
        effects=arm_effects(table, settings),
        floors=floors(marked, baselines),
        left_out={"arms": {"direct_count": "not in arms.trained"}, "strata": empty_strata(table)},
    )


def errors_of(found: EvaluationResults) -> pd.DataFrame:
    """Returns what kind of answer each arm gives."""
    return error_shares(describe_errors(found.marked, load_chat_tokenizer()))
