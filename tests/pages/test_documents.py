from __future__ import annotations

import re
from collections.abc import Callable

import yaml
from tests.samples.evaluations import evaluation

from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.pages.documents import with_answer, write_study_document
from spelling_transfer.pages.verdict import describe_verdict
from spelling_transfer.study.config import TrialConfig
from spelling_transfer.study.findings import StudyFindings


def test_the_document_holds_the_numbers_and_valid_tables(study_findings: Callable[..., StudyFindings]) -> None:
    found = study_findings(12, seeds=3)
    text = write_study_document(found)
    assert f"{found.confirmation['mean']:.1%}" in text
    for table in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        widths = {line.count("|") for line in table.strip().splitlines()}
        assert len(widths) == 1, table
    assert not re.search(r"\bnan\b|\bNone\b", text)
    config = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)[0])
    assert TrialConfig.model_validate(config)


def test_the_answer_stands_before_the_study() -> None:
    found = evaluation(EvaluationSettings(n_resamples=999, confidence=0.9))
    text = with_answer("# What tuning found\n\n## The study\n\nA search.\n", found.verdict, found.effects)
    assert text.index("## The answer") < text.index("## The study") < text.index("A search.")
    assert describe_verdict(found.verdict)[0] in text
    direct = next(line for line in text.splitlines() if line.startswith("| direct arm (position) | position |"))
    assert direct.endswith(" |")
    assert direct.count("|") == 7
    tables = [line.count("|") for line in text.splitlines() if line.startswith("| ceiling")]
    assert set(tables) == {7}
    assert text.count("(90% interval)") == 2
