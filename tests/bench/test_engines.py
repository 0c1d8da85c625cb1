"""Engines beside one another: what differs is counted by hand, and what is no answer is never scored."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd
import pytest
from tests.serving.conftest import SAMPLING
from tests.serving.test_export import EMBEDDED, TINY, adapted

from spelling_transfer.bench import (
    BenchError,
    EndpointAnswerer,
    ask_engines,
    compare_engines,
    differing_answers,
    local_answerer,
    open_endpoint,
    other_prompts,
    score_engines,
)
from spelling_transfer.bench.engines import first_difference
from spelling_transfer.models import load_model
from spelling_transfer.serving.process import running_endpoint
from spelling_transfer.tasks import load_tasks
from spelling_transfer.words import random_for

WORDS = ["garden", "window", "letter", "house", "people", "number"]


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    rows = [
        {"example_id": f"{task}-{word}", "stem": word, **vars(load_tasks()[task].make(word, random_for(task, word)))}
        for task in ("spelling", "position")
        for word in WORDS
    ]
    return pd.DataFrame(rows)


class Scripted:
    """Gives the right answers but for some, by example."""

    def __init__(self, sample: pd.DataFrame, changed: dict[str, tuple[str, bool] | str], decoding: str = "greedy"):
        right = [(answer, True) for answer in sample["answer"]]
        self._given = [changed.get(name, each) for name, each in zip(sample["example_id"], right, strict=True)]
        self.decoding = decoding

    def __call__(self, questions: Sequence[str], prefills: Sequence[str]) -> list[tuple[str, bool] | str]:
        assert set(prefills) == {""}
        return self._given


def test_what_differs_is_counted_with_its_place_and_its_marks(sample, tokenizer):
    spelled = sample.set_index("example_id")["answer"]["spelling-window"]
    other = {
        "spelling-window": (spelled + "!", True),  # goes on where the other ends, and is no exact answer
        "position-house": ("it is unclear", True),
        "position-people": "no answer in 5 tries (unreachable)",
        "position-number": ("", False),
    }
    third = {"position-house": ("it was unclear", True)}
    engines = [("a", Scripted(sample, {})), ("b", Scripted(sample, other)), ("c", Scripted(sample, third))]
    answers = ask_engines(sample, iter(engines))
    changes = differing_answers(answers, tokenizer)
    pairs = compare_engines(answers, changes).set_index(["engine", "other", "task"])
    row = pairs.loc[("a", "b", "position")]
    assert row[["n", "differ", "gained", "lost"]].tolist() == [5, 2, 0, 2]
    assert row["share"] == pytest.approx(2 / 5)
    assert row["difference"] == pytest.approx(-2 / 5)
    assert row["low"] < 2 / 5 < row["high"]
    assert pairs.loc[("a", "b", "all"), ["n", "differ", "lost"]].tolist() == [11, 3, 3]
    # Both wrong, other words: a difference that no mark shows.
    assert pairs.loc[("b", "c", "position"), ["differ", "gained", "lost"]].tolist() == [2, 1, 0]
    assert pairs.loc[("a", "c", "spelling"), ["differ", "share", "low"]].tolist() == pytest.approx([0, 0, 0])
    assert 0 < pairs.loc[("a", "c", "spelling"), "high"] < 1
    of_pair = changes[(changes["engine"] == "a") & (changes["other"] == "b")].set_index("example_id")
    assert of_pair["place"].to_dict() == {
        "spelling-window": len(tokenizer.encode_texts([spelled])[0]) + 1,
        "position-house": 1,
        "position-number": 1,
    }
    assert of_pair["exact"].all()
    assert not of_pair["exact_other"].any()
    both_wrong = changes[(changes["engine"] == "b") & (changes["example_id"] == "position-house")]
    assert both_wrong[["other", "place", "exact", "exact_other"]].to_numpy().tolist() == [["c", 2, False, False]]
    scores = score_engines(answers).set_index(["engine", "task"])
    assert scores.loc[("b", "position"), ["n", "not_ended"]].tolist() == [5, 1]
    assert scores.loc[("b", "position"), "exact"] == pytest.approx(3 / 5)
    assert scores.loc[("b", "all"), "no_answer"] == "no answer in 5 tries (unreachable) (1)"
    assert scores.loc[("a", "all"), ["exact", "no_answer"]].tolist() == [1.0, ""]


def test_an_engine_that_draws_is_marked_and_not_called_different(sample, tokenizer):
    drawn = {"position-house": ("z", True)}
    engines = [("a", Scripted(sample, {})), ("b", Scripted(sample, drawn, "its own")), ("c", Scripted(sample, {}, "x"))]
    answers = ask_engines(sample, iter(engines))
    pairs = compare_engines(answers, differing_answers(answers, tokenizer))
    assert pairs.loc[pairs["problem"] != "", ["engine", "other"]].to_numpy().tolist() == [["a", "b"], ["a", "c"]]
    assert set(pairs["problem"]) == {"one draws its answers", ""}
    assert pairs.loc[(pairs["engine"] == "b") & (pairs["task"] == "all"), "differ"].tolist() == [1]
    scores = score_engines(answers)
    assert scores.loc[scores["task"] == "all", "exact"].tolist() == pytest.approx([1, 11 / 12, 1])


def test_engines_that_cannot_be_compared_are_refused(sample):
    silent = Scripted(sample, dict.fromkeys(sample["example_id"], "no answer in 5 tries (x)"))
    with pytest.raises(BenchError, match=r"b: none of 12 questions got an answer to score: no answer in 5 tries"):
        ask_engines(sample, iter([("a", Scripted(sample, {})), ("b", silent)]))
    with pytest.raises(BenchError, match="a: is named twice"):
        ask_engines(sample, iter([("a", Scripted(sample, {})), ("a", Scripted(sample, {}))]))


def test_a_prompt_of_another_length_is_another_template(sample, tokenizer):
    questions = sample["question"].tolist()
    ours = {question: len(ids) for question, ids in zip(questions, tokenizer.encode_prompts(questions), strict=True)}
    assert other_prompts(questions, ours, tokenizer) == {}
    thinking = {question: length - 4 for question, length in ours.items()}  # the empty think block has four tokens
    assert other_prompts(questions, thinking, tokenizer) == {-4: len(questions)}
    assert other_prompts(questions, {}, tokenizer) == {}


def test_texts_part_at_a_token(tokenizer):
    assert first_difference("a b c", "a x c", tokenizer) == 2
    assert first_difference("a b", "a b c", tokenizer) == 3
    assert first_difference("", "a", tokenizer) == 1


def test_our_endpoint_draws_what_our_engine_draws_from_the_same_seeds(sample, tokenizer, tmp_path):
    deployable, *_ = adapted(EMBEDDED, TINY, tmp_path, tokenizer, None)
    loaded = load_model(deployable, device="cpu")
    limits = {"max_new_tokens": 24, "batch_size": 64, "name": "ours"}
    with (
        running_endpoint(deployable, start_timeout_seconds=600, stop_timeout_seconds=120, accelerator="cpu") as running,
        open_endpoint(running.url) as client,
    ):
        endpoint = EndpointAnswerer(client, 24, think_ids=tokenizer.think_ids)
        engines = [
            ("ours", local_answerer(loaded, tokenizer, **limits)),
            ("drawn", local_answerer(loaded, tokenizer, sampling=SAMPLING, **limits)),
            ("endpoint", endpoint),
        ]
        answers = ask_engines(sample, iter(engines))
    pairs = compare_engines(answers, differing_answers(answers, tokenizer)).set_index(["engine", "other", "task"])
    assert pairs.loc[("drawn", "endpoint", "all"), ["n", "differ"]].tolist() == [12, 0]
    assert pairs.loc[("ours", "endpoint", "all"), "problem"] == "one draws its answers"
    outputs = answers.pivot(index="example_id", columns="engine", values="output")
    assert (outputs["ours"] != outputs["drawn"]).any()
    assert other_prompts(sample["question"], endpoint.prompt_tokens, tokenizer) == {}
    assert len(endpoint.prompt_tokens) == len(sample)


def test_the_command_asks_compares_and_stores(project):
    done = project.kedro_here("bench", "engines", "transformers", "ours@1", "ours@64", "--limit=8", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    pairs = {(row["engine"], row["other"]): row for row in report["pairs"] if row["task"] == "all"}
    assert set(pairs) == {("transformers", "ours@1"), ("transformers", "ours@64"), ("ours@1", "ours@64")}
    n = pairs["transformers", "ours@1"]["n"]
    assert n  # few of so few words are held out
    for row in pairs.values():
        assert (row["n"], row["differ"], row["gained"], row["lost"]) == (n, 0, 0, 0)
        assert row["low"] == pytest.approx(0)
        assert 0 < row["high"] < 1
    stored = project.path / "data/08_reporting/engines"
    assert pd.read_csv(stored / "pairs.csv")["differ"].eq(0).all()
    assert len(pd.read_csv(stored / "scores.csv")) == len(report["scores"])
    answers = pd.read_parquet(project.path / "data/07_model_output/engines/answers.parquet")
    assert answers["engine"].value_counts().to_dict() == dict.fromkeys(["transformers", "ours@1", "ours@64"], n)
    printed = project.kedro_here("bench", "engines", "ours", "ours-drawn@16", "--limit=4").stdout
    assert "not compared: one draws its answers" in printed
    assert "kedro bench engines" in project.kedro_here("peek", "engine_pairs").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vllm"], "There is no engine 'vllm'; there are ours, ours-drawn, transformers, mlx and URLs of endpoints."),
        (["ours@0"], "ours@0: a batch holds at least one question."),
        (["ours", "ours"], "An engine is named twice"),
        (["ours@1", "http://127.0.0.1:9"], "names no model at /v1/models"),
        (["ours", "--arm=spelling"], "arm_adapters"),
        (["ours", "--arm=base", "--model", "x"], "give one."),
        (["http://127.0.0.1:9"], "http://127.0.0.1:9: names no model at /v1/models"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line_before_a_model_answers(arguments, message, project, monkeypatch):
    monkeypatch.setattr("spelling_transfer.models.load_model", None)
    done = project.kedro_here("bench", "engines", *arguments)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
