"""What the commands of ``kedro bundle`` share: places by their URL, one clear error, a bar, sizes in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from spelling_transfer.storage.stores import BundleStore

_DEFAULT_DATASET = "prep_manifest"


def open_place(url: str, env: str | None, encryption: str = "none", jobs: int = 8) -> BundleStore:
    """Returns the store that a URL names, with the credentials of a Kedro environment."""
    from spelling_transfer.storage.stores import open_store

    set_up(env)
    return open_store(url, encryption=encryption, jobs=jobs)


def set_up(env: str | None) -> None:
    """Makes the credentials of a Kedro environment known, where this is a Kedro project."""
    from kedro.utils import find_kedro_project

    from spelling_transfer.storage.credentials import set_up_stores

    project = find_kedro_project(Path.cwd())
    if project is not None:
        set_up_stores(Path(project) / "conf", env)


@contextmanager
def one_clear_error() -> Iterator[None]:
    """Prints what is wrong in one line and ends the command, with 1, or 130 after Ctrl-C."""
    from spelling_transfer.errors import SpellingTransferError

    try:
        yield
    except KeyboardInterrupt:
        click.secho("Interrupted. What was finished is kept; the same command goes on from there.", err=True, fg="red")
        raise SystemExit(130) from None
    except SpellingTransferError as error:
        click.secho(f"Error: {error}", err=True, fg="red")
        raise SystemExit(1) from error


@contextmanager
def bar(description: str) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """Gives what makes a bar once the number of bytes is known; the bar counts kilobytes."""
    from contextlib import ExitStack
    from threading import Lock

    from spelling_transfer.progress import progress_bar

    with ExitStack() as stack:

        def start(n_bytes: int) -> Callable[[int], None]:
            handle = stack.enter_context(progress_bar(f"{description} (kB)", n_bytes // 1000))
            guard, rest = Lock(), [0]

            def count(done: int) -> None:
                with guard:
                    rest[0] += done
                    kilobytes, rest[0] = rest[0] // 1000, rest[0] % 1000
                    handle(kilobytes)

            return count

        yield start


def size_text(n_bytes: int) -> str:
    """Returns a number of bytes as people write it."""
    value = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError  # the last unit takes any value


def manifest_of_project(env: str | None) -> str:
    """Returns where the project's own manifest is, by its catalog.

    Raises:
        BundleError: This is no project, or its catalog has no such dataset.
    """
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project
    from kedro.utils import find_kedro_project

    from spelling_transfer.storage.bundle import BundleError

    project = find_kedro_project(Path.cwd())
    if project is None:
        raise BundleError("No manifest is named and this is no Kedro project: name one, or go to the project's folder.")
    bootstrap_project(project)
    with KedroSession.create(project_path=project, env=env) as session:
        context: Any = cast("KedroSession", session).load_context()
        catalog = context.config_loader["catalog"]
    path = catalog.get(_DEFAULT_DATASET, {}).get("filepath")
    if path is None:
        raise BundleError(f"The catalog has no file for {_DEFAULT_DATASET!r}: name a manifest.")
    return path if "://" in path or Path(path).is_absolute() else str(project / path)
