"""Our tasks for inspect_ai (0.3.285 and later), and its logs from answers that we have. Needs inspect_ai."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspect_ai import Task, score
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig, ModelOutput
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState, generate

from spelling_transfer.bench.shared import MEASURES, mark_document, marks_of, read_questions


@scorer(metrics={name: [mean(), stderr()] for name in MEASURES}, name="spelling_transfer_marks")
def marks() -> Scorer:
    """Returns the scorer: exact, lenient and invalid, as our own evaluation marks."""

    async def judge(state: TaskState, target: Target) -> Score:
        output = state.output.completion
        said = mark_document(state.metadata, output)
        return Score(value=dict(marks_of(state.metadata, output)), answer=said.read, explanation=output)

    return judge


def exported_task(folder: Path, task: str, max_tokens: int) -> Task:
    """Returns one of our tasks with the questions of an exported folder, answered greedily."""
    samples = [
        Sample(input=question["question"], target=question["answer"], id=question["example_id"], metadata=question)
        for question in read_questions(folder, task)
    ]
    return Task(
        dataset=MemoryDataset(samples, name=task),
        solver=generate(),
        scorer=marks(),
        config=GenerateConfig(temperature=0.0, max_tokens=max_tokens),
        name=f"spelling_transfer_{task}",
    )


def write_logs(folder: Path) -> list[Path]:
    """Writes the answers of an exported folder as logs; inspect_ai's own scoring puts the marks on them.

    Args:
        folder: The folder, with one file of answers an arm, seed and task in ``answers``.

    Returns:
        The logs, in ``folder / "logs"``.
    """
    (folder / "logs").mkdir(exist_ok=True)
    written = []
    for file in sorted((folder / "answers").glob("*.jsonl")):
        target = folder / "logs" / f"{file.stem}.eval"
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        write_eval_log(score(_log_of(rows), marks(), display="none", model="none/none"), str(target), format="eval")
        written.append(target)
    return written


def _log_of(rows: list[dict[str, Any]]) -> EvalLog:
    first = rows[0]
    model = f"spelling_transfer/{first['arm']}" + (f"-seed-{first['seed']}" if first["seed"] >= 0 else "")
    samples = [
        EvalSample(
            id=row["example_id"],
            epoch=1,
            input=row["question"],
            target=row["answer"],
            messages=[ChatMessageUser(content=row["question"]), ChatMessageAssistant(content=row["output"])],
            output=ModelOutput.from_content(model, row["output"]),
            metadata={key: row[key] for key in ("task", "word", "answer", "argument", "separator")},
        )
        for row in rows
    ]
    spec = EvalSpec(
        created=datetime.now(UTC).isoformat(),
        task=f"spelling_transfer_{first['task']}",
        dataset=EvalDataset(name=first["task"], samples=len(samples)),
        model=model,
        config=EvalConfig(),
        metadata={key: first[key] for key in ("arm", "seed", "model")},
    )
    return EvalLog(status="success", eval=spec, samples=samples)
