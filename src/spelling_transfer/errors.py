"""The base of every error that is written for the user of this project."""

from __future__ import annotations

from collections.abc import Iterator


class SpellingTransferError(Exception):
    """An error whose message names the thing that is wrong and what to do about it.

    The command line prints the message alone, without a traceback, and exits with 1. Each module defines its own
    subclasses beside the code that raises them.
    """


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what led to it, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, without its full stop; the error's type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def reinstall_command() -> str:
    """Returns the command that installs this package once more from where it came, with what it depends on.

    Whence is on record beside the installed package (https://packaging.python.org/specifications/direct-url/): a
    checkout, a file, a repository, or nothing where it came from a package index.
    """
    import json
    import shlex
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    try:
        installed = distribution("spelling-transfer")
    except PackageNotFoundError:  # a checkout that is only on the path
        return "pip install -e ."
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return f"pip install -e {shlex.quote(unquote(urlsplit(origin['url']).path))}"
    if not origin:
        return f"pip install spelling-transfer=={installed.version}"
    place = origin["url"]
    if "vcs_info" in origin:
        place = f"{origin['vcs_info']['vcs']}+{place}@{origin['vcs_info']['commit_id']}"
    return f"pip install 'spelling-transfer @ {place}'"


def refuse_text(name: str, given: object) -> None:
    """Refuses a text where a list of texts is meant, whose letters would be taken for texts.

    Raises:
        TypeError: It is one; the message says what to write.
    """
    if isinstance(given, str):
        raise TypeError(f"{name}: a list of texts is expected, not one text. Write [{given!r}].")
