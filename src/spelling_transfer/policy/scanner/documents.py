"""Documents: prose, where a mention is not a use, and the code blocks in it, which are judged as what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spelling_transfer.policy.findings import Finding
from spelling_transfer.policy.judge import Judge, Mode
from spelling_transfer.policy.keys import Problem
from spelling_transfer.policy.prose import introduced_as_refused, refuses
from spelling_transfer.policy.scanner.config_files import scan_env, scan_json, scan_toml, scan_yaml
from spelling_transfer.policy.scanner.python_code import scan_python
from spelling_transfer.policy.scanner.shell import scan_dockerfile, scan_shell
from spelling_transfer.policy.scanner.source import Source, UncheckableError
from spelling_transfer.policy.text import excerpt

_FENCE = re.compile(r"^(?P<indent>[ \t>]*)(?P<mark>`{3,}|~{3,})[ \t]*(?:\{?\.?(?P<language>[\w+-]+))?[^\n]*$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^(?P<indent>[ \t]*)\.\. (?:code-block|code|sourcecode):: *(?P<language>[\w+-]*)[^\n]*$", re.MULTILINE)
_INLINE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)|<(code|tt|kbd|samp|pre)\b[^>]*>(.*?)</\3\s*>", re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
# Verbs that ask for something; "the template puts" and "the model writes" only tell.
_ASKS = re.compile(
    r"\b(?:add|append|put|use|set|pass|send|write|type|wrap|start|begin|open|prefix|prepend|prefill|insert|include|emit|enclose"
    r"|surround|enable|turn on|end the prompt|reason inside|think inside|answer inside|want|try|give|run|serve|load|train|download"
    r"|pull|deploy|evaluate|start from)\b"
)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")

Scan = Callable[[Source, Judge], list[Finding]]
_LANGUAGES: dict[str, Scan] = {
    **dict.fromkeys(("python", "py", "python3", "ipython", "pycon"), scan_python),
    **dict.fromkeys(("yaml", "yml"), scan_yaml),
    **dict.fromkeys(("json", "jsonc", "json5"), scan_json),
    **dict.fromkeys(("toml",), scan_toml),
    **dict.fromkeys(("ini", "env", "dotenv", "properties", "cfg"), scan_env),
    **dict.fromkeys(("bash", "sh", "shell", "console", "zsh", "shell-session", "make", "makefile", "fish"), scan_shell),
    **dict.fromkeys(("dockerfile", "docker", "containerfile"), scan_dockerfile),
}


@dataclass(frozen=True)
class _Block:
    """A code block: where it begins and ends, its language, its text and the line it begins in."""

    start: int
    end: int
    language: str
    text: str
    first_line: int


def scan_document(source: Source, judge: Judge) -> list[Finding]:
    """Judges a document: its front matter, its code blocks, its prose."""
    text = source.text
    findings: list[Finding] = []
    front = _FRONT_MATTER.match(text)
    if front:
        findings += _scan_block(source.part(front[1], 2), judge, "yaml")
        text = _blank(text, front.start(), front.end())
    blocks = list(_blocks(text))
    lowered = text.lower()
    for block in blocks:
        if not introduced_as_refused(lowered, block.start):
            findings += _scan_block(source.part(block.text, block.first_line), judge, block.language)
    for block in blocks:
        text = _blank(text, block.start, block.end)
    return findings + scan_prose(Source(source.path, text, source.deployment, source.first_line), judge)


def scan_prose(source: Source, judge: Judge) -> list[Finding]:
    """Judges running text with inline code."""
    normalised = judge.text_rules.normalise(source.text)
    problems = [*_tags(normalised, judge), *_switches(normalised, judge), *_models(normalised, judge)]
    problems += [p for p in judge.settings_in(normalised, prose=True) if not refuses(normalised, p.offset)]
    return source.findings(problems, normalised)


def _scan_block(source: Source, judge: Judge, language: str) -> list[Finding]:
    scan = _LANGUAGES.get(language)
    if scan is scan_python and re.search(r"^\s*(?:>>>|\.\.\.|In \[)", source.text, re.MULTILINE):
        code = re.sub(r"(?m)^\s*(?:>>> ?|\.\.\. ?|In \[\d+\]: ?)", "", source.text)
        source = Source(source.path, code, source.deployment, source.first_line, snippet=True)
    if scan is not None:
        try:
            return scan(source, judge)
        except UncheckableError:
            pass  # a piece of code with "…" in it; judged as text
    normalised = judge.text_rules.normalise(source.text)
    return source.findings(judge.string(source.text, Mode.SETTING), normalised)


def _blocks(text: str) -> Iterator[_Block]:
    position = 0
    while (opening := _FENCE.search(text, position)) is not None:
        mark = opening["mark"]
        closing = re.compile(rf"^[ \t>]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE).search(text, opening.end())
        end = closing.end() if closing else len(text)
        inner = text[opening.end() + 1 : closing.start() if closing else len(text)]
        indent = len(opening["indent"])
        lines = [line[indent:] if not line[:indent].strip(" \t>") else line for line in inner.split("\n")]
        first_line = text.count("\n", 0, opening.end()) + 2
        yield _Block(opening.start(), end, (opening["language"] or "").lower(), "\n".join(lines), first_line)
        position = end
    for directive in _DIRECTIVE.finditer(text):
        indent = len(directive["indent"])
        body = re.compile(rf"(?:\n(?:[ \t]{{{indent + 1},}}[^\n]*|[ \t]*(?=\n)))+").match(text, directive.end())
        if body:
            lines = body[0].split("\n")[1:]
            margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
            first_line = text.count("\n", 0, directive.end()) + 2
            dedented = "\n".join(line[margin:] for line in lines)
            yield _Block(directive.start(), body.end(), directive["language"].lower(), dedented, first_line)


def _tags(normalised: str, judge: Judge) -> Iterator[Problem]:
    tags = judge.text_rules.stray_tags(normalised)
    if not tags:
        return
    spans = [match.span() for match in _INLINE.finditer(normalised)]
    for tag in tags:
        span = next(((start, end) for start, end in spans if start <= tag.start < end), None)
        mention = span is not None and _only_names(normalised[slice(*span)], judge) and not _asks(normalised, tag.start)
        if not mention and not refuses(normalised, tag.start):
            kind = "closing" if tag.closing else "opening"
            yield Problem("think-tag", f"{kind} think tag", excerpt(normalised, tag.start), tag.start)


def _only_names(span: str, judge: Judge) -> bool:
    """Whether inline code holds tags and nothing that could be a thought."""
    rest = span
    for tag in reversed(judge.text_rules.tags(span)):
        rest = rest[: tag.start] + rest[tag.end :]
    rest = re.sub(r"</?(?:code|tt|kbd|samp|pre)\b[^>]*>|\\n|<\|im_start\|>assistant", "", rest)
    return not re.sub(r"[\s`.\u2026,/'\"]", "", rest)


def _switches(normalised: str, judge: Judge) -> Iterator[Problem]:
    positions = judge.text_rules.switches(normalised)
    if not positions:
        return
    spans = [match.span() for match in _INLINE.finditer(normalised)]
    for position in positions:
        named = any(start <= position < end and end - start <= 12 for start, end in spans)
        if (named and not _asks(normalised, position)) or refuses(normalised, position):
            continue
        yield Problem("soft-switch", "soft switch that turns thinking on", excerpt(normalised, position), position)


def _models(normalised: str, judge: Judge) -> Iterator[Problem]:
    if not any(word in normalised for word in ("think", "r1", "qwq", "reasoning", "oss", "o1", "-m1", "t1", "deep", "magistral", "qvq")):
        return
    for problem in judge.models_in(normalised):
        if _REPOSITORY.match(problem.value) and _asks(normalised, problem.offset) and not refuses(normalised, problem.offset):
            yield problem


def _asks(normalised: str, position: int) -> bool:
    start = max((match.end() for match in re.finditer(r"[.!?:]\s|\n\s*\n|\n\s*[-*|]", normalised[:position][-400:])), default=0)
    start += max(0, position - 400)
    end = re.compile(r"[.!?](?=\s)|\n\s*\n|\n\s*[-*|]|\Z").search(normalised, position)
    return _ASKS.search(normalised, start, end.start() if end else len(normalised)) is not None


def _blank(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
