"""The benchmark of a busy machine runs, writes its rows, and gets the same answers beside a neighbour as alone."""


def test_answers_beside_another_process_are_those_of_a_run_alone(rows_of) -> None:
    rows = rows_of("busy.py", "--quick", "--waiting", "asleep")
    assert [(row["part"], row["threads wait"], row["same answers"]) for row in rows] == [
        ("evaluation", "asleep", True),
        ("serving", "asleep", True),
        ("local_prep", "asleep", True),
    ]
    assert all(row["idle seconds"] > 0 and row["busy seconds"] > 0 and row["goal"] == 2.5 for row in rows)
