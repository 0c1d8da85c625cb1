"""``kedro bench`` on a small project with the embedded model."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from spelling_transfer.bench import load_sets
from spelling_transfer.commands.bench import _print


@pytest.fixture
def spell(project):
    words = pd.read_parquet(project.path / "data/03_primary/words.parquet").query("word_set == 'word'")
    trained, test = (words.loc[words["split"] == split, "word"].tolist()[:5] for split in ("train", "test"))
    file = project.path / "spell.tsv"
    file.write_text("input1\tlabel\n" + "".join(f"{word}\t{' '.join(word)}\n" for word in [*trained, *test]) + "x\ty\n")
    return file, trained, len(trained) + len(test)


def test_sets_are_listed_with_source_and_licence(project):
    listed = json.loads(project.kedro_here("bench", "list", "--json").stdout)
    assert set(listed) == set(load_sets())
    assert listed["lmentry"]["licence"].startswith("none stated")
    assert "CC-BY-4.0" in project.kedro_here("bench", "list").stdout


def test_a_set_is_asked_marked_stored_and_summed_up(project, spell):
    file, trained, n_items = spell
    done = project.kedro_here("bench", "run", "cute", "--file", str(file), "--arm=base", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["items"], report["word_was_trained"]) == (n_items, len(trained))
    assert report["broken"] == [f"spell.tsv, line {n_items + 2}: its answer is 'y', the letters of 'x' say 'x'"]
    assert list(report["not_asked"].values()) == [n_items]  # the embedded model's vocabulary has no quotes
    scores = {row["items"]: row for row in report["scores"]}
    assert (scores["all"]["n"], scores["clean"]["n"]) == (
        n_items,
        n_items - len(trained) - report["family_was_trained"],
    )
    answers = pd.read_parquet(project.path / "data/07_model_output/public_sets/cute.parquet")
    assert answers.loc[answers["seen"] == "word", "text"].tolist() == trained
    assert (answers["correct"] == (answers["output"] == answers["answer"])).all()
    assert answers["correct"].mean() == pytest.approx(scores["all"]["correct"])
    assert answers["correct"].any()
    printed = project.kedro_here("bench", "run", "cute", "--file", str(file), "--arm=base", "--limit=4").stdout
    assert f"left out  spell.tsv, line {n_items + 2}" in printed
    assert f"{n_items} read, 4 evaluated" in printed
    assert "kedro bench run" in project.kedro_here("peek", "public_set_answers.cute").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cuet"], "There is no public benchmark 'cuet'"),
        (["cute"], "cute: --file has to name"),
        (["cute", "--file", "spell.tsv", "--arm=spelling"], "arm_adapters"),
        (["cute", "--file", "spell.tsv", "--model", "nowhere"], "no such model folder"),
        (["cute", "--file", "spell.tsv", "--arm=base", "--model", "x"], "give one."),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(arguments, message, project, spell):
    done = project.kedro_here("bench", "run", *arguments)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_without_the_words_nothing_is_asked_whose_answers_would_be_lost(project, spell):
    file = project.path / "data/03_primary/words.parquet"
    file.rename(file.with_suffix(".away"))
    try:
        done = project.kedro_here("bench", "run", "cute", "--file", str(spell[0]), "--endpoint", "http://127.0.0.1:9")
    finally:
        file.with_suffix(".away").rename(file)
    assert done.exit_code == 1
    assert "words.parquet" in done.stderr  # and not that nobody answers there


def test_the_name_that_an_endpoint_gives_its_model_is_printed_as_it_is(capsys):
    arm = "[/org] model"
    facts = dict.fromkeys(("set", "title", "version", "prompts", "decoding"), "x")
    counts = dict.fromkeys(("items", "asked", "word_was_trained", "family_was_trained", "did_not_end"), 0)
    score = {"kind": "k", "form": "f", "arm": arm, "seed": -1, "items": "all", "n": 1, "low": None}
    score |= dict.fromkeys(("correct", "lenient", "invalid"), 1.0)
    _print({**facts, **counts, "not_asked": {}, "broken": [], "scores": [score], "differences": []})
    assert arm in capsys.readouterr().out


@pytest.mark.parametrize(
    ("harness", "file"), [("lm-eval", "spelling_transfer_spelling.yaml"), ("inspect", "spelling_transfer_tasks.py")]
)
def test_the_questions_of_the_evaluation_are_exported(project, harness, file):
    done = project.kedro_here("bench", "export", harness, harness)
    assert done.exit_code == 0, done.output
    assert (project.path / harness / file).is_file()
    assert "questions of 7 tasks" in done.stdout  # among so few words none is fit for counting
    asked = [json.loads(line) for line in (project.path / harness / "spelling.jsonl").read_text().splitlines()]
    examples = pd.read_parquet(project.path / "data/03_primary/examples.parquet").set_index("example_id")
    assert asked
    assert set(examples.loc[[each["example_id"] for each in asked], "split"]) == {"test"}
    done = project.kedro_here("bench", "export", "lm-eval", "conf")
    assert "was not exported by" in done.stderr
    assert project.kedro_here("bench", "export", "lm-eval", "x", "--answers").exit_code == 2
