"""Our tasks in other harnesses: the same questions, the same marks on the same answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from kedro_non_thinking import non_thinking_template
from spelling_transfer.bench import BenchError, export_inspect, export_lm_eval
from spelling_transfer.bench.shared import marks_of, read_questions
from spelling_transfer.evaluation import mark_answers
from spelling_transfer.models import ModelFolder, generate_answers, load_model
from spelling_transfer.tasks import load_tasks
from spelling_transfer.tokenizer import load_chat_tokenizer
from spelling_transfer.tokenizer.chat import embedded_folder
from spelling_transfer.words import random_for

ROOT = Path(__file__).parents[2]
WORDS = ["straw", "berry", "letter", "queen", "happy", "garden"]


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
def full_model(tmp_path_factory) -> Path:
    """The embedded model with a row for every token id and a tokenizer, as other tools open one."""
    import torch

    folder = tmp_path_factory.mktemp("full")
    loaded = load_model(ModelFolder(ROOT / "data/01_raw/models/tiny-qwen3"), device="cpu")
    model, ids = loaded.model, torch.tensor(loaded.vocabulary.token_ids)
    rows = model.get_input_embeddings().weight.detach().clone()
    tokenizer = load_chat_tokenizer()
    model.resize_token_embeddings(151_936, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()[ids] = rows
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.end_id
    model.generation_config.pad_token_id = tokenizer.end_id
    model.to(torch.bfloat16).save_pretrained(folder)
    config = json.loads((embedded_folder() / "tokenizer_config.json").read_text())
    config["chat_template"] = non_thinking_template(config["chat_template"])
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes((embedded_folder() / "tokenizer.json").read_bytes())
    return folder


@pytest.fixture(scope="module")
def ours(questions, full_model) -> dict[str, str]:
    tokenizer = load_chat_tokenizer(full_model)
    loaded = load_model(ModelFolder(full_model), device="cpu")
    answers = generate_answers(loaded, tokenizer, tokenizer.encode_prompts(questions["question"].tolist()))
    return dict(zip(questions["example_id"], map(tokenizer.decode, answers), strict=True))


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
    for _ in range(2):
        export_inspect(questions, target, 24)
    functions = re.findall(r"^def (\w+)", (target / "spelling_transfer_tasks.py").read_text(), re.MULTILINE)
    assert functions == ["spelling_transfer_spelling", "spelling_transfer_position", "spelling_transfer_count"]
    other = tmp_path / "mine"
    other.mkdir()
    (other / "work.txt").write_text("mine")
    for export in (export_lm_eval, export_inspect):
        with pytest.raises(BenchError, match="was not exported by"):
            export(questions, other, 24)
    assert (other / "work.txt").read_text() == "mine"


def test_lm_evaluation_harness_gives_the_same_answers_and_marks(questions, ours, full_model, tmp_path):
    lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not here; docs/public_sets.md")
    from lm_eval.tasks import TaskManager

    export_lm_eval(questions, tmp_path / "tasks", 24)
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(full_model), "enable_thinking": False, "dtype": "float32"},
        tasks=["spelling_transfer"],
        task_manager=TaskManager(include_path=str(tmp_path / "tasks")),
        apply_chat_template=True,
        batch_size=len(WORDS),
        device="cpu",
        bootstrap_iters=0,
    )
    samples = [sample for of_task in found["samples"].values() for sample in of_task]
    assert {sample["doc"]["example_id"]: sample["filtered_resps"][0] for sample in samples} == ours
    for sample in samples:
        expected = marks_of(sample["doc"], ours[sample["doc"]["example_id"]])
        assert {key: sample[key] for key in expected} == expected
    exact = [marks_of(sample["doc"], sample["filtered_resps"][0])["exact"] for sample in samples]
    means = [each["exact,none"] for name, each in found["results"].items() if name != "spelling_transfer"]
    assert sum(means) / len(means) == pytest.approx(sum(exact) / len(exact))


def test_inspect_gives_the_same_answers_and_marks(questions, ours, full_model, tmp_path, monkeypatch):
    inspect_ai = pytest.importorskip("inspect_ai", reason="inspect_ai is not here; docs/public_sets.md")

    export_inspect(questions, tmp_path / "tasks", 24)
    monkeypatch.chdir(tmp_path / "tasks")  # inspect takes no absolute path
    logs = inspect_ai.eval(
        "spelling_transfer_tasks.py",
        model=f"hf/{full_model}",
        model_args={"do_sample": False, "enable_thinking": False, "device": "cpu", "dtype": "float32"},
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    assert [log.status for log in logs] == ["success"] * 3
    samples = [sample for log in logs for sample in log.samples]
    assert {sample.id: sample.output.completion for sample in samples} == ours
    for sample in samples:
        assert sample.scores["spelling_transfer_marks"].value == marks_of(sample.metadata, ours[sample.id])


def test_answers_become_logs_of_inspect(questions, answered, tmp_path):
    pytest.importorskip("inspect_ai", reason="inspect_ai is not here; docs/public_sets.md")
    from inspect_ai.log import read_eval_log

    export_inspect(questions, tmp_path / "tasks", 24, answered)
    script = [sys.executable, str(tmp_path / "tasks" / "write_logs.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == 3
    log = read_eval_log(str(tmp_path / "tasks" / "logs" / "base-count.eval"))
    of_task = answered[answered["task"] == "count"].set_index("example_id")
    assert (log.status, log.eval.model, log.eval.metadata["model"]) == ("success", "spelling_transfer/base", "abc")
    for sample in log.samples:
        marked = of_task.loc[sample.id]
        assert sample.output.completion == marked["output"]
        value = sample.scores["spelling_transfer_marks"].value
        assert value == {key: float(marked[key]) for key in ("exact", "lenient", "invalid")}
    means = {each.name: each.metrics["mean"].value for each in log.results.scores}
    assert means["exact"] == pytest.approx(of_task["exact"].mean())
