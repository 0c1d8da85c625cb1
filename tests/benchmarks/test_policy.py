"""The benchmark of the policy's checks runs and writes its rows; what it measures is not judged here."""


def test_it_checks_files_and_a_table_beside_what_only_reads_or_writes_them(rows_of) -> None:
    rows = rows_of("policy.py", "--quick")
    assert [row["peer_name"] for row in rows] == ["Python's parsers", "to_parquet"]
