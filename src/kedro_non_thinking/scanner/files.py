"""Which files are read, and of what form each is."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

from ..findings import Unchecked


class Form(Enum):
    """The form of a file, which decides how it is judged."""

    PYTHON = "python"
    YAML = "yaml"
    JSON = "json"
    TOML = "toml"
    ENV = "env"
    SHELL = "shell"
    DOCKERFILE = "dockerfile"
    NOTEBOOK = "notebook"
    TEMPLATE = "template"
    JSON_LINES = "json lines"
    TABLE = "table"
    PARQUET = "parquet"
    CODE = "code"
    DOCUMENT = "document"
    BINARY = "binary"


_BY_SUFFIX = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), Form.PYTHON),
    **dict.fromkeys((".yml", ".yaml"), Form.YAML),
    **dict.fromkeys((".json", ".jsonc", ".json5", ".webmanifest"), Form.JSON),
    **dict.fromkeys((".toml",), Form.TOML),
    **dict.fromkeys((".env", ".ini", ".cfg", ".properties", ".envrc", ".conf"), Form.ENV),
    **dict.fromkeys((".sh", ".bash", ".zsh", ".fish", ".mk", ".ps1", ".bat", ".service"), Form.SHELL),
    **dict.fromkeys((".dockerfile",), Form.DOCKERFILE),
    **dict.fromkeys((".ipynb",), Form.NOTEBOOK),
    **dict.fromkeys((".jinja", ".jinja2", ".j2"), Form.TEMPLATE),
    **dict.fromkeys((".jsonl", ".ndjson"), Form.JSON_LINES),
    **dict.fromkeys((".csv", ".tsv"), Form.TABLE),
    **dict.fromkeys((".parquet", ".pq"), Form.PARQUET),
    **dict.fromkeys(
        (".js", ".ts", ".jsx", ".tsx", ".mjs", ".vue", ".go", ".rs", ".java", ".kt", ".c", ".h", ".cc"), Form.CODE
    ),
    **dict.fromkeys(
        (".cpp", ".hpp", ".cs", ".swift", ".rb", ".php", ".lua", ".r", ".jl", ".sql", ".css", ".tf"), Form.CODE
    ),
    **dict.fromkeys(
        (".md", ".markdown", ".rst", ".txt", ".html", ".htm", ".adoc", ".tex", ".mdx", ".xml"), Form.DOCUMENT
    ),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".ico", ".pdf", ".woff", ".woff2", ".ttf"), Form.BINARY),
    **dict.fromkeys(
        (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".npz", ".npy", ".pkl", ".onnx"), Form.BINARY
    ),
    **dict.fromkeys(
        (".zip", ".gz", ".xz", ".zst", ".tar", ".whl", ".so", ".pyc", ".db", ".sqlite", ".sqlite3"), Form.BINARY
    ),
}
_BY_NAME = {
    **dict.fromkeys(("makefile", "gnumakefile", "justfile", "procfile", "run"), Form.SHELL),
    **dict.fromkeys(("dockerfile", "containerfile"), Form.DOCKERFILE),
    ".env": Form.ENV,
    ".envrc": Form.ENV,
    ".kedro.yml": Form.YAML,
}


def form_of(path: Path, head: str = "") -> Form:
    """Returns the form of a file by its name, or by its first line where the name says nothing."""
    name = path.name.lower()
    if name in _BY_NAME and (name != "run" or head.startswith("#!")):
        return _BY_NAME[name]
    if name.startswith(("dockerfile", "containerfile")):
        return Form.DOCKERFILE
    if name.startswith(".env"):
        return Form.ENV
    suffix = path.suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if head.startswith("#!"):
        first = head.split("\n", 1)[0]
        return Form.PYTHON if "python" in first else Form.SHELL if "sh" in first else Form.DOCUMENT
    return Form.DOCUMENT


def project_files(root: Path, exclude: Iterable[str]) -> tuple[list[Path], list[Unchecked]]:
    """Returns the files of a project: the ones git knows or would take, or all of them where there is no git."""
    try:
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "surrogateescape")
    except (OSError, subprocess.CalledProcessError):
        return find_files([root], exclude)
    names = sorted(name for name in listed.split("\0") if name)
    files = [root / name for name in names if os.path.lexists(root / name)]
    return find_files(files, exclude)


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
