"""``kedro tune docs``: the findings of the last study, put where they are read."""

from __future__ import annotations

from tests.commands.conftest import TuningProject, assert_refused


def test_it_writes_the_findings_and_says_where(tuning: TuningProject) -> None:
    tuning.write("data/08_reporting/tuning/reports/tuning_results.md", "# What tuning found\n")
    result = tuning.tune("docs")
    assert result.exit_code == 0, result.output
    assert "docs/tuning_results.md" in result.output
    assert (tuning.path / "docs" / "tuning_results.md").read_text() == "# What tuning found\n"
    elsewhere = tuning.kedro_here("tune", "docs", "--output", "elsewhere.md", place="docs")
    assert f"document  {tuning.path / 'elsewhere.md'}" in elsewhere.output  # from the project's folder
    assert (tuning.path / "elsewhere.md").read_text() == "# What tuning found\n"
    assert "The answer of the evaluation is left out: there is none yet" in result.output


def test_without_a_study_it_says_what_to_run(tuning: TuningProject) -> None:
    assert_refused(tuning.tune("docs"), 1, "no study has been finished yet")
    assert not (tuning.path / "docs").exists()
