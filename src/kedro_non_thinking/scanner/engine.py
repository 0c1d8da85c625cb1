"""The scanner: from paths to what was found in them."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

from ..exemptions import Exemptions, matches_any
from ..findings import FileReport, Finding, ScanResult, Unchecked
from ..judge import Judge, Mode
from ..keys import Problem
from ..loading import POLICY_FILE, is_policy_text
from ..rules import Policy
from ..template import looks_like_chat_template
from .config_files import (
    check_yaml,
    read_json,
    scan_env,
    scan_json,
    scan_toml,
    scan_yaml,
)
from .data_files import scan_json_lines, scan_parquet, scan_table_text
from .documents import scan_document
from .files import Form, find_files, form_of, project_files
from .notebooks import scan_notebook
from .other_code import scan_code
from .python_code import check_python, scan_python
from .shell import scan_dockerfile, scan_shell
from .source import Source, UncheckableError

_FEW_FILES = 1_000
_CHUNK = 64
Progress = Callable[[int, int], None]


class Scanner:
    """Judges files one at a time."""

    def __init__(self, policy: Policy, root: Path) -> None:
        self._judge = Judge(policy)
        self._policy = policy
        self._root = root.resolve()
        self._most_bytes = int(policy.scan.max_file_megabytes * 1_000_000)

    def shown(self, file: Path) -> str:
        """Returns how a file is called: below the project's root by its path there, elsewhere by its whole path."""
        absolute = _absolute(file)
        try:
            return absolute.relative_to(self._root).as_posix()
        except ValueError:
            return absolute.as_posix()

    def scan_file(self, file: Path) -> FileReport:
        """Judges one file; whatever happens, it is reported and never raised."""
        shown = self.shown(file)
        report = FileReport(shown)
        try:
            report.findings = self._read_and_scan(file, shown)
        except UncheckableError as error:
            report.unchecked = Unchecked(shown, str(error), blocking=not str(error).startswith("binary"))
        except OSError as error:
            report.unchecked = Unchecked(shown, f"cannot be read ({error.strerror or error})")
        except RecursionError:
            report.unchecked = Unchecked(shown, "nested too deeply")
        return report

    def scan_text(self, text: str, path: str) -> list[Finding]:
        """Judges a text as if it were a file of this path.

        Raises:
            UncheckableError: The text is not what the path says it is.
        """
        form = form_of(Path(path), text[:200])
        deployment = matches_any(self._policy.rules.deployment_sampling.deployment_paths, path)
        return self._scan_form(Source(path, text, deployment), form)

    def _read_and_scan(self, file: Path, shown: str) -> list[Finding]:
        form = form_of(file)
        if form is Form.BINARY:
            raise UncheckableError(f"binary ({file.suffix})")
        if form is Form.PARQUET:
            return scan_parquet(file, shown, self._judge)
        size = file.stat().st_size
        if size > self._most_bytes:
            raise UncheckableError(f"larger than {self._policy.scan.max_file_megabytes:g} MB ({size / 1e6:.0f} MB)")
        return self.scan_text(_decode(file.read_bytes(), form, known=file.suffix.lower() != ""), shown)

    def _scan_form(self, source: Source, form: Form) -> list[Finding]:
        name = source.path.rsplit("/", 1)[-1]
        if form is Form.YAML and name in (POLICY_FILE, f"default_{POLICY_FILE}") and is_policy_text(source.text):
            return self._other_policy(source)
        triggered = self._judge.may_break(source.text, deployment=source.deployment)
        if not triggered:
            _only_parse(source, form)
            return []
        judge = self._judge
        if form is Form.JSON_LINES:
            return scan_json_lines(source, judge, triggered=True)
        if form is Form.TEMPLATE:
            return self._scan_template(source)
        if form is Form.DOCUMENT and _is_prompt_file(source.path):
            normalised = judge.text_rules.normalise(source.text)
            return source.findings(judge.string(source.text, Mode.SETTING), normalised)
        return _SCANS[form](source, judge)

    def _scan_template(self, source: Source) -> list[Finding]:
        if looks_like_chat_template(source.text):
            return [source.finding(problem, 1) for problem in self._judge.chat_template(source.text)]
        # The tags of Jinja itself are not text.
        text = re.sub(r"\{[%#].*?[%#]\}", lambda match: "\n" * match[0].count("\n"), source.text, flags=re.DOTALL)
        return scan_document(Source(source.path, text, source.deployment), self._judge)

    def _other_policy(self, source: Source) -> list[Finding]:
        if not re.search(r"(?:^|/)conf/(?!base/)[^/]+/policy\.yml$", source.path):
            return []
        return [source.finding(Problem("policy-off", "an environment with a policy of its own", source.path), 1)]


