"""The benchmark of the dispatch runs and writes its rows; what it measures is not judged here, what it counts is."""


def test_under_faulty_answers_each_job_is_done_once_and_no_machine_stays_on(rows_of) -> None:
    found = {row["metric"]: row["ours"] for row in rows_of("compute.py", "--quick", "--jobs=6")}
    assert found["6 jobs, 10% faulty answers: pieces of work done exactly once"] == 6
    assert found["commands begun in all"] == 6
    assert found["jobs reported as failed"] == 0
    assert found["machines still on afterwards"] == 0
    assert found["memory of the driver, peak"] > 30
