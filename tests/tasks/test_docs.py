"""What docs/data_preparation.md and docs/tasks.md show is what the code does."""

import json
import random
import re
from pathlib import Path

import pytest
import yaml

from spelling_transfer.tasks.base import Task
from spelling_transfer.tasks.mixture import MixtureSettings
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import load_chat_tokenizer
from spelling_transfer.words.word_list import WordSelection, select_words

ROOT = Path(__file__).parents[2]
PREPARATION = (ROOT / "docs" / "data_preparation.md").read_text()
TASKS = (ROOT / "docs" / "tasks.md").read_text()


def table_rows(text: str, heading: str) -> list[list[str]]:
    table = text[text.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_number_of_words_is_the_one_that_comes_out():
    assert f"leaves {len(select_words(WordSelection()).words):,} words" in PREPARATION


def test_every_dataset_and_setting_that_is_named_exists():
    catalog = yaml.safe_load((ROOT / "conf/base/catalog/local_prep.yml").read_text())
    for name, file, _ in table_rows(PREPARATION, "| dataset | file"):
        assert catalog[name.strip("`")]["filepath"].endswith(file.strip("`"))
    for setting in MixtureSettings.model_fields:
        assert f"`{setting}`" in PREPARATION


def test_the_own_list_is_configured_as_shown():
    (block,) = re.findall(r"```yaml\n(word_list:.*?)```", PREPARATION, re.DOTALL)
    from spelling_transfer.storage import WordListDataset

    entry = yaml.safe_load(block)["word_list"]
    assert entry.pop("type") == f"spelling_transfer.storage.{WordListDataset.__name__}"
    WordListDataset(**entry)


def test_the_test_that_is_named_exists():
    for name in re.findall(r"`(test_\w+)`", PREPARATION):
        assert f"def {name}(" in (ROOT / "tests/pipelines/test_local_prep.py").read_text()


def test_the_table_of_tasks_is_complete_and_its_examples_right():
    rows = table_rows(TASKS, "| task | question")
    assert {row[0].strip("`") for row in rows} == set(load_tasks())
    arguments = {"position": "2", "count": "t", "contains": "z", "substitute": "t>b"}
    for name, _, answer, trained in rows:
        task = load_tasks()[name.strip("`")]
        separator = " "
        assert task.gold("cat", arguments.get(task.name, ""), separator) == answer.strip("`")
        assert (trained == "yes") == task.trained_by_default


@pytest.mark.parametrize("row", table_rows(TASKS, "| output | asked"), ids=lambda row: row[0])
def test_outputs_are_read_as_the_table_says(row):
    outputs, asked, read = row
    word, name, argument = "straw", "spelling", ""
    if "letter" in asked:
        name, argument = "position", "3"
    if "count" in asked:
        word, name, argument = "strawberry", "count", "r"
    task = load_tasks()[name]
    example = task.make(word, random.Random(0), template=task.templates[0], argument=argument)
    for output in re.findall("`([^`]*)`", outputs):
        mark = task.mark(example, output)
        expected = re.match("`([^`]*)`", read)
        assert mark.read == (expected[1] if expected else "")
        assert mark.invalid == (expected is None)
    if "copied" in read:
        assert mark.measures["copied"] == 1


def test_the_whole_task_of_the_example_works():
    (code,) = re.findall(r"```python\n(.*?)```", TASKS, re.DOTALL)
    (entry,) = re.findall(r"```toml\n(.*?)```", TASKS, re.DOTALL)
    names: dict = {}
    exec(code, names)
    task = names["Vowels"]()
    assert isinstance(task, Task)
    example = task.make("straw", random.Random(0))
    assert task.mark(example, "There are 1 vowels").invalid  # "vowels" is not a word of the frame
    assert task.mark(example, "The answer is one.").lenient
    assert f'{task.name} = "vowels:Vowels"' in entry


def test_the_manifest_in_the_catalog_is_where_the_command_looks():
    assert "kedro bundle verify data/05_model_input/prep_manifest.json" in PREPARATION
    catalog = yaml.safe_load((ROOT / "conf/base/catalog/local_prep.yml").read_text())
    assert catalog["prep_manifest"]["filepath"].endswith("05_model_input/prep_manifest.json")
    assert json.dumps(catalog["prep_files"]["files"]).count("parquet") == 3


def test_the_task_that_is_shown_asks_with_tokens_of_the_embedded_model() -> None:
    known = set(json.loads((ROOT / "data/01_raw/models/tiny-qwen3/token_ids.json").read_text()))
    (source,) = re.findall(r"```python\n(# vowels\.py.*?)```", TASKS, re.DOTALL)
    wordings = [text.replace("{word}", "garden") for text in re.findall(r'"([^"\n]*\{word\}[^"\n]*)"', source)]
    assert len(wordings) == 3
    assert {each for text in wordings for each in load_chat_tokenizer().tokenizer.encode(text).ids} <= known
