"""Studies to compute with, and the platform that runs a study's workers as jobs."""

from lightning_platform import connection, fake_platform, platform, whole_project
from tests.samples.studies import gained_marks, make_study, study_findings

__all__ = [
    "connection",
    "fake_platform",
    "gained_marks",
    "make_study",
    "platform",
    "study_findings",
    "whole_project",
]
