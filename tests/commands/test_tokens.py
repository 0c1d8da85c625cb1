"""``kedro tokens``: the tokenizer's analysis from the command line."""

import json
from pathlib import Path

import pytest

TOKENIZER = "tokenizer:\n  type: spelling_transfer.storage.ChatTokenizerDataset\n"
FEW_WORDS = "word_selection:\n  max_words: 400\n  random_words: 5\nexample_mix:\n  other_task_questions: 5\n"


@pytest.fixture
def project(toy_project):
    toy_project.write("conf/base/catalog/shared.yml", TOKENIZER)
    return toy_project


def test_a_word_is_shown_in_every_form_with_its_ids(project):
    result = project.kedro("tokens", "--word=strawberry", "--word=Told", "--json")
    assert result.exit_code == 0, result.output
    rows = {(row["word"], row["form"]): row for row in json.loads(result.stdout)}
    assert list(rows)[:2] == [("strawberry", "bare"), ("strawberry", "spaced")]
    assert rows["strawberry", "bare"]["ids"] == [495, 672, 15357]
    assert rows["strawberry", "spaced"]["n_tokens"] == 1
    assert rows["told", "bare"]["pieces"] == "t|old"


def test_the_printed_table_says_the_same(project):
    lines = project.kedro("tokens", "--word=strawberry").stdout.splitlines()
    assert any(line.split() == ["“strawberry”", "the", "word", "alone,", "as", "at", "the", "start", "of", "a", "text",
                                "3", "str|aw|berry", "495", "672", "15357"] for line in lines)  # fmt: skip


def test_words_are_checked_as_in_preparation(project):
    result = project.kedro("tokens", "--word=x1", "--word=cat", "--json")
    assert "Left out: 1 × has digits" in result.stderr
    assert {row["word"] for row in json.loads(result.stdout)} == {"cat"}
    result = project.kedro("tokens", "--word=дом")
    assert result.exit_code == 1
    assert "in another alphabet (Cyrillic)" in result.stderr


@pytest.mark.parametrize(
    "wrong", [["--word=cat", "--english-only"], ["--docs", "--analyze-thinking"], ["--vocabulary"]]
)
def test_options_that_do_not_go_together_are_misuse(project, wrong):
    assert project.kedro("tokens", *wrong).exit_code == 2


def test_what_is_missing_is_prepared_first_and_parts_run_alone(copy_project, tmp_path: Path):
    project = copy_project(tmp_path / "project")
    (project.path / "conf" / "local" / "parameters").mkdir()
    (project.path / "conf" / "local" / "parameters" / "few.yml").write_text(FEW_WORDS)
    done = project.kedro_here("tokens", "--analyze-thinking", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert set(report) == {"template"}
    assert report["template"]["extra_tokens"] == 4
    assert (project.path / "data" / "03_primary" / "words.parquet").is_file()
    assert not (project.path / "data" / "02_intermediate" / "token_analysis").exists()