_SCANS: dict[Form, Callable[[Source, Judge], list[Finding]]] = {
    Form.PYTHON: scan_python,
    Form.YAML: scan_yaml,
    Form.JSON: scan_json,
    Form.TOML: scan_toml,
    Form.ENV: scan_env,
    Form.SHELL: scan_shell,
    Form.DOCKERFILE: scan_dockerfile,
    Form.NOTEBOOK: scan_notebook,
    Form.TABLE: scan_table_text,
    Form.CODE: scan_code,
    Form.DOCUMENT: scan_document,
}


def scan_paths(
    paths: Sequence[Path] | None,
    policy: Policy,
    root: Path,
    *,
    policy_path: str = POLICY_FILE,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> ScanResult:
    """Judges files and folders.

    Args:
        paths: What to read; ``None`` reads the project, as far as git knows it.
        policy: The rules.
        root: The project's root; findings name files from there, and so do exemptions.
        policy_path: Where the rules are written, for what is said of unused exemptions.
        jobs: How many processes read; ``None`` takes one for each core where there are many files.
        progress: Called with how many files are done, and how many there are.

    Returns:
        What was found. Files that cannot be judged are listed, never dropped.
    """
    exclude = policy.scan.exclude
    files, missing = project_files(root, exclude) if paths is None else find_files(paths, exclude)
    scanner = Scanner(policy, root)
    exemptions = Exemptions(policy)
    files = [file for file in files if not exemptions.is_material(scanner.shown(file))]
    named = {_absolute(path) for path in paths or ()}
    reports = _scan_all(files, policy, root, scanner, jobs, progress)
    unchecked = [Unchecked(scanner.shown(Path(entry.path)), entry.reason, entry.blocking) for entry in missing]
    findings: list[Finding] = []
    for file, report in zip(files, reports, strict=True):
        findings += report.findings
        if report.unchecked is not None:
            # A file that was asked for by name is to be judged, also if it is an image.
            blocking = report.unchecked.blocking or _absolute(file) in named
            unchecked.append(Unchecked(report.unchecked.path, report.unchecked.reason, blocking))
    left = exemptions.filter(findings)
    left += exemptions.unused([report.path for report in reports], policy_path, everything=paths is None)
    checked = sum(report.unchecked is None for report in reports)
    return ScanResult(tuple(sorted(left)), tuple(sorted(unchecked)), checked, exemptions.used())


def _scan_all(
    files: Sequence[Path], policy: Policy, root: Path, scanner: Scanner, jobs: int | None, progress: Progress | None
) -> list[FileReport]:
    workers = (os.cpu_count() or 1) if jobs is None else jobs
    reports: list[FileReport] = []
    if workers <= 1 or len(files) < _FEW_FILES:
        for file in files:
            reports.append(scanner.scan_file(file))
            if progress is not None:
                progress(len(reports), len(files))
        return reports
    text = policy.model_dump_json(by_alias=True)
    chunks = [(text, root, files[start : start + _CHUNK]) for start in range(0, len(files), _CHUNK)]
    with ProcessPoolExecutor(max_workers=min(workers, len(chunks))) as pool:
        for part in pool.map(_scan_chunk, chunks):
            reports += part
            if progress is not None:
                progress(len(reports), len(files))
    return reports


def _scan_chunk(chunk: tuple[str, Path, Sequence[Path]]) -> list[FileReport]:
    text, root, files = chunk
    scanner = _scanner_of(text, root)
    # Syntax trees are many small objects: looking for garbage among them takes a third of the time.
    gc.disable()
    try:
        return [scanner.scan_file(file) for file in files]
    finally:
        gc.enable()


@lru_cache(maxsize=1)
def _scanner_of(policy_text: str, root: Path) -> Scanner:
    return Scanner(Policy.model_validate_json(policy_text), root)


def _only_parse(source: Source, form: Form) -> None:
    """Makes sure that a file which holds nothing to judge is what it says it is: a broken file is not a clean one."""
    if form is Form.PYTHON:
        check_python(source)
    elif form is Form.YAML:
        check_yaml(source)
    elif form in (Form.JSON, Form.NOTEBOOK) and not source.path.endswith((".jsonc", ".json5")):
        read_json(source.text)
    elif form is Form.TOML:
        import tomllib

        try:
            tomllib.loads(source.text)
        except tomllib.TOMLDecodeError as error:
            raise UncheckableError(f"not valid TOML ({error})") from error


def _absolute(file: Path) -> Path:
    # Not resolved: a link is called by its own name.
    return Path(os.path.normpath(Path.cwd() / file))


def _decode(data: bytes, form: Form, *, known: bool) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        # A file whose name promises text and that holds none is suspect; one without a known name is just binary.
        raise UncheckableError("holds no text" if form is not Form.DOCUMENT and known else "binary (no text)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _is_prompt_file(path: str) -> bool:
    """Whether a plain text is a prompt or a training text, in which a mention is a use."""
    return (
        path.endswith(".txt")
        and re.search(r"(?:^|/)(?:data|prompts?|examples?)/|prompt|system|few_?shot", path.lower()) is not None
    )
