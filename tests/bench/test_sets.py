"""Each public benchmark, from made-up rows in its true layout: what is read, asked, and marked as its authors mark."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from spelling_transfer.bench import BenchError, load_sets
from spelling_transfer.bench.base import is_right_leniently, read_leniently

TASE = 'input,answer\n"How many times does the letter ""o"" appear in wombat otter?",2\n'
CHARBENCH = (
    "question_idx,question,answer,word,character,task\n"
    "0,How many unique characters appear in the string 'Otter'?,4,Otter,,count_unique_chars\n"
    "1,How many times does the character 't' appear in the string 'otter'?,2,otter,t,count_character_frequency\n"
    "2,\"What is the index of the last occurrence of the character 't' in the string 'otter'?\nStart counting from 0.\""
    ",2,otter,t,find_last_occurrence\n"
)
STRAWBERRY = {
    "id": "sb_00001",
    "word": "Otter",
    "letter": "t",
    "question": "How many t's are in the name 'Otter'?",
    "answer": 2,
    "difficulty": "names",
}
RG_COUNT = {
    "question": 'How many times does the letter "t" appear in the text: "An Otter sat"?',
    "answer": "3",
    "metadata": {"span": ["An", "Otter", "sat"], "target_letter": "t"},
}
RG_BACKWARD = {
    "question": "Spell this word backward (example: sun -> nus): wombat",
    "answer": "tabmow",
    "metadata": {"word": "wombat"},
}


def lmentry(end: str, letter: str) -> str:
    example = {
        "input": f'Q: Say the {end} letter of the word "wombat".\nA:',
        "metadata": {"word": "wombat", "word_levels": ["A1"], "answer": letter, "template_id": 0},
    }
    return json.dumps({"settings": {"name": f"{end}_letter"}, "examples": {"1": example}})


def contents_of(name: str, file: Path, text: str):
    file.write_text(text)
    return load_sets()[name].read(file, 0)


@pytest.mark.parametrize(
    ("name", "file", "text", "expected", "ours"),
    [
        ("tase_count", "english.csv", TASE, [("several_words", "wombat otter", "2")], [None]),
        (
            "charbench",
            "benchmark.csv",
            CHARBENCH,
            [
                ("count_unique_chars", "Otter", "4"),
                ("count_character_frequency", "otter", "2"),
                ("find_last_occurrence", "otter", "2"),
            ],
            [None, "count", None],
        ),
        ("strawberrybench", "dataset.jsonl", json.dumps(STRAWBERRY) + "\n", [("names", "Otter", "2")], ["count"]),
        ("strawberrybench", "dataset.json", json.dumps([STRAWBERRY]), [("names", "Otter", "2")], ["count"]),
        ("lmentry", "f.json", lmentry("first", "w"), [("first_letter/1", "wombat", "w")], ["position"]),
        ("lmentry", "l.json", lmentry("last", "t"), [("last_letter/1", "wombat", "t")], ["position"]),
        ("rg_letter_counting", "x.jsonl", json.dumps(RG_COUNT), [("letter_counting", "An Otter sat", "3")], [None]),
        (
            "rg_spell_backward",
            "x.jsonl",
            json.dumps(RG_BACKWARD),
            [("spell_backward", "wombat", "tabmow")],
            ["reverse"],
        ),
    ],
)
def test_a_set_is_read_from_its_layout(name, file, text, expected, ours, tmp_path):
    contents = contents_of(name, tmp_path / file, text)
    assert contents.broken == []
    assert [(item.kind, item.text, item.answer) for item in contents.items] == expected
    assert [item.ours and item.ours.task for item in contents.items] == ours
    assert list(contents.hashes) == [file]
    question = contents.items[-1].question
    assert expected[-1][1].split()[-1] in question


CUTE = {
    "spell": ("input1\tlabel", "otter\to t t e r", "spelling"),
    "spell_inverse_rand": ("input1\tlabel", "q x z\tqxz", None),
    "contains_char": ("input1\tinput2\tlabel", "o\totter\tYes", "contains"),
    "ins_char": ("input1\tinput2\tinput3\tlabel", "x\tt\totter\totxtxer", None),
    "del_char": ("input1\tinput2\tlabel", "t\totter\toer", None),
    "sub_char": ("input1\tinput2\tinput3\tlabel", "t\tx\totter\toxxer", "substitute"),
    "swap_char": ("input1\tinput2\tinput3\tlabel", "o\te\totter\tettor", None),
    "orth": ("input1\tinput2\tinput3\tlabel", "otter\tutter\tbeaver\tutter", None),
    "del_word": ("input1\tinput2\tlabel", "a\tit is a day\tit is day", None),
}


@pytest.fixture
def cute(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, (header, row, _) in CUTE.items():
        (folder / f"{name}.tsv").write_text(f"{header}\n{row}\n")
    return folder


def test_cute_is_read_table_by_table_but_for_words_of_sentences(cute):
    contents = load_sets()["cute"].read(cute, 0)
    assert contents.broken == []
    assert [(item.kind, item.ours and item.ours.task) for item in contents.items] == sorted(
        (name, ours) for name, (_, _, ours) in CUTE.items() if name != "del_word"
    )
    assert {item.text for item in contents.items} == {"otter", "qxz"}
    assert contents.prompts.startswith("in our words")
    with pytest.raises(BenchError, match="the name of a table says what it asks"):
        load_sets()["cute"].read(cute / "del_word.tsv", 0)


def test_cutes_own_prompts_are_read_as_data_and_never_run(cute):
    kinds = ("spell", "spell_inverse", "contains_char", "orth", "sem", "ins_char", "del_char", "sub_char", "swap_char")
    prompts = {kind: f'1. Like "{kind}".\nQuestion: {{}} {{}} {{}}' for kind in kinds} | {"spell": 'Spell "{}".'}
    prompts |= dict.fromkeys(("contains_char", "del_char"), "{} {}") | {"spell_inverse": "{}"}
    file = cute.parent / "prompts.py"
    file.write_text(f"raise SystemExit('run')\nPROMPTS = {prompts!r}\n")
    contents = load_sets()["cute"].read(cute / "spell.tsv", 0)
    assert contents.items[0].question == 'Spell "otter".'
    assert set(contents.hashes) == {"prompts.py", "spell.tsv"}
    file.write_text("PROMPTS = {'spell': open('x').read()}\n")
    with pytest.raises(BenchError, match="holds no prompts of CUTE"):
        load_sets()["cute"].read(cute / "spell.tsv", 0)


@pytest.mark.parametrize(
    ("name", "file", "text", "right", "wrong", "only_lenient"),
    [
        (
            "cute",
            "spell.tsv",
            "input1\tlabel\notter\to t t e r\n",
            ['o t t e r"', 'o t t e r" and more'],
            ["o t t e"],
            [],
        ),
        ("tase_count", "e.csv", TASE, ["<answer>2</answer>", "So **of 9, 2**"], ["<answer>3</answer>"], ["2"]),
        ("charbench", "b.csv", CHARBENCH, [" 4\n"], ["5", ""], ["four", "4 characters"]),
        (
            "strawberrybench",
            "d.jsonl",
            json.dumps(STRAWBERRY),
            ["2", "ANSWER: 2, not 5", "2 of 5", "two"],
            ["there are 5, no, 2", "none", "2" * 5_000],
            [],
        ),
        (
            "lmentry",
            "f.json",
            lmentry("first", "w"),
            ["W.", "w w", 'The first letter of "wombat" is "w".', "wombat begins with w", "The letter w"],
            ["t", "w or t", "Wombat", ""],
            [],
        ),
        (
            "lmentry",
            "f.json",
            lmentry("first", "W").replace("wombat", "Wombat"),
            ["W.", "the first letter of wombat is w"],
            ["t", ""],
            [],
        ),
        ("rg_letter_counting", "x.jsonl", json.dumps(RG_COUNT), ["3"], ["4", "3."], ["3 times"]),
        ("rg_spell_backward", "x.jsonl", json.dumps(RG_BACKWARD), ["Tabmow"], ["wombat"], ["t a b m o w"]),
    ],
)
def test_answers_are_marked_as_the_authors_mark_and_read_leniently(
    name, file, text, right, wrong, only_lenient, tmp_path
):
    item = contents_of(name, tmp_path / file, text).items[0]
    mark = load_sets()[name].mark
    assert [output for output in right if not mark(item, output)] == []
    assert [output for output in wrong + only_lenient if mark(item, output)] == []
    assert [output for output in only_lenient if not is_right_leniently(item, read_leniently(item, output))] == []
    assert [output for output in wrong[:1] if is_right_leniently(item, read_leniently(item, output))] == []


def test_reasoning_gym_is_generated_here():
    pytest.importorskip("reasoning_gym", reason="needs pip install reasoning-gym")
    for name in ("rg_letter_counting", "rg_spell_backward"):
        contents = load_sets()[name].read(None, 20)
        assert len(contents.items) == 20
        assert contents.broken == []
        assert contents.version.startswith("reasoning-gym 0.1.")


def test_a_package_that_cannot_be_imported_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(BenchError, match=r"pip install reasoning-gym.* \(import of reasoning_gym halted"):
        load_sets()["rg_spell_backward"].read(None, 20)


@pytest.mark.parametrize("name", ["tase_count", "charbench", "strawberrybench", "lmentry", "cute"])
def test_a_set_that_cannot_be_generated_asks_for_its_file(name):
    with pytest.raises(BenchError, match=f"^{name}: --file has to name"):
        load_sets()[name].read(None, 0)
