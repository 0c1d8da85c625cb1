"""Notebooks: code cells as Python and shell, text cells as documents, outputs as data."""

from __future__ import annotations

import json
import re
from typing import Any

from ..findings import Finding
from ..judge import Judge, Mode
from .documents import scan_document
from .python_code import scan_python
from .shell import scan_shell
from .source import Source, UncheckableError


def scan_notebook(source: Source, judge: Judge) -> list[Finding]:
    """Judges a Jupyter notebook; lines are those of the ``.ipynb`` file."""
    try:
        data = json.loads(source.text)
    except (ValueError, RecursionError) as error:
        raise UncheckableError(f"not a notebook: not valid JSON ({error})") from error
    cells = data.get("cells") if isinstance(data, dict) else None
    if not isinstance(cells, list):
        raise UncheckableError("not a notebook: it has no cells")
    findings: list[Finding] = []
    position = 0
    for cell in cells:
        text = _text(cell.get("source"))
        first_line, position = _locate(source.text, text, position)
        part = source.part(text, first_line)
        if cell.get("cell_type") == "code":
            findings += _scan_code(part, judge)
            for output in cell.get("outputs", []):
                findings += _scan_output(source, judge, output, first_line)
        else:
            findings += scan_document(part, judge)
    return findings


def _scan_code(part: Source, judge: Judge) -> list[Finding]:
    shell = "\n".join(line.lstrip()[1:] if re.match(r"\s*!", line) else "" for line in part.text.split("\n"))
    cell_magic = re.match(r"\s*%%(bash|sh|script)\b[^\n]*", part.text)
    if cell_magic:
        return scan_shell(Source(part.path, _blank_first(part.text), part.deployment, part.first_line, True), judge)
    code = "\n".join("pass" if re.match(r"\s*[!%?]", line) else line for line in part.text.split("\n"))
    code = "\n".join(_keep_indent(old, new) for old, new in zip(part.text.split("\n"), code.split("\n"), strict=True))
    findings = (
        scan_shell(Source(part.path, shell, part.deployment, part.first_line, True), judge) if shell.strip() else []
    )
    try:
        return findings + scan_python(Source(part.path, code, part.deployment, part.first_line, True), judge)
    except UncheckableError:
        normalised = judge.text_rules.normalise(part.text)  # a cell in another language, judged as text
        return findings + part.findings(judge.string(part.text), normalised)


def _scan_output(source: Source, judge: Judge, output: Any, line: int) -> list[Finding]:
    if not isinstance(output, dict):
        return []
    texts = [_text(output.get("text"))]
    texts += [_text(value) for name, value in (output.get("data") or {}).items() if str(name).startswith("text/")]
    problems = [problem for text in texts for problem in judge.string(text, Mode.SETTING)]
    return [source.finding(problem, line) for problem in problems if problem.rule in ("think-tag", "reasoning-content")]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _locate(notebook: str, text: str, position: int) -> tuple[int, int]:
    """Returns the line of the file in which the first line of a cell is stored, and where to look on from."""
    first = text.split("\n", 1)[0]
    found = notebook.find(json.dumps(first, ensure_ascii=False)[1:-1] if first else '"source"', position)
    if found < 0:
        found = notebook.find(json.dumps(first)[1:-1], position)
    if found < 0:
        return 1, position
    return notebook.count("\n", 0, found) + 1, found + 1


def _keep_indent(old: str, new: str) -> str:
    return old[: len(old) - len(old.lstrip())] + "pass" if new == "pass" and old.strip() != "pass" else new


def _blank_first(text: str) -> str:
    return "\n" + text.split("\n", 1)[1] if "\n" in text else ""
