"""The benchmark of the token analysis runs and writes its rows; what it measures is not judged here."""


def test_it_compares_ours_with_the_loop_in_one_run(rows_of) -> None:
    loop, found, seconds, memory = rows_of("token_analysis.py", "--quick")
    assert (loop["unit"], loop["peer_name"]) == ("s", "tokenizer.tokenize in a loop")
    assert abs(loop["ratio"] * loop["ours"] - loop["peer"]) < 0.05 * loop["peer"]
    assert (found["ours"], found["peer"]) == (94_358, 47_938)
    assert (seconds["goal"], memory["goal"]) == (10, 1_000)
    assert memory["ours"] > 50
