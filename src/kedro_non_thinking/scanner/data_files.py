"""Data: JSON lines, comma-separated values, Parquet. A tag is a violation here, whatever the sentence around it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..findings import Finding, shorten
from ..judge import Judge, Mode
from ..keys import Problem
from ..tokens import TOKENIZER_KEY, judge_answers, judge_examples, judge_prompts
from ..values import PairList
from .source import Source, UncheckableError

_ID_LIST = re.compile(r"\[\s*\d+(?:[\s,]+\d+)*\s*\]")


def scan_json_lines(source: Source, judge: Judge, *, triggered: bool) -> list[Finding]:
    """Judges JSON lines; lines that hold nothing to judge are only parsed."""
    findings: list[Finding] = []
    for number, line in enumerate(source.text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=PairList if triggered else None)
        except (ValueError, RecursionError) as error:
            raise UncheckableError(f"not valid JSON lines ({error}, line {number})") from error
        if triggered:
            found = [problem for _, problem in judge.tree(_without_ids(value), mode=Mode.DATA)]
            found += _record_ids(value, judge)
            findings += [source.finding(problem, number) for problem in found]
    return findings


def scan_table_text(source: Source, judge: Judge) -> list[Finding]:
    """Judges comma- or tab-separated values."""
    normalised = judge.text_rules.normalise(source.text)
    problems = []
    lines = normalised.split("\n")
    for problem in judge.string(source.text, Mode.DATA):
        line = lines[normalised.count("\n", 0, problem.offset)]
        # A row of a vocabulary: the id and the tag itself.
        if problem.rule == "think-tag" and any(str(token) in line for token in judge.policy.think_ids):
            continue
        problems.append(problem)
    for match in _ID_LIST.finditer(normalised):
        ids = [int(number) for number in re.findall(r"\d+", match[0])]
        found = judge_prompts(np.asarray(ids, dtype=np.int64), judge.policy, "a list of ids")
        if found is not None:
            problems.append(Problem(found.rule, found.message, shorten(match[0]), match.start()))
    return source.findings(problems, normalised)


def scan_parquet(file: Path, shown: str, judge: Judge) -> list[Finding]:
    """Judges a Parquet file, one row group after the other.

    Raises:
        UncheckableError: The file is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ..frames import judge_table

    findings: list[Finding] = []
    try:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            for column, problem in judge_table(parquet.read_row_group(group), judge):
                findings.append(Finding(f"{shown}#{column}", 0, problem.rule, problem.message, problem.value))
    except (pa.ArrowException, OSError) as error:
        raise UncheckableError(f"not valid Parquet ({str(error).splitlines()[0]})") from error
    return findings


def _record_ids(value: Any, judge: Judge) -> list[Problem]:
    if not isinstance(value, PairList):
        return []
    record = {str(key): entry for key, entry in value}
    problems = []
    for key, entry in record.items():
        if not (isinstance(entry, list) and entry and all(type(token) is int for token in entry)):
            continue
        ids = np.asarray(entry, dtype=np.int64)
        start, tokenizer = record.get("label_start"), record.get(TOKENIZER_KEY)
        if key == "input_ids" and type(start) is int:
            rows = np.asarray([0, ids.size])
            named = tokenizer if isinstance(tokenizer, str) else None
            problem = judge_examples(ids, rows, np.asarray([start]), judge.policy, key, named)
        elif "prompt" in key or key == "input_ids":
            problem = judge_prompts(ids, judge.policy, key)
        else:
            problem = judge_answers(ids, judge.policy, key)
        problems += [problem] if problem else []
    return problems


def _without_ids(value: Any) -> Any:
    if not isinstance(value, PairList):
        return value
    return PairList(
        (key, None if isinstance(entry, list) and entry and type(entry[0]) is int else entry) for key, entry in value
    )
