"""The scanner: from paths to what was found in them."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

from ..errors import PolicyFileError, UncheckableError
from ..findings import FileReport, Finding, ScanResult, Unchecked, by_place
from ..judge import Judge, Mode
from ..policy import POLICY_FILE, Exemptions, Policy, matches_any, parse_policy
from ..trees import check_yaml, read_json, read_toml
from .configuration import scan_env, scan_json, scan_toml, scan_yaml
from .data import scan_json_lines, scan_parquet, scan_table_text
from .documents import scan_code, scan_document, scan_notebook, scan_template
from .files import Form, Source, find_files, form_of, project_files
from .python_code import check_python, scan_python
from .shell import scan_dockerfile, scan_modelfile, scan_shell

_FEW_FILES = 200
_CHUNK = 64
_FEW_ZEROS = 1_000
"""A page of which fewer bytes than one in these are zero is text: one that shows tokens may hold some."""
Progress = Callable[[int, int], None]

_READERS: dict[Form, Callable[[Source], Iterable[Finding]]] = {
    Form.PYTHON: scan_python,
    Form.YAML: scan_yaml,
    Form.JSON: scan_json,
    Form.TOML: scan_toml,
    Form.ENV: scan_env,
    Form.SHELL: scan_shell,
    Form.DOCKERFILE: scan_dockerfile,
    Form.MODELFILE: scan_modelfile,
    Form.NOTEBOOK: scan_notebook,
    Form.TEMPLATE: scan_template,
    Form.JSON_LINES: scan_json_lines,
    Form.TABLE: scan_table_text,
    Form.CODE: scan_code,
    Form.DOCUMENT: scan_document,
}
# A file that holds nothing to judge has to be what it says it is all the same: a broken file is not a clean one.
_CHECKS: dict[Form, Callable[[str], object]] = {
    Form.PYTHON: check_python,
    Form.YAML: check_yaml,
    Form.JSON: read_json,
    Form.NOTEBOOK: read_json,
    Form.TOML: read_toml,
}
# A plain text that is a prompt or a training text, in which a mention is a use.
_PROMPT_FILE = re.compile(r"(?:^|/)(?:data|prompts?|examples?)/|prompt|system|few_?shot")
_POLICY_FILES = (POLICY_FILE, f"default_{POLICY_FILE}")
_OTHER_POLICY = re.compile(r"(?:.*/)?conf/(?!base/)[^/]+/policy\.yml")


class Scanner:
    """Judges files one at a time."""

    def __init__(self, policy: Policy, root: Path) -> None:
        self._judge = Judge(policy, guesses=True)
        self._policy = policy
        self._below_root = str(root.resolve()).rstrip(os.sep) + os.sep
        self._most_bytes = int(policy.scan.max_file_megabytes * 1_000_000)

    def shown(self, file: Path) -> str:
        """Returns how a file is called: below the project's root by its path there, elsewhere by its whole path."""
        return _absolute(file).removeprefix(self._below_root).replace(os.sep, "/")

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

    def look_at(self, text: str, path: str) -> list[Finding]:
        """Judges a text as if it were a file of this path; what cannot be seen is among what it returns.

        Raises:
            UncheckableError: The text is not what the path says it is.
        """
        form = form_of(Path(path), text[:200])
        if path.rsplit("/", 1)[-1] in _POLICY_FILES and _is_policy(text):
            # Its own lists of what is forbidden are no violation; that there is another one is.
            message = "an environment with a policy of its own"
            return [Finding("policy-off", message, path, path=path)] if _OTHER_POLICY.fullmatch(path) else []
        deployment = matches_any(self._policy.rules.deployment_sampling.deployment_paths, path)
        if self._judge.may_break(text, deployment=deployment, code=form is Form.PYTHON):
            source = Source(path, text, self._judge, deployment)
            if path.endswith(".txt") and _PROMPT_FILE.search(path.lower()):
                return list(source.judged(Mode.SETTING))
            return list(_READERS[form](source))
        if form in _CHECKS and not path.endswith(".json5"):
            _CHECKS[form](text)
        return []

    def _read_and_scan(self, file: Path, shown: str) -> list[Finding]:
        form = form_of(file)
        if form is Form.BINARY:
            raise UncheckableError(f"binary ({file.suffix})")
        if form is Form.PARQUET:
            return scan_parquet(file, shown, self._judge)
        size = file.stat().st_size
        if size > self._most_bytes:
            raise UncheckableError(f"larger than {self._policy.scan.max_file_megabytes:g} MB ({size / 1e6:.0f} MB)")
        return self.look_at(_decode(file.read_bytes(), form, known=file.suffix.lower() != ""), shown)


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
    files, missing, notes = project_files(root, exclude) if paths is None else (*find_files(paths, exclude), [])
    scanner = Scanner(policy, root)
    exemptions = Exemptions(policy)
    files = [file for file in files if not exemptions.is_material(scanner.shown(file))]
    named = {_absolute(path) for path in paths or ()}
    unchecked = [Unchecked(scanner.shown(Path(entry.path)), entry.reason, entry.blocking) for entry in missing]
    findings: list[Finding] = []
    scanned: list[str] = []
    checked = 0
    workers = (os.cpu_count() or 1) if jobs is None else jobs
    for file, report in zip(files, _scan_all(files, scanner, policy, root, workers), strict=True):
        scanned.append(report.path)
        findings += report.findings
        if report.unchecked is None:
            checked += 1
        else:
            # A file that was asked for by name is to be judged, also if it is an image.
            blocking = report.unchecked.blocking or _absolute(file) in named
            unchecked.append(Unchecked(report.path, report.unchecked.reason, blocking))
        if progress is not None:
            progress(len(scanned), len(files))
    left = exemptions.filter([finding for finding in findings if finding.seen])
    cannot_see = tuple(sorted((finding for finding in findings if not finding.seen), key=by_place))
    left += exemptions.unused(scanned, policy_path, everything=paths is None)
    found = tuple(sorted(left, key=by_place))
    return ScanResult(found, tuple(sorted(unchecked)), checked, exemptions.used(), tuple(notes), cannot_see)


