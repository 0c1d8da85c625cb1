"""Importing the SDK where its import would ask a package index, or fail."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def import_sdk() -> None:
    """Imports ``lightning_sdk``, once and quietly; half a second and 70 MB, so only where it is needed."""
    if "lightning_sdk" in sys.modules:
        return
    # Read by the SDK when it is imported; without it the import asks a package index, and waits for the answer.
    os.environ.setdefault("LIGHTNING_DISABLE_VERSION_CHECK", "1")
    with contextlib.ExitStack() as stack:
        try:
            sys.stderr.fileno()
        except (OSError, AttributeError, ValueError):
            # The import looks whether standard error is a terminal; in a notebook or a test it may be no file at all.
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(Path(os.devnull).open("w"))))
        import lightning_sdk  # noqa: F401
