"""Documents: prose, where a mention is not a use, and the code blocks in it, which are judged as what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..findings import Finding
from ..judge import Judge, Mode
from ..prose import introduced_as_refused, refuses
from .config_files import scan_env, scan_json, scan_toml, scan_yaml
from .prose_text import judge_prose
from .python_code import scan_python
from .shell import scan_dockerfile, scan_shell
from .source import Source, UncheckableError

_FENCE = re.compile(
    r"^(?P<indent>[ \t>]*)(?P<mark>`{3,}|~{3,})[ \t]*(?:\{?\.?(?P<language>[\w+-]+))?[^\n]*$", re.MULTILINE
)
_DIRECTIVE = re.compile(
    r"^(?P<indent>[ \t]*)\.\. (?:code-block|code|sourcecode):: *(?P<language>[\w+-]*)[^\n]*$", re.MULTILINE
)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
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
    return source.findings(judge_prose(normalised, judge), normalised)


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
    problems = judge.string(source.text, Mode.SETTING)
    # What a program says when it refuses is not what somebody asks it for; a tag or a switch stays what it is.
    kept = [p for p in problems if p.rule in ("think-tag", "soft-switch") or not refuses(normalised, p.offset)]
    return source.findings(kept, normalised)


def _blocks(text: str) -> Iterator[_Block]:
    position = 0
    while (opening := _FENCE.search(text, position)) is not None:
        mark = opening["mark"]
        closing = re.compile(rf"^[ \t>]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE).search(
            text, opening.end()
        )
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


def _blank(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
