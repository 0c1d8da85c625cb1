"""Documents, notebooks and code in other languages: prose, where a mention is not a use, and the code in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..errors import UncheckableError
from ..findings import Finding
from ..judge import Mode
from ..mentions import introduced_as_refused
from ..template import looks_like_chat_template
from ..trees import reading
from .configuration import scan_env, scan_json, scan_toml, scan_yaml
from .files import Source
from .python_code import scan_python
from .shell import scan_dockerfile, scan_modelfile, scan_shell

_FENCE = re.compile(
    r"^(?P<indent>[ \t>]*)(?P<mark>`{3,}|~{3,})[ \t]*(?:\{?\.?(?P<language>[\w+-]+))?[^\n]*$", re.MULTILINE
)
_DIRECTIVE = re.compile(
    r"^(?P<indent>[ \t]*)\.\. (?:code-block|code|sourcecode):: *(?P<language>[\w+-]*)[^\n]*$", re.MULTILINE
)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_PROMPTS = re.compile(r"^[ \t]*(?:>>> ?|\.\.\. ?|In \[\d+\]: ?)", re.MULTILINE)
_MAGIC = re.compile(r"^([ \t]*)[!%?].*$", re.MULTILINE)
_COMMENT = re.compile(r"(?<![:\"'])//[^\n]*|/\*.*?\*/|^\s*(?:#|--)[^\n]*", re.DOTALL | re.MULTILINE)
_THOUGHT = re.compile(r"\\n|\s*[a-z]")
_JINJA = re.compile(r"\{[%#].*?[%#]\}", re.DOTALL)
Reader = Callable[[Source], Iterable[Finding]]
_LANGUAGES: dict[str, Reader] = {
    **dict.fromkeys(("python", "py", "python3", "ipython", "pycon"), scan_python),
    **dict.fromkeys(("yaml", "yml"), scan_yaml),
    **dict.fromkeys(("json", "jsonc", "json5"), scan_json),
    **dict.fromkeys(("toml",), scan_toml),
    **dict.fromkeys(("ini", "env", "dotenv", "properties", "cfg"), scan_env),
    **dict.fromkeys(("bash", "sh", "shell", "console", "zsh", "shell-session", "make", "makefile", "fish"), scan_shell),
    **dict.fromkeys(("dockerfile", "docker", "containerfile"), scan_dockerfile),
    **dict.fromkeys(("modelfile",), scan_modelfile),
}


def scan_document(source: Source) -> Iterator[Finding]:
    """Judges a document: its front matter, its code blocks, its prose."""
    text = source.text
    front = _FRONT_MATTER.match(text)
    if front:
        yield from _scan_block(source.part(front[1], 2), "yaml")
        text = _blank(text, front.start(), front.end())
    blocks = list(_blocks(source.part(text)))
    lowered = text.lower()
    for start, _, language, code in blocks:
        if not introduced_as_refused(lowered, start):
            yield from _scan_block(code, language)
    for start, end, *_ in blocks:
        text = _blank(text, start, end)
    yield from source.part(text).judged(Mode.DOCUMENT)


def scan_template(source: Source) -> Iterator[Finding]:
    """Judges a Jinja file: a chat template by what it renders, any other as a document."""
    if looks_like_chat_template(source.text):
        return source.on_line(1, source.judge.chat_template(source.text))
    # The tags of Jinja itself are not text.
    return scan_document(source.part(_JINJA.sub(lambda match: "\n" * match[0].count("\n"), source.text)))


def scan_code(source: Source) -> Iterator[Finding]:
    """Judges code in a language that is not parsed here: as text, but a tag that is only looked for is fine."""
    judge = source.judge
    source = source.part(_COMMENT.sub(lambda match: _blank(match[0], 0, len(match[0])), source.text))
    normalised = judge.text_rules.normalise(source.text)
    strays = judge.text_rules.stray_tags(normalised)
    # A thought begins with a line break or a letter after the tag, and not with the end of a literal.
    begins = any(not tag.closing and _THOUGHT.match(normalised, tag.end) for tag in strays)
    return (finding for finding in source.judged(Mode.SETTING) if begins or finding.rule != "think-tag")


def _scan_block(source: Source, language: str) -> list[Finding]:
    scan = _LANGUAGES.get(language)
    if scan is scan_python:
        source = source.part(_PROMPTS.sub("", source.text))
    if scan is not None:
        try:
            return list(scan(source))
        except (UncheckableError, RecursionError):
            pass  # a piece of code with "…" in it; judged as text
    return list(source.judged(Mode.SNIPPET))


def _blocks(source: Source) -> Iterator[tuple[int, int, str, Source]]:
    """Yields where each code block begins and ends, its language and its code."""
    text, position = source.text, 0
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
        code = source.part("\n".join(lines), first_line)
        yield opening.start(), end, (opening["language"] or "").lower(), code
        position = end
    for directive in _DIRECTIVE.finditer(text):
        indent = len(directive["indent"])
        body = re.compile(rf"(?:\n(?:[ \t]{{{indent + 1},}}[^\n]*|[ \t]*(?=\n)))+").match(text, directive.end())
        if body:
            lines = body[0].split("\n")[1:]
            margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
            first_line = text.count("\n", 0, directive.end()) + 2
            code = source.part("\n".join(line[margin:] for line in lines), first_line)
            yield directive.start(), body.end(), directive["language"].lower(), code


def _blank(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


# -- notebooks ---------------------------------------------------------------------------------------------------------


def scan_notebook(source: Source) -> Iterator[Finding]:
    """Judges a Jupyter notebook: code cells as Python and shell, text cells as documents, outputs as data.

    Lines are those of the ``.ipynb`` file.

    Raises:
        UncheckableError: The text is not a notebook.
    """
    with reading("JSON"):
        data = json.loads(source.text)
    cells = data.get("cells") if isinstance(data, dict) else None
    if not isinstance(cells, list):
        raise UncheckableError("not a notebook: it has no cells")
    position = 0
    for cell in cells:
        text = _joined(cell.get("source"))
        first_line, position = _locate(source.text, text, position)
        part = source.part(text, first_line)
        if cell.get("cell_type") == "code":
            yield from _scan_cell(part)
            for output in cell.get("outputs", []):
                yield from source.on_line(first_line, _judge_output(source, output))
        else:
            yield from scan_document(part)


def _scan_cell(part: Source) -> Iterator[Finding]:
    if re.match(r"\s*%%(?:bash|sh|script)\b", part.text):
        yield from scan_shell(part.part(part.text.partition("\n")[2], 2))
        return
    lines = [line.lstrip() for line in part.text.split("\n")]
    commands = "\n".join(line[1:] if line.startswith("!") else "" for line in lines)
    if commands.strip():
        yield from scan_shell(part.part(commands))
    try:
        yield from scan_python(part.part(_MAGIC.sub(r"\1pass", part.text)))
    except (UncheckableError, RecursionError):
        yield from part.judged(Mode.SETTING)  # a cell in another language, judged as text


def _judge_output(source: Source, output: Any) -> Iterator[Finding]:
    if not isinstance(output, dict):
        return
    texts = [_joined(output.get("text"))]
    texts += [_joined(value) for name, value in (output.get("data") or {}).items() if str(name).startswith("text/")]
    for text in texts:
        yield from (finding for finding in source.judge.text(text) if finding.rule == "think-tag")


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _locate(notebook: str, text: str, position: int) -> tuple[int, int]:
    """Returns the line of the file in which the first line of a cell is stored, and where to search on from."""
    first = text.split("\n", 1)[0]
    written = [json.dumps(first, ensure_ascii=False)[1:-1] or '"source"', json.dumps(first)[1:-1]]
    found = notebook.find(written[0], position)
    if found < 0:
        found = notebook.find(written[1], position)
    if found < 0:
        return 1, position
    return notebook.count("\n", 0, found) + 1, found + 1
