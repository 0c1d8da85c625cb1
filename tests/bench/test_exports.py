"""Our tasks in other harnesses: the same questions, the same marks on the same answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tests.serving.test_export import EMBEDDED, TINY, adapted, letters

from spelling_transfer.bench import BenchError, export_inspect, export_lm_eval
from spelling_transfer.bench.shared import marks_of, read_questions
from spelling_transfer.evaluation import mark_answers
from spelling_transfer.models import generate_answers
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.export import write_export
from spelling_transfer.tasks import load_tasks
from spelling_transfer.words import random_for

ROOT = Path(__file__).parents[2]
WORDS = ["garden", "window", "letter", "house", "people", "number"]


@pytest.fixture(scope="module")
def questions() -> pd.DataFrame:
    rows = []
    for task in ("spelling", "position", "count"):
        for word in WORDS:
            example = load_tasks()[task].make(word, random_for("exports", task, word))
            rows.append({"example_id": f"{task}-{word}", "stem": word, "word_set": "word", **vars(example)})
    return pd.DataFrame(rows).assign(difficulty="easy")


@pytest.fixture(scope="module")
def answered(questions) -> pd.DataFrame:
    forms = ["{}", "The answer is {}.", "{} or not", ""] * 5
    outputs = [form.format(answer) for form, answer in zip(forms, questions["answer"], strict=False)]
    return mark_answers(questions.assign(output=outputs, arm="base", seed=-1, model="abc"), load_tasks())


@pytest.fixture(scope="module")
def parts(tokenizer, tmp_path_factory):
    """A deployable made of the embedded model and a random adapter, both of them beside it."""
    return adapted(EMBEDDED, TINY, tmp_path_factory.mktemp("parts"), tokenizer, letters(tokenizer))


@pytest.fixture(scope="module")
def exported(parts, tmp_path_factory) -> Path:
    """The folder MODEL of the documentation, as ``kedro export`` writes it."""
    target = tmp_path_factory.mktemp("export") / "export"
    write_export(*parts, TINY, target, forms=["merged"])
    return target / "merged"


@pytest.fixture(scope="module")
def ours(questions, parts) -> dict[str, str]:
    """Our engine's answers, of the deployable that the export was made of."""
    engine = AnswerEngine.load(parts[0], "cpu")
    prompts = engine.tokenizer.encode_prompts(questions["question"].tolist())
    answers = generate_answers(engine.loaded, engine.tokenizer, prompts, allowed_ids=engine.allowed_ids)
    return dict(zip(questions["example_id"], map(engine.tokenizer.decode, answers), strict=True))


