"""Evaluation: what changed for words that no arm was trained on, in either direction.

The arms (base, spelling, form control, direct and others) answer the same questions on held-out word families; the
tasks' own markers mark the answers; the arms are compared question by question. Intervals and tests are those of
`statistics`; what is said about them in words is in `pages`. What may be claimed is decided in `verdict`,
from one table of all arms' answers.
"""

from spelling_transfer.evaluation.answering import (
    CONTROL,
    FINE_TUNED,
    answer_examples,
    answer_questions,
    check_model,
    missing_arms,
)
from spelling_transfer.evaluation.arms import ARMS, arm_table
from spelling_transfer.evaluation.comparison import compare_all, compare_arms, pair_arms, transfer_ratios
from spelling_transfer.evaluation.marking import mark_answers, score_answers
from spelling_transfer.evaluation.plotted import arm_effects, dose_curve, floors
from spelling_transfer.evaluation.questions import EvaluationError, prompts_of, sample_examples, sample_test_examples
from spelling_transfer.evaluation.settings import EvaluationSettings, VerdictSettings
from spelling_transfer.evaluation.strata import check_table, empty_strata, tabulate
from spelling_transfer.evaluation.verdict import decide
from spelling_transfer.evaluation.verdict_parts import Verdict
from spelling_transfer.tasks.arms import BASE

__all__ = [
    "ARMS",
    "BASE",
    "CONTROL",
    "FINE_TUNED",
    "EvaluationError",
    "EvaluationSettings",
    "Verdict",
    "VerdictSettings",
    "answer_examples",
    "answer_questions",
    "arm_effects",
    "arm_table",
    "check_model",
    "check_table",
    "compare_all",
    "compare_arms",
    "decide",
    "dose_curve",
    "empty_strata",
    "floors",
    "mark_answers",
    "missing_arms",
    "pair_arms",
    "prompts_of",
    "sample_examples",
    "sample_test_examples",
    "score_answers",
    "tabulate",
    "transfer_ratios",
]
