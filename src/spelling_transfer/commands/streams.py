"""Where a command's words go: results to standard output, the log to standard error, in what the terminal can show."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from pathlib import Path

_set_up_for: list[Path] = []


def set_up_streams() -> None:
    """Makes a character that the terminal's encoding lacks a question mark, not an error after the work is done."""
    for stream in (sys.stdout, sys.stderr):
        # In the C locale Python lets bytes of file names through ("surrogateescape"), which helps no other character.
        if not isinstance(stream, io.TextIOWrapper):
            continue
        escapes = stream.errors == "surrogateescape" and stream.encoding.lower() not in ("utf-8", "utf8")
        if stream.errors == "strict" or escapes:
            stream.reconfigure(errors="replace")


def printable(text: str) -> str:
    """Returns what somebody else wrote without what a terminal would obey; a line break becomes a blank, too."""
    return "".join(character if character.isprintable() else " " for character in text)


_OURS = r"(spelling_transfer|kedro_lightning|kedro_non_thinking)(\.|$)"


def hide_warnings_of_others(*, in_children: bool = False) -> None:
    """Keeps Python warnings of other libraries off the terminal; ``PYTHONWARNINGS`` and ``python -W`` still decide.

    Args:
        in_children: In the processes that this one starts as well, such as the server of Kedro-Viz.
    """
    if sys.warnoptions:
        return
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=_OURS)
    # Of a socket that a library left: it is named where garbage happens to be collected, which may be a module of ours.
    warnings.filterwarnings("ignore", category=ResourceWarning)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its logger has a handler of its own
    if in_children:
        os.environ.setdefault("PYTHONWARNINGS", "ignore")


def show_all() -> None:
    """Brings back the warnings of other libraries, in Python's way and in the log, and the log of Kedro."""
    if not sys.warnoptions:
        warnings.resetwarnings()
        os.environ.pop("PYTHONWARNINGS", None)
    logging.getLogger().setLevel(logging.WARNING)
    for name in ("kedro", "kedro.pipeline.node"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("kedro_viz").setLevel(logging.WARNING)
    if os.environ.get("TRANSFORMERS_VERBOSITY") == "error":
        del os.environ["TRANSFORMERS_VERBOSITY"]


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
