"""Files as they come: other encodings, spreadsheets, holes, and files that are none of the set."""

from __future__ import annotations

import pytest

from spelling_transfer.bench import BenchError, load_sets

ROWS = ["input,answer"] + [f'"How many times does the letter ""o"" appear in {w}?",1' for w in ("otter", "fox", "crow")]
GOOD = "\n".join(ROWS) + "\n"


def read(path, data: bytes | str):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return load_sets()["tase_count"].read(path, 0)


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.encode("utf-16"),
        GOOD.replace("\n", "\r\n"),
        "sep=,\n" + GOOD,
        GOOD.replace(",1", ";1").replace("input,", "input;"),
        GOOD.replace('""o""', "“o”").replace(",1\n", ",1.0\n"),
        GOOD.replace("input,answer", " Input ,ANSWER"),
        GOOD + "\n,\n",
    ],
    ids=["plain", "BOM", "UTF-16", "CRLF", "sep line", "semicolons", "curly quotes, 1.0", "header", "empty lines"],
)
def test_the_same_rows_are_read_from(data, tmp_path):
    contents = read(tmp_path / "english.csv", data)
    assert [item.text for item in contents.items] == ["otter", "fox", "crow"]
    assert [item.answer for item in contents.items] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('"How many times does the letter ""o"" appear in owl?"', "1 fields, the header has 2"),
        ('"How many times does the letter ""o"" appear in owl?",', "answer is empty"),
        ('"How many times does the letter ""o"" appear in owl?",one', "not a whole number"),
        ('"How many times does the letter ""o"" appear in owl?",2', "its answer is 2, the letters of 'owl' say 1"),
        ('"How often is ""o"" in owl?",1', "not a question of this set"),
        (ROWS[1], "is there twice"),
    ],
)
def test_a_broken_row_is_left_out_and_says_why(row, reason, tmp_path):
    contents = read(tmp_path / "english.csv", GOOD + row + "\n")
    assert len(contents.items) == 3
    (broken,) = contents.broken
    assert broken.where == "english.csv, line 5"
    assert reason in broken.reason


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "is empty"),
        ("question,label\nx,1\n", "has no column input, answer; it has question, label"),
        ("input,answer\nWie viele?,1\nQuoi?,2\n", "2 of 2 rows cannot be used"),
        (GOOD + 'Wie,1\nQuoi,2\nQue,3\n"How ""o""?",4\n', "4 of 7 rows cannot be used"),
        ("input,answer\n", "0 of 0 rows"),
        (GOOD.encode("utf-16")[:-1] + b"\xd8\x00", "is neither UTF-8 nor UTF-16"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "line 1: is neither UTF-8 nor UTF-16"),
        (b"\xef\xbb\xbfinput\n\xe9,x\n", "line 2: is neither UTF-8 nor UTF-16"),
        (b"PK\x03\x04\x00\x00", "holds bytes of no text"),
        (GOOD + '"How many', "a quote is never closed"),
    ],
)
def test_what_is_no_file_of_the_set_is_refused_in_one_line(data, message, tmp_path):
    with pytest.raises(BenchError, match=message) as refused:
        read(tmp_path / "english.csv", data)
    assert str(tmp_path / "english.csv") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", ["missing.csv", "."])
def test_a_file_that_is_not_there(path, tmp_path):
    with pytest.raises(BenchError, match=r"cannot be read|is a folder"):
        load_sets()["tase_count"].read(tmp_path / path, 0)


def test_an_unknown_version_is_read_and_named(tmp_path):
    contents = read(tmp_path / "english.csv", GOOD)
    assert contents.version.startswith("unknown")


@pytest.mark.parametrize("data", ["{}", "[1, 2]", "{]", '{"settings": {"name": "homophones"}, "examples": {}}'])
def test_json_of_another_kind_is_refused(data, tmp_path):
    file = tmp_path / "x.json"
    file.write_text(data)
    with pytest.raises(BenchError):
        load_sets()["lmentry"].read(file, 0)


def test_a_broken_line_of_json_is_left_out(tmp_path):
    file = tmp_path / "x.jsonl"
    good = '{"question": "q otter", "answer": "retto", "metadata": {"word": "otter"}}'
    other = good.replace("otter", "fox").replace("retto", "xof")
    file.write_text("\n".join([good, "{half", '{"question": "q"}', other, good.replace("otter", "ant"), other[:-20]]))
    with pytest.raises(BenchError, match="4 of 6 rows cannot be used"):
        load_sets()["rg_spell_backward"].read(file, 0)
    file.write_text("\n".join([good, "{half", other, good.replace("retto", "otter")]))
    contents = load_sets()["rg_spell_backward"].read(file, 0)
    assert [row.where for row in contents.broken] == ["x.jsonl, line 2", "x.jsonl, line 4"]
    file.write_bytes(f"{good}\r\n{other}\r\n".replace("q ", "q\u2028").encode())
    contents = load_sets()["rg_spell_backward"].read(file, 0)
    assert ([item.text for item in contents.items], contents.broken) == (["otter", "fox"], [])


def test_parquet_is_read(tmp_path):
    import pandas as pd

    file = tmp_path / "test.parquet"
    row = {"id": "a", "word": "otter", "letter": "t", "question": "how many?", "answer": 2, "difficulty": "easy"}
    pd.DataFrame([row, {**row, "id": "b", "answer": 2}]).to_parquet(file)
    assert len(load_sets()["strawberrybench"].read(file, 0).items) == 2
    assert len(load_sets()["strawberrybench"].read(file.rename(tmp_path / "TEST.PARQUET"), 0).items) == 2
    file.write_bytes((tmp_path / "TEST.PARQUET").read_bytes()[:-10])
    with pytest.raises(BenchError, match="no Parquet file, or cut short"):
        load_sets()["strawberrybench"].read(file, 0)
