"""Studies, answers and runs to make pages of."""

from tests.evaluation.conftest import answers, examples
from tests.study.conftest import gained_marks, make_study, study_findings

from .runs import catalog

__all__ = ["answers", "catalog", "examples", "gained_marks", "make_study", "study_findings"]
