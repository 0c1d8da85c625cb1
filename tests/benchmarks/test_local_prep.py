"""The benchmark of the preparation runs, and its peer makes the same ids; what it measures is not judged here."""


def test_each_example_rendered_on_its_own_has_the_same_ids(rows_of) -> None:
    encoding, whole, seconds, memory, *_ = rows_of("local_prep.py", "--quick")
    assert {encoding["peer_name"], whole["peer_name"]} == {"one apply_chat_template call an example"}
    assert (seconds["goal"], memory["goal"]) == (60, 2_000)
