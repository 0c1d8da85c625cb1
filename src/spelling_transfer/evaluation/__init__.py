"""Evaluation: answers are drawn, marked by the tasks' own markers and compared with intervals."""
