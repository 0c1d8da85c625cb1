"""What is asked about a word and how an answer is marked.

One file a task; a package of your own adds tasks by an entry point (docs/tasks.md), with `WordTask`, `make_templates`
and the readers. `write_examples` writes questions that cannot be guessed without the word, `choose_mixture` takes from
them what is trained on, `encode_examples` gives token ids and label span. No deep-learning library is needed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.tasks.balance import check_baselines, compute_baselines
    from spelling_transfer.tasks.base import (
        SEPARATORS,
        Example,
        SpelledTask,
        Task,
        TaskError,
        Template,
        WordTask,
        make_templates,
    )
    from spelling_transfer.tasks.encoding import encode_examples, vocabulary_in_use
    from spelling_transfer.tasks.examples import ExampleMix, spelling_questions, write_examples
    from spelling_transfer.tasks.marking import (
        Asked,
        Mark,
        echo_of,
        read_letter,
        read_number,
        read_spelling,
        read_yes_or_no,
    )
    from spelling_transfer.tasks.mixture import REAL, SPELLING, MixtureSettings, choose_mixture
    from spelling_transfer.tasks.registry import CORE_TASKS, TRAINED_TASK, UNTRAINED_TASKS, load_tasks
    from spelling_transfer.tasks.schemas import ENCODED_EXAMPLES, EXAMPLES, WORDS

__all__ = [
    "CORE_TASKS",
    "ENCODED_EXAMPLES",
    "EXAMPLES",
    "REAL",
    "SEPARATORS",
    "SPELLING",
    "TRAINED_TASK",
    "UNTRAINED_TASKS",
    "WORDS",
    "Asked",
    "Example",
    "ExampleMix",
    "Mark",
    "MixtureSettings",
    "SpelledTask",
    "Task",
    "TaskError",
    "Template",
    "WordTask",
    "check_baselines",
    "choose_mixture",
    "compute_baselines",
    "echo_of",
    "encode_examples",
    "load_tasks",
    "make_templates",
    "read_letter",
    "read_number",
    "read_spelling",
    "read_yes_or_no",
    "spelling_questions",
    "vocabulary_in_use",
    "write_examples",
]

_HOMES = {
    "balance": "check_baselines compute_baselines",
    "base": "SEPARATORS Example SpelledTask Task TaskError Template WordTask make_templates",
    "encoding": "encode_examples vocabulary_in_use",
    "examples": "ExampleMix spelling_questions write_examples",
    "marking": "Asked Mark echo_of read_letter read_number read_spelling read_yes_or_no",
    "mixture": "REAL SPELLING MixtureSettings choose_mixture",
    "registry": "CORE_TASKS TRAINED_TASK UNTRAINED_TASKS load_tasks",
    "schemas": "ENCODED_EXAMPLES EXAMPLES WORDS",
}

__getattr__, __dir__ = lazy_names(__name__, {f"{__name__}.{home}": names.split() for home, names in _HOMES.items()})
