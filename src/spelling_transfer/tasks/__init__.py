"""What is asked about a word and how an answer is marked.

One file a task; a package of your own adds tasks by an entry point (docs/tasks.md), with `WordTask`, `make_templates`
and the readers. `write_examples` writes questions that cannot be guessed without the word, `choose_mixture` takes from
them what is trained on, `encode_examples` gives token ids and label span. No deep-learning library is needed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.tasks.arm_examples import PLAIN_LINE
    from spelling_transfer.tasks.arms import (
        BASE,
        FORM_CONTROL,
        PROMPTED_ARMS,
        SPELLING_ARM,
        TRAINED_ARMS,
        ArmError,
        PromptedArm,
        TrainedArm,
        choose_arm,
        with_rehearsal,
    )
    from spelling_transfer.tasks.balance import SMALLEST_CHECKED_SET, Spreader, check_baselines, compute_baselines
    from spelling_transfer.tasks.base import (
        DEFAULT_SEPARATOR,
        SEPARATORS,
        Example,
        SpelledTask,
        Task,
        TaskError,
        Template,
        WordTask,
        make_templates,
    )
    from spelling_transfer.tasks.encoding import encode_examples, encode_lines, vocabulary_in_use
    from spelling_transfer.tasks.examples import ExampleMix, spelling_questions, write_examples
    from spelling_transfer.tasks.marking import (
        Asked,
        Mark,
        echo_of,
        ordinal,
        read_letter,
        read_number,
        read_spelling,
        read_yes_or_no,
    )
    from spelling_transfer.tasks.mixture import (
        ASKED,
        POOL,
        REAL,
        REHEARSAL,
        SPELLING,
        MixtureSettings,
        choose_mixture,
        first_by_hash,
    )
    from spelling_transfer.tasks.position import FROM_END
    from spelling_transfer.tasks.registry import CORE_TASKS, TRAINED_TASK, UNTRAINED_TASKS, load_tasks
    from spelling_transfer.tasks.schemas import ENCODED_EXAMPLES, EXAMPLES, WORDS
    from spelling_transfer.tasks.spelling import Spelling

__all__ = [
    "ASKED",
    "BASE",
    "CORE_TASKS",
    "DEFAULT_SEPARATOR",
    "ENCODED_EXAMPLES",
    "EXAMPLES",
    "FORM_CONTROL",
    "FROM_END",
    "PLAIN_LINE",
    "POOL",
    "PROMPTED_ARMS",
    "REAL",
    "REHEARSAL",
    "SEPARATORS",
    "SMALLEST_CHECKED_SET",
    "SPELLING",
    "SPELLING_ARM",
    "TRAINED_ARMS",
    "TRAINED_TASK",
    "UNTRAINED_TASKS",
    "WORDS",
    "ArmError",
    "Asked",
    "Example",
    "ExampleMix",
    "Mark",
    "MixtureSettings",
    "PromptedArm",
    "SpelledTask",
    "Spelling",
    "Spreader",
    "Task",
    "TaskError",
    "Template",
    "TrainedArm",
    "WordTask",
    "check_baselines",
    "choose_arm",
    "choose_mixture",
    "compute_baselines",
    "echo_of",
    "encode_examples",
    "encode_lines",
    "first_by_hash",
    "load_tasks",
    "make_templates",
    "ordinal",
    "read_letter",
    "read_number",
    "read_spelling",
    "read_yes_or_no",
    "spelling_questions",
    "vocabulary_in_use",
    "with_rehearsal",
    "write_examples",
]

_HOMES = {
    "balance": "SMALLEST_CHECKED_SET Spreader check_baselines compute_baselines",
    "arm_examples": "PLAIN_LINE",
    "arms": "BASE FORM_CONTROL PROMPTED_ARMS SPELLING_ARM TRAINED_ARMS ArmError PromptedArm TrainedArm choose_arm "
    "with_rehearsal",
    "base": "DEFAULT_SEPARATOR SEPARATORS Example SpelledTask Task TaskError Template WordTask make_templates",
    "encoding": "encode_examples encode_lines vocabulary_in_use",
    "examples": "ExampleMix spelling_questions write_examples",
    "marking": "Asked Mark echo_of ordinal read_letter read_number read_spelling read_yes_or_no",
    "mixture": "ASKED POOL REAL REHEARSAL SPELLING MixtureSettings choose_mixture first_by_hash",
    "position": "FROM_END",
    "registry": "CORE_TASKS TRAINED_TASK UNTRAINED_TASKS load_tasks",
    "schemas": "ENCODED_EXAMPLES EXAMPLES WORDS",
    "spelling": "Spelling",
}

__getattr__, __dir__ = lazy_names(__name__, {f"{__name__}.{home}": names.split() for home, names in _HOMES.items()})
