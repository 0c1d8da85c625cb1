"""Where a command's words go: results to standard output, the log to standard error, in what the terminal can show."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

_set_up_for: list[Path] = []


def set_up_streams() -> None:
    """Makes a character that the terminal's encoding lacks a question mark, not an error after the work is done."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def set_up_log() -> None:
    """Sets up the log of ``conf/logging.yml``; Kedro itself looks for the file below the current folder alone."""
    from kedro.utils import find_kedro_project

    project = find_kedro_project(Path.cwd())
    if project is None or "KEDRO_LOGGING_CONFIG" in os.environ or Path(project) in (Path.cwd(), *_set_up_for[-1:]):
        return
    import yaml
    from kedro.framework.project import configure_logging

    file = Path(project) / "conf" / "logging.yml"
    if file.is_file():
        configure_logging(yaml.safe_load(file.read_text(encoding="utf-8")))
        _set_up_for.append(Path(project))
