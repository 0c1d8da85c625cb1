"""Studies, answers and runs to make pages of."""

from tests.samples.answers import answers, examples
from tests.samples.runs import catalog
from tests.samples.studies import study_findings

__all__ = ["answers", "catalog", "examples", "study_findings"]
