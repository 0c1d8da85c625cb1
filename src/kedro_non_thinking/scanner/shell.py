"""Shell scripts, makefiles and Dockerfiles: options, assignments, bodies of requests and prompts in commands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

from ..findings import Finding
from ..judge import Judge, Mode
from ..keys import Problem
from ..prose import refuses
from ..values import PairList
from .source import Source, UncheckableError

_COMMENT = re.compile(r"(?:^|(?<=[\s;]))#(?!\{).*$")
# What these are given is looked for, not used.
_SEEKS = re.compile(
    r"(?:^|[|;&(]\s*|\bif\s+!?\s*|!\s*|\bgit\s+|\bsudo\s+|\bthen\s+)(?:e?grep|rg|ag|ack|sed|awk|pgrep)\b"
)
_SPEAKS = re.compile(r"^\s*(?:\$ |@)?(?:echo|printf|log\w*|warn|die|say|fail)\b(?![^\n]*(?:>>?|\|))")
_AMBIGUOUS = re.compile(
    r"(?<![\w-])(thinking|reasoning|think|thinking_mode|reasoning_mode)\s*[=:]\s*([\w-]+)(?![\w(])", re.IGNORECASE
)
_SAMPLING = re.compile(r"--?(temperature|temp|top[-_]p|top[-_]k|min[-_]p)(?:[= ]+)(-?\d*\.?\d+)", re.IGNORECASE)
_TEMPLATE = re.compile(r"--chat-template(?:-file)?[= ]+[\"']?([\w./-]+)")
_DOCKER = re.compile(r"^\s*(ENV|ARG|LABEL)\s+([\w.]+)\s+([^=\n]+)$", re.IGNORECASE | re.MULTILINE)
_INLINE_PYTHON = re.compile(r"\bpython[\d.]*\s+-c\s+(['\"])(.*?)\1", re.DOTALL)


def scan_shell(source: Source, judge: Judge) -> list[Finding]:
    """Judges a shell script or a makefile."""
    return _scan_commands(source, judge, _meant(source.text))


def scan_dockerfile(source: Source, judge: Judge) -> list[Finding]:
    """Judges a Dockerfile: as shell, with ``ENV NAME value`` read as an assignment."""
    text = _DOCKER.sub(lambda match: f"{match[1]} {match[2]}={match[3].strip()}", source.text)
    deployed = Source(source.path, source.text, True, source.first_line, source.snippet)
    return _scan_commands(deployed, judge, _meant(text))


def _scan_commands(source: Source, judge: Judge, text: str) -> list[Finding]:
    normalised = judge.text_rules.normalise(text)
    problems = {(p.rule, normalised.count("\n", 0, p.offset)): p for p in judge.string(text, Mode.SETTING)}
    findings = {(p.rule, line): source.finding(p, line + 1) for (_, line), p in problems.items()}
    for problem in judge.models_in(text):
        line = text.count("\n", 0, problem.offset)
        findings.setdefault((problem.rule, line), source.finding(problem, line + 1))
    for line, command in _commands(text):
        for problem in _judge_command(command, source, judge):
            taken = any((problem.rule, number) in findings for number in range(line, line + command.count("\n") + 1))
            if not taken:
                findings[(problem.rule, line)] = source.finding(problem, line + 1)
    return list(findings.values())


def _judge_command(command: str, source: Source, judge: Judge) -> Iterator[Problem]:
    for match in _AMBIGUOUS.finditer(command):
        problem = judge.keys.judge(match[1], match[2])
        if problem is not None:
            yield problem
    deploys = source.deployment or any(
        start in command for start in judge.policy.rules.deployment_sampling.deployment_commands
    )
    for match in _TEMPLATE.finditer(command):
        yield from judge.chat_template(match[1])
    for word in _words(command):
        if word.startswith(("{", "[")):
            try:
                value = json.loads(word, object_pairs_hook=PairList)
            except ValueError:
                continue
            yield from (problem for _, problem in judge.tree(value, deployment=deploys))
    if deploys:
        for match in _SAMPLING.finditer(command):
            problem = judge.keys.judge_sampling(match[1], match[2])
            if problem is not None:
                yield problem
    for match in _INLINE_PYTHON.finditer(command):
        yield from _inline_python(match[2], source, judge)


def _inline_python(code: str, source: Source, judge: Judge) -> Iterator[Problem]:
    from .python_code import scan_python

    try:
        found = scan_python(source.part(code, 1), judge)
    except UncheckableError:
        return
    for finding in found:
        yield Problem(finding.rule, finding.message, finding.value)


def _meant(text: str) -> str:
    """Returns a script without comments and without what it only looks for or says; lines stay where they are."""
    lines = []
    continued_search = False
    for line in text.split("\n"):
        kept = line if line.startswith("#!") else _COMMENT.sub("", line) if not _in_quotes(line) else line
        seeks = _SEEKS.search(kept) is not None or continued_search
        continued_search = seeks and kept.rstrip().endswith("\\")
        if seeks or (_SPEAKS.search(kept) and refuses(kept.lower(), len(kept) // 2)):
            kept = ""
        lines.append(kept)
    return "\n".join(lines)


def _in_quotes(line: str) -> bool:
    """Whether the first hash of a line stands inside quotes."""
    before = line.split("#", 1)[0]
    return "#" in line and (before.count('"') % 2 == 1 or before.count("'") % 2 == 1)


def _commands(text: str) -> Iterator[tuple[int, str]]:
    """Yields logical lines, continued ones joined, each with the number of its first line counted from 0."""
    start = 0
    parts: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if not parts:
            start = number
        parts.append(line)
        if line.rstrip().endswith("\\"):
            continue
        yield start, "\n".join(parts)
        parts = []
    if parts:
        yield start, "\n".join(parts)


def _words(command: str) -> list[str]:
    if "{" not in command and "[" not in command:
        return []
    try:
        return shlex.split(command.replace("\\\n", " "))
    except ValueError:  # quotes that end on another line
        return re.findall(r"\{.*\}", command)