def _scan_all(
    files: Sequence[Path], scanner: Scanner, policy: Policy, root: Path, workers: int
) -> Iterator[FileReport]:
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    if workers <= 1 or len(files) < _FEW_FILES:
        for chunk in chunks:
            yield from _scan_chunk(scanner, chunk)
        return
    text = policy.model_dump_json(by_alias=True)
    with ProcessPoolExecutor(max_workers=min(workers, len(chunks))) as pool:
        for reports in pool.map(partial(_scan_elsewhere, text, root), chunks):
            yield from reports


def _scan_elsewhere(policy_text: str, root: Path, files: Sequence[Path]) -> list[FileReport]:
    return _scan_chunk(_scanner_of(policy_text, root), files)


def _scan_chunk(scanner: Scanner, files: Sequence[Path]) -> list[FileReport]:
    # Syntax trees are many small objects: looking for garbage among them takes a third of the time.
    paused = gc.isenabled()
    gc.disable()
    try:
        return [scanner.scan_file(file) for file in files]
    finally:
        if paused:
            gc.enable()


@lru_cache(maxsize=1)
def _scanner_of(policy_text: str, root: Path) -> Scanner:
    return Scanner(Policy.model_validate_json(policy_text), root)


def _absolute(file: Path) -> str:
    return os.path.abspath(file)  # noqa: PTH100  (not resolved: a link is called by its own name)


def _decode(data: bytes, form: Form, *, known: bool) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if b"\0" in data and not (form is Form.DOCUMENT and known and data.count(0) * _FEW_ZEROS < len(data)):
        # A file whose name promises text and that holds none is suspect; one without a known name is just binary.
        raise UncheckableError("holds no text" if form is not Form.DOCUMENT and known else "binary (no text)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _is_policy(text: str) -> bool:
    try:
        parse_policy(text, POLICY_FILE)
    except PolicyFileError:
        return False
    return True
