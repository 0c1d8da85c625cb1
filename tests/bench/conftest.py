"""A small project with the embedded model and its examples."""

import pytest

FEW_WORDS = (
    "word_selection: {max_words: 400, random_words: 5}\nexample_mix: {other_task_questions: 5}\n"
    "evaluation: {examples_per_task: 10, examples_per_other_word_set: 0, examples_per_trained_words: 0}\n"
)


@pytest.fixture(scope="package")
def project(copy_project, tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("bench") / "project")
    (project.path / "conf" / "local" / "parameters").mkdir()
    (project.path / "conf" / "local" / "parameters" / "few.yml").write_text(FEW_WORDS)
    done = project.kedro_here("run", "--pipelines=local_prep")
    assert done.exit_code == 0, done.output
    return project