@pytest.fixture
def harness():
    """Runs a command of the environment that has the harnesses, as docs/public_sets.md makes it."""
    place = os.environ.get("SPELLING_TRANSFER_HARNESS")
    if not place:
        pytest.skip("SPELLING_TRANSFER_HARNESS names no environment with lm-eval and inspect-ai; docs/public_sets.md")

    def run(folder: Path, command: str, *arguments: str) -> str:
        variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        done = subprocess.run(
            [str(Path(place) / "bin" / command), *arguments], cwd=folder, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_marks_are_those_of_the_evaluation(questions, answered, tmp_path):
    assert export_lm_eval(questions, tmp_path / "tasks", 24) == [
        "spelling_transfer_spelling",
        "spelling_transfer_position",
        "spelling_transfer_count",
    ]
    outputs = answered.set_index("example_id")
    for task in ("spelling", "position", "count"):
        for question in read_questions(tmp_path / "tasks", task):
            marked = outputs.loc[question["example_id"]]
            assert marks_of(question, marked["output"]) == {key: marked[key] for key in ("exact", "lenient", "invalid")}
    assert 0 < answered["exact"].sum() < answered["lenient"].sum() < len(answered)


def test_answers_and_questions_with_other_ends_of_lines_are_read_back(questions, answered, tmp_path):
    told = questions.assign(question=questions["question"] + "\u2028\x85")
    export_inspect(told, tmp_path / "tasks", 24, answered.assign(output="a\u2028b\x85c é"))
    assert [each["question"] for each in read_questions(tmp_path / "tasks", "count")] == told[told["task"] == "count"][
        "question"
    ].tolist()
    for file in (tmp_path / "tasks" / "answers").iterdir():  # as write_logs.py reads them
        assert {json.loads(line)["output"] for line in file.read_text().splitlines()} == {"a\u2028b\x85c é"}


def test_what_a_harness_imports_needs_none_of_our_heavy_dependencies():
    code = (
        "import sys\nfrom spelling_transfer.bench.shared import marks_of\n"
        "question = {'task': 'count', 'word': 'berry', 'answer': '2', 'argument': 'r', 'separator': ''}\n"
        "assert marks_of(question, 'two')['lenient'] == 1.0\n"
        "print(sorted({'pandas', 'numpy', 'torch', 'kedro', 'pydantic', 'fsspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_is_replaced_only_if_it_was_exported(questions, tmp_path):
    target = tmp_path / "tasks"
    questions = questions.assign(task=questions["task"].replace("count", "letter-count"))
    for _ in range(2):
        export_inspect(questions, target, 24)
        (target / ".DS_Store").touch()  # a Mac's Finder was there
    functions = re.findall(r"^def (\w+)", (target / "spelling_transfer_tasks.py").read_text(), re.MULTILINE)
    assert functions == ["spelling_transfer_spelling", "spelling_transfer_position", "spelling_transfer_letter_count"]
    other = tmp_path / "mine"
    other.mkdir()
    (other / "work.txt").write_text("mine")
    for export in (export_lm_eval, export_inspect):
        with pytest.raises(BenchError, match="was not exported by"):
            export(questions, other, 24)
    assert (other / "work.txt").read_text() == "mine"
    (target / "logs").mkdir()  # where inspect leaves them
    (target / "logs" / "count.eval").write_text("hours")
    with pytest.raises(BenchError, match="holds logs, which was not exported by"):
        export_inspect(questions, target, 24)
    assert (target / "logs" / "count.eval").read_text() == "hours"


def test_lm_evaluation_harness_gives_the_same_answers_and_marks(questions, ours, exported, harness, tmp_path):
    export_lm_eval(questions, tmp_path / "tasks", 24)
    harness(
        tmp_path, "lm_eval", "--model", "hf", "--model_args", f"pretrained={exported},enable_thinking=False",
        "--apply_chat_template", "--include_path", "tasks", "--tasks", "spelling_transfer", "--log_samples",
        "--output_path", "results", "--device", "cpu", "--batch_size", str(len(WORDS)),
    )  # fmt: skip
    files = list((tmp_path / "results").rglob("samples_*.jsonl"))
    samples = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert {sample["doc"]["example_id"]: sample["filtered_resps"][0] for sample in samples} == ours
    for sample in samples:
        expected = marks_of(sample["doc"], ours[sample["doc"]["example_id"]])
        assert {key: sample[key] for key in expected} == expected
    (file,) = (tmp_path / "results").rglob("results_*.json")
    means = {task: each["exact,none"] for task, each in json.loads(file.read_text())["results"].items()}
    for task in ("spelling", "position", "count"):
        exact = [sample["exact"] for sample in samples if sample["doc"]["task"] == task]
        assert means[f"spelling_transfer_{task}"] == pytest.approx(sum(exact) / len(exact))


def test_inspect_gives_the_same_answers_and_marks(questions, ours, exported, harness, tmp_path):
    export_inspect(questions, tmp_path / "tasks", 24)
    harness(
        tmp_path / "tasks", "inspect", "eval", "spelling_transfer_tasks.py", "--model", f"hf/{exported}",
        "-M", "do_sample=false", "-M", "enable_thinking=false", "-M", "device=cpu",
        "--log-dir", "logs", "--log-format", "json", "--display", "none",
    )  # fmt: skip
    logs = [json.loads(file.read_text()) for file in (tmp_path / "tasks" / "logs").glob("*.json")]
    assert [log["status"] for log in logs] == ["success"] * 3
    samples = [sample for log in logs for sample in log["samples"]]
    assert {sample["id"]: sample["output"]["choices"][0]["message"]["content"] for sample in samples} == ours
    for sample in samples:
        expected = marks_of(sample["metadata"], ours[sample["id"]])
        assert sample["scores"]["spelling_transfer_marks"]["value"] == expected


def test_answers_become_logs_of_inspect(questions, answered, harness, tmp_path):
    export_inspect(questions, tmp_path / "tasks", 24, answered)
    assert len(harness(tmp_path / "tasks", "python", "write_logs.py").split()) == 3
    log = json.loads(harness(tmp_path / "tasks", "inspect", "log", "dump", "logs/base-count.eval"))
    of_task = answered[answered["task"] == "count"].set_index("example_id")
    facts = log["status"], log["eval"]["model"], log["eval"]["metadata"]["model"]
    assert facts == ("success", "spelling_transfer/base", "abc")
    for sample in log["samples"]:
        marked = of_task.loc[sample["id"]]
        assert sample["output"]["choices"][0]["message"]["content"] == marked["output"]
        value = sample["scores"]["spelling_transfer_marks"]["value"]
        assert value == {key: float(marked[key]) for key in ("exact", "lenient", "invalid")}
    means = {each["name"]: each["metrics"]["mean"]["value"] for each in log["results"]["scores"]}
    assert means["exact"] == pytest.approx(of_task["exact"].mean())
