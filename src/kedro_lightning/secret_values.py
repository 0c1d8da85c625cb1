"""Secrets as they come: from a file, a paste or another system's store, often with a line break at the end."""

from __future__ import annotations

import os

_AROUND = " \t\r\n\v\f\ufeff\u200b\u00a0"
"""Blanks, line breaks, the mark at the start of Windows' files and what pages put into a copied text."""


def clean_secret(value: str) -> str:
    """Returns a secret without blanks and line breaks around it; several lines, as of a certificate, stay."""
    clean = value.strip(_AROUND)
    return value if "\n" in clean else clean


def clean_variables(*names: str) -> None:
    """Cleans secrets in this process's environment, for libraries that would send the line break along."""
    for name in names:
        if name in os.environ:
            os.environ[name] = clean_secret(os.environ[name])
