"""Which files are read, of what form each is, and a file as a reader sees it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from ..findings import Finding, Unchecked
from ..judge import Judge, Mode


class Form(Enum):
    """The form of a file, which decides how it is judged; the value holds the endings of its name."""

    PYTHON = ".py .pyi .pyw"
    YAML = ".yml .yaml"
    JSON = ".json .jsonc .json5 .webmanifest"
    TOML = ".toml"
    ENV = ".env .ini .cfg .properties .envrc .conf"
    SHELL = ".sh .bash .zsh .fish .mk .ps1 .bat .service"
    DOCKERFILE = ".dockerfile"
    MODELFILE = ".modelfile"
    NOTEBOOK = ".ipynb"
    TEMPLATE = ".jinja .jinja2 .j2"
    JSON_LINES = ".jsonl .ndjson"
    TABLE = ".csv .tsv"
    PARQUET = ".parquet .pq"
    CODE = (
        ".js .ts .jsx .tsx .mjs .vue .go .rs .java .kt .c .h .cc .cpp .hpp .cs .swift .rb .php .lua .r .jl .sql .css"
        " .tf"
    )
    DOCUMENT = ".md .markdown .rst .txt .html .htm .adoc .tex .mdx .xml"
    BINARY = (
        ".png .jpg .jpeg .gif .webp .ico .pdf .woff .woff2 .ttf .safetensors .bin .pt .pth .ckpt .gguf .npz .npy .pkl"
        " .onnx .zip .gz .xz .zst .tar .whl .so .pyc .db .sqlite .sqlite3"
    )


_BY_SUFFIX = {suffix: form for form in Form for suffix in form.value.split()}
_SHELL_NAMES = frozenset({"makefile", "gnumakefile", "justfile", "procfile"})


@dataclass(frozen=True)
class Source:
    """A text with its place and the rules that it is judged by, as a reader of its form is given it.

    Attributes:
        path: What findings call it.
        deployment: Whether it belongs to a deployment, where sampling values are fixed.
        first_line: The line of the file in which the text begins, counted from 1.
    """

    path: str
    text: str
    judge: Judge
    deployment: bool = False
    first_line: int = 1

    def part(self, text: str, first_line: int = 1) -> Source:
        """Returns a piece of this source, or another reading of it; ``first_line`` counts within this source."""
        return replace(self, text=text, first_line=self.first_line + first_line - 1)

    def place(self, findings: Iterable[Finding], first_line: int = 1) -> Iterator[Finding]:
        """Yields findings with their place; what they were found in begins in this line of this source."""
        for finding in findings:
            yield finding.at(self.path, self.first_line + first_line - 1)

    def on_line(self, line: int, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Yields findings with their place, all of them on one line of this source."""
        return self.place((replace(finding, line=1) for finding in findings), line)

    def judged(self, mode: Mode) -> Iterator[Finding]:
        """Yields what is wrong with the text as a whole."""
        return self.place(self.judge.text(self.text, mode))


def form_of(path: Path, head: str = "") -> Form:
    """Returns the form of a file by its name, or by its first line where the name says nothing."""
    name = path.name.lower()
    if name in _SHELL_NAMES or (name == "run" and head.startswith("#!")):
        return Form.SHELL
    if name.startswith(("dockerfile", "containerfile")):
        return Form.DOCKERFILE
    if name.partition(".")[0] == "modelfile":
        return Form.MODELFILE
    if name.startswith(".env"):
        return Form.ENV
    suffix = path.suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if head.startswith("#!"):
        first = head.split("\n", 1)[0]
        return Form.PYTHON if "python" in first else Form.SHELL if "sh" in first else Form.DOCUMENT
    return Form.DOCUMENT


def project_files(root: Path, exclude: Iterable[str]) -> tuple[list[Path], list[Unchecked], list[str]]:
    """Returns the files of a project: the ones git knows or would take, or all of them where git gives no list.

    The third is what has to be said of that: files that git ignores were read, too.
    """
    try:
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "surrogateescape")
    except (OSError, subprocess.CalledProcessError) as error:
        said = "git is not installed" if isinstance(error, OSError) else _reason(error.stderr)
        note = f"Every file was read, ignored ones included: git gives no list of files ({said})."
        return *find_files([root], exclude), [note]
    names = sorted(name for name in listed.split("\0") if name)
    files = [root / name for name in names if os.path.lexists(root / name)]
    notes = [
        f"Every file below {file.relative_to(root)} was read, ignored ones included: it is a link to a folder."
        for file in files
        if file.is_symlink() and file.is_dir()
    ]
    return *find_files(files, exclude), notes


def _reason(said: bytes) -> str:
    text = said.decode("utf-8", "replace")
    if "dubious ownership" in text:
        return "the repository belongs to another user; git config --global --add safe.directory makes it known"
    return "not a git repository" if "not a git repository" in text else (text.strip() or "it failed").splitlines()[0]


def find_files(paths: Iterable[Path], exclude: Iterable[str]) -> tuple[list[Path], list[Unchecked]]:
    """Returns all files below the paths, and what could not be entered: loops, broken links, closed folders."""
    excluded = frozenset(exclude)
    files: dict[Path, None] = {}
    unchecked: list[Unchecked] = []
    for path in paths:
        for found in _walk(path, excluded, frozenset()):
            if isinstance(found, Unchecked):
                unchecked.append(found)
            else:
                files[found] = None
    return list(files), unchecked


def _walk(path: Path, excluded: frozenset[str], above: frozenset[tuple[int, int]]) -> Iterator[Path | Unchecked]:
    try:
        info = path.stat()
    except FileNotFoundError:
        yield Unchecked(str(path), "a link to nothing" if path.is_symlink() else "there is no such file")
        return
    except OSError as error:
        yield Unchecked(
            str(path), "a link that leads back to itself" if error.errno == errno.ELOOP else f"{error.strerror}"
        )
        return
    if stat.S_ISREG(info.st_mode):
        yield path
    elif stat.S_ISDIR(info.st_mode):
        identity = (info.st_dev, info.st_ino)
        if identity in above:
            yield Unchecked(str(path), "a link that leads back to a folder above it")
            return
        try:
            entries = sorted(path.iterdir())
        except OSError as error:
            yield Unchecked(str(path), f"the folder cannot be read ({error.strerror})")
            return
        for entry in entries:
            if entry.name in excluded or entry.name.endswith(".egg-info"):
                continue
            yield from _walk(entry, excluded, above | {identity})
    else:
        yield Unchecked(str(path), "neither a file nor a folder")
