"""Shell scripts, makefiles, Dockerfiles and Modelfiles: options, assignments, requests and prompts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from ..errors import UncheckableError
from ..findings import Finding
from ..judge import Mode
from ..mentions import refuses
from ..rendering import finding as rendered
from ..rendering import is_hybrid
from ..trees import read_json
from .files import Source
from .python_code import scan_python

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
# kedro run --params deployment.temperature=0.9
_DEPLOYED = re.compile(
    r"(?<![\w.-])((?:deploy|serv)\w*[._][\w.]*?(?:temperature|temp|top_p|top_k|min_p))[=:](-?\d*\.?\d+)", re.IGNORECASE
)
_TEMPLATE = re.compile(r"--chat-template(?:-file)?[= ]+[\"']?([\w./-]+)")
_DOCKER = re.compile(r"^\s*(ENV|ARG|LABEL)\s+([\w.]+)\s+([^=\n]+)$", re.IGNORECASE | re.MULTILINE)
_FILE_COMMENT = re.compile(r"^[ \t]*#[^\n]*", re.MULTILINE)
_FROM = re.compile(r"^[ \t]*FROM[ \t]+(\S+)", re.MULTILINE | re.IGNORECASE)
_TEMPLATE_GIVEN = re.compile(r"^[ \t]*TEMPLATE[ \t]+\S", re.MULTILINE | re.IGNORECASE)
_INLINE_PYTHON = re.compile(r"\bpython[\d.]*\s+-c\s+(['\"])(.*?)\1", re.DOTALL)


def scan_shell(source: Source) -> Iterator[Finding]:
    """Judges a shell script or a makefile."""
    meant = source.part(_meant(source.text))
    judge = source.judge
    findings = {(finding.rule, finding.line): finding for finding in judge.text(meant.text)}
    for finding in judge.models(meant.text):
        findings.setdefault((finding.rule, finding.line), finding)
    for start, command in _commands(meant.text):
        for finding in _judge_command(meant.part(command)):
            # What a setting in the text has said already is not said again of the command around it.
            lines = range(start, start + command.count("\n") + 1)
            if not any((finding.rule, line) in findings for line in lines):
                findings[finding.rule, start] = replace(finding, line=start)
    return source.place(findings.values())


def scan_dockerfile(source: Source) -> Iterator[Finding]:
    """Judges a Dockerfile: as shell, with ``ENV NAME value`` read as an assignment."""
    text = _DOCKER.sub(lambda match: f"{match[1]} {match[2]}={match[3].strip()}", source.text)
    return scan_shell(replace(source, text=text, deployment=True))


def scan_modelfile(source: Source) -> Iterator[Finding]:
    """Judges a Modelfile of Ollama: its model's own template is rendered where it gives none."""
    meant = source.part(_FILE_COMMENT.sub("", source.text))
    base = _FROM.search(meant.text)
    if base and is_hybrid(base[1]) and _TEMPLATE_GIVEN.search(meant.text) is None and "/no_think" not in meant.text:
        line = meant.text.count("\n", 0, base.start()) + 1
        yield from source.place([rendered("Ollama", f"FROM {base[1]}", certain=True)], line)
    elif base:
        yield from source.on_line(meant.text.count("\n", 0, base.start()) + 1, source.judge.models(base[1]))
    yield from meant.judged(Mode.SETTING)


def _judge_command(source: Source) -> Iterator[Finding]:
    command, judge = source.text, source.judge
    for match in _AMBIGUOUS.finditer(command):
        finding = judge.settings.judge(match[1], match[2])
        if finding is not None:
            yield finding
    starts = judge.policy.rules.deployment_sampling.deployment_commands
    deploys = source.deployment or any(start in command for start in starts)
    for match in _TEMPLATE.finditer(command):
        yield from judge.chat_template(match[1])
    for word in _words(command):
        if word.startswith(("{", "[")):
            try:
                value = read_json(word)
            except UncheckableError:
                continue
            yield from (finding for _, finding in judge.tree(value, deployment=deploys))
    for match in _SAMPLING.finditer(command) if deploys else ():
        finding = judge.settings.judge_sampling(match[1], match[2])
        if finding is not None:
            yield finding
    for match in _DEPLOYED.finditer(command):
        finding = judge.settings.judge(match[1], match[2])
        if finding is not None:
            yield finding
    for match in _INLINE_PYTHON.finditer(command):
        with suppress(UncheckableError, RecursionError):
            yield from scan_python(source.part(match[2]))


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
    """Yields logical lines, continued ones joined, each with the number of its first line."""
    line = 1
    for match in re.finditer(r"(?:[^\n]*\\[^\S\n]*\n)*[^\n]*(?:\n|\Z)", text):
        yield line, match[0].removesuffix("\n")
        line += match[0].count("\n")


def _words(command: str) -> list[str]:
    if "{" not in command and "[" not in command:
        return []
    try:
        return shlex.split(command.replace("\\\n", " "))
    except ValueError:  # quotes that end on another line
        return re.findall(r"\{.*\}", command)
