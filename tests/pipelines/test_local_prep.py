"""Local preparation as a user runs it: ``kedro run`` in a copy of the project, from words to manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from spelling_transfer.pipelines.local_prep.manifest import make_manifest
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer

ROOT = Path(__file__).parents[2]
FEW = "--params=word_selection.max_words=1500,word_selection.random_words=20,example_mix.other_task_questions=20"
CopyProject = Callable[[Path], Any]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, copy_project: CopyProject) -> Any:
    made = copy_project(tmp_path_factory.mktemp("study") / "project")
    done = made.kedro("run", "--pipelines=local_prep", FEW)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def project(copied: Any) -> Path:
    path: Path = copied.path
    return path


def test_a_run_leaves_everything_that_the_manifest_lists(copied: Any, project: Path):
    manifest = json.loads((project / "data/05_model_input/prep_manifest.json").read_text())
    assert manifest["counts"]["words_kept"] == 1500
    assert manifest["parameters"]["example_mix"]["spelling_data_ratio"] == 1.0
    assert set(manifest["files"]) == {
        "03_primary/words.parquet",
        "03_primary/examples.parquet",
        "03_primary/baselines.csv",
        "03_primary/split_report.json",
        "05_model_input/encoded_examples.parquet",
        "05_model_input/example_counts.json",
    }
    rows = {name: facts.get("rows") for name, facts in manifest["files"].items()}
    examples = pd.read_parquet(project / "data/03_primary/examples.parquet")
    prompted = int((examples["kind"] != "rehearsal").sum())  # plain lines are encoded where they are trained on
    assert rows["03_primary/examples.parquet"] == len(examples) > prompted
    assert rows["05_model_input/encoded_examples.parquet"] == prompted > 3000
    assert json.loads((project / "data/03_primary/split_report.json").read_text())["inflections_across_splits"] == 0
    verified = copied.kedro_here("bundle", "verify")
    assert verified.exit_code == 0, verified.output


def test_the_embedded_default_trains_on_spelling_alone(project: Path):
    examples = pd.read_parquet(project / "data/03_primary/examples.parquet")
    real = examples[(examples["split"] == "train") & (examples["kind"] == "real")]
    assert set(real["task"]) == {"spelling"}
    assert set(real["separator"]) == {" "}
    pool = examples[(examples["split"] == "train") & (examples["kind"] == "pool")]
    assert {"position", "count"} <= set(pool["task"])  # direct-training data for that arm
    assert set(examples["kind"]) == {"real", "pool", "asked", "wrong_letters", "indexed", "token_letters", "rehearsal"}


def test_the_embedded_model_knows_every_token_of_what_a_default_run_trains_on_and_asks(project: Path):
    known = set(json.loads((ROOT / "data/01_raw/models/tiny-qwen3/token_ids.json").read_text()))
    encoded = pd.read_parquet(project / "data/05_model_input/encoded_examples.parquet")
    # Indexed spelling, "1:s 2:t", has tokens of its own; a run that asks for this arm names it as not trained.
    encoded = encoded[encoded["kind"] != "indexed"]
    assert known.issuperset(token for ids in encoded["input_ids"] for token in ids)


def test_the_same_bytes_come_out_elsewhere(project: Path, copy_project: CopyProject, tmp_path: Path):
    """What moving the preparation to a Studio rests on: another folder, locale, time zone, hash seed, thread count."""
    other = copy_project(tmp_path / "elsewhere")
    done = other.kedro(
        "run",
        "--pipelines=local_prep",
        FEW,
        PYTHONHASHSEED="77",
        TZ="Pacific/Auckland",
        LC_ALL="C",
        RAYON_NUM_THREADS="1",
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    first, second = (
        (folder / "data/05_model_input/prep_manifest.json").read_text() for folder in (project, other.path)
    )
    assert first == second


def test_a_task_of_another_package_appears_with_no_edit(
    copy_project: CopyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "site"
    (package / "vowels-1.0.dist-info").mkdir(parents=True)
    (package / "vowels-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vowels\nVersion: 1.0\n")
    (package / "vowels-1.0.dist-info" / "entry_points.txt").write_text(
        "[spelling_transfer.tasks]\nvowels = vowels:Vowels\n"
    )
    (package / "vowels.py").write_text(
        "from spelling_transfer.tasks.base import WordTask, make_templates\n"
        "from spelling_transfer.tasks.marking import echo_of, read_number\n\n\n"
        "class Vowels(WordTask):\n"
        "    name = 'vowels'\n"
        "    trained_by_default = True\n"
        "    templates = make_templates('vowels', ['How many vowels are in {word}?'], ['Vowels of {word}?'])\n\n"
        "    def gold(self, word, argument, separator):\n"
        "        return str(sum(letter in 'aeiou' for letter in word))\n\n"
        "    def read(self, asked, output):\n"
        "        number = read_number(output, echo_of(asked))\n"
        "        return None if number is None else str(number)\n"
    )
    other = copy_project(tmp_path / "project")
    half = FEW + ",example_mix.spelling_data_ratio=0.5"
    monkeypatch.syspath_prepend(str(package))
    load_tasks.cache_clear()
    try:
        done = other.kedro_here("run", "--pipelines=local_prep", half)
    finally:
        load_tasks.cache_clear()
    assert done.exit_code == 0, done.output
    examples = pd.read_parquet(other.path / "data/03_primary/examples.parquet")
    vowels = examples[examples["task"] == "vowels"]
    assert set(vowels["split"]) == {"train", "test"}
    real = examples[(examples["kind"] == "real") & (examples["split"] == "train")]
    assert {"vowels", "spelling", "position", "count"} == set(real["task"])


def test_a_word_list_that_cannot_be_used_stops_the_run_and_leaves_the_files_of_before(copied: Any, project: Path):
    before = (project / "data/03_primary/words.parquet").read_bytes()
    (project / "my.txt").write_text("слово\nмир\n", encoding="utf-8")
    own = project / "conf/local/catalog.yml"
    own.write_text("word_list:\n  type: spelling_transfer.storage.WordListDataset\n  filepath: my.txt\n")
    try:
        done = copied.kedro_here("run", "--pipelines=local_prep", FEW)
    finally:
        own.unlink()
    assert done.exit_code == 1
    assert "my.txt: no word is left. Dropped: 2 × in another alphabet (Cyrillic)" in done.output
    assert "Traceback" not in done.output
    assert (project / "data/03_primary/words.parquet").read_bytes() == before


def test_on_a_mac_the_model_itself_says_how_hard_words_are(copy_project: CopyProject, tmp_path: Path):
    pytest.importorskip("mlx_lm", reason="mlx-lm is there on Apple Silicon, and on Linux with the extra 'dev'")
    project = copy_project(tmp_path / "project")
    few = "--params=word_selection.max_words=24,word_selection.random_words=0"
    scores = []
    for environment in ("mac", "local"):
        options = ["--pipelines=local_prep", "--to-nodes=local_prep.rate_difficulty", f"--env={environment}", few]
        done = project.kedro_here("run", *options)
        assert done.exit_code == 0, done.output
        scores.append(pd.read_parquet(project.path / "data/03_primary/words.parquet"))
    by_loss, by_structure = scores
    assert list(by_loss["word"]) == list(by_structure["word"])
    assert by_structure["difficulty_score"].between(0, 1).all()
    assert (by_loss["difficulty_score"] != by_structure["difficulty_score"]).all()
    assert by_loss["difficulty"].value_counts().to_dict() == {"easy": 8, "medium": 8, "hard": 8}


def test_the_manifest_gives_the_licence_of_the_tokenizer_that_was_used(tokenizer: ChatTokenizer) -> None:
    licences = [
        make_manifest({}, "..", each, {}, {})["licences"] for each in (tokenizer, replace(tokenizer, sha256="0" * 64))
    ]
    assert [sorted(each) for each in licences] == [
        ["Qwen3 tokenizer", "english-words", "wordfreq"],
        ["english-words", "wordfreq"],
    ]
