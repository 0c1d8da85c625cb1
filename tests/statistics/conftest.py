"""Studies to compute with."""

from tests.study.conftest import gained_marks, make_study, study_findings

__all__ = ["gained_marks", "make_study", "study_findings"]
