"""Writes our questions as tasks of lm-evaluation-harness and of inspect_ai, with answers for the logs of the latter."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pandas as pd

from spelling_transfer.bench.base import BenchError
from spelling_transfer.bench.shared import MEASURES
from spelling_transfer.files import FINDER, whole_folder

GROUP = "spelling_transfer"
"""Prefix of the exported tasks, and the name under which lm-evaluation-harness runs all of them."""

_KEPT = ["example_id", "task", "template", "word", "stem", "word_set", "difficulty"]
_KEPT += ["question", "answer", "argument", "separator"]

_LM_EVAL_PYTHON = '''"""Questions and marks of spelling-transfer's tasks for lm-evaluation-harness 0.4.13 and later."""

from pathlib import Path

import datasets

from spelling_transfer.bench.shared import marks_of, read_questions


def questions(task, **_):
    """Returns the questions of a task."""
    return datasets.DatasetDict(test=datasets.Dataset.from_list(read_questions(Path(__file__).parent, task)))


def mark(doc, results):
    """Judges an answer as spelling-transfer's own evaluation does."""
    return marks_of(doc, results[0])
'''

_INSPECT_PYTHON = '''"""spelling-transfer's tasks for inspect_ai 0.3.285 and later."""

from pathlib import Path

from inspect_ai import task

from spelling_transfer.bench.inspect_tasks import exported_task

HERE = Path(__file__).parent
'''

_INSPECT_TASK = '''

@task
def {function}():
    """Asks our task {task!r}."""
    return exported_task(HERE, {task!r}, {max_tokens})
'''

_INSPECT_LOGS = '''"""Writes the answers of this folder as logs of inspect_ai: python write_logs.py."""

from pathlib import Path

from spelling_transfer.bench.inspect_tasks import write_logs

if __name__ == "__main__":
    for log in write_logs(Path(__file__).parent):
        print(log)
'''


def export_lm_eval(questions: pd.DataFrame, target: Path, max_new_tokens: int) -> list[str]:
    """Writes a task folder: a YAML file a task, its questions, and the functions that the YAML files name.

    Args:
        questions: The questions of an evaluation, from ``sample_test_examples``.
        target: The folder; one that is there is replaced if it was exported before.
        max_new_tokens: Longest answer, in tokens.

    Returns:
        The names of the tasks.

    Raises:
        BenchError: Something else is there.
    """
    import yaml

    _check_target(target)
    with whole_folder(target) as work:
        sha256 = _write_questions(questions, work)
        (work / "spelling_transfer_lm_eval.py").write_text(_LM_EVAL_PYTHON, encoding="utf-8")
        for task in sha256:
            plain = {
                "task": f"{GROUP}_{task}",
                "tag": GROUP,
                "dataset_kwargs": {"task": task},
                "test_split": "test",
                "output_type": "generate_until",
                "doc_to_text": "{{question}}",
                "doc_to_target": "{{answer}}",
                "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": max_new_tokens},
                "metric_list": [
                    {"metric": name, "aggregation": "mean", "higher_is_better": better}
                    for name, better in MEASURES.items()
                ],
                "metadata": {"version": 1.0, "questions_sha256": sha256[task]},
            }
            functions = "".join(
                f"{key}: !function spelling_transfer_lm_eval.{name}\n"
                for key, name in (("custom_dataset", "questions"), ("process_results", "mark"))
            )
            text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
            (work / f"{GROUP}_{task}.yaml").write_text(text + functions, encoding="utf-8")
    return [f"{GROUP}_{task}" for task in sha256]


def export_inspect(
    questions: pd.DataFrame, target: Path, max_new_tokens: int, answers: pd.DataFrame | None = None
) -> list[str]:
    """Writes a Python file with one inspect task a task, its questions, and answers to be made logs of.

    Args:
        questions: The questions of an evaluation, from ``sample_test_examples``.
        target: The folder; one that is there is replaced if it was exported before.
        max_new_tokens: Longest answer, in tokens.
        answers: Answers of an evaluation, with ``arm``, ``seed`` and ``model``.

    Returns:
        The names of the tasks.

    Raises:
        BenchError: Something else is there.
    """
    _check_target(target)
    with whole_folder(target) as work:
        tasks = list(_write_questions(questions, work))
        filled = [  # the name of a task may have hyphens
            _INSPECT_TASK.format(function=re.sub(r"\W", "_", f"{GROUP}_{task}"), task=task, max_tokens=max_new_tokens)
            for task in tasks
        ]
        (work / "spelling_transfer_tasks.py").write_text(_INSPECT_PYTHON + "".join(filled), encoding="utf-8")
        if answers is not None:
            (work / "answers").mkdir()
            (work / "write_logs.py").write_text(_INSPECT_LOGS, encoding="utf-8")
            for (arm, seed, task), part in answers.groupby(["arm", "seed", "task"], sort=False):
                name = f"{arm}-{task}" if int(str(seed)) < 0 else f"{arm}-seed-{seed}-{task}"
                _write_lines(part[[*_KEPT, "arm", "seed", "model", "output"]], work / "answers" / f"{name}.jsonl")
    return [f"{GROUP}_{task}" for task in tasks]


def _write_lines(frame: pd.DataFrame, file: Path) -> str:
    """Writes a frame as one JSON object a line; returns the hash."""
    # In ASCII: an answer may hold U+2028, at which Python ends a line.
    lines = [json.dumps(row) for row in frame.to_dict(orient="records")]
    text = "\n".join(lines) + "\n"
    file.write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


_MANIFEST = "questions.json"
_PYTHON = ("spelling_transfer_lm_eval.py", "spelling_transfer_tasks.py", "write_logs.py")


def _write_questions(questions: pd.DataFrame, work: Path) -> dict[str, str]:
    """Writes the questions of each task; returns their hashes."""
    sha256 = {
        str(task): _write_lines(part, work / f"{task}.jsonl")
        for task, part in questions[_KEPT].groupby("task", sort=False)
    }
    (work / _MANIFEST).write_text(json.dumps({"exported_by": "kedro bench export", "sha256": sha256}, indent=2) + "\n")
    return sha256


def _check_target(target: Path) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        tasks = json.loads((target / _MANIFEST).read_text(encoding="utf-8"))["sha256"]
        ours = {_MANIFEST, "answers", "__pycache__", FINDER, *_PYTHON, *(f"{task}.jsonl" for task in tasks)}
        ours |= {f"{GROUP}_{task}.yaml" for task in tasks}
    except (OSError, ValueError, KeyError, TypeError):
        raise BenchError(
            f"{target}: exists and was not exported by 'kedro bench export'. Name another folder."
        ) from None
    # A harness that is run in the folder leaves its logs there, and they would go with it.
    if others := sorted({path.name for path in target.iterdir()} - ours):
        raise BenchError(
            f"{target}: holds {others[0]}, which was not exported by 'kedro bench export' and would be lost. Move it "
            "away, or name another folder."
        )
