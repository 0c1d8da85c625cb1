"""Spares Python's garbage collector the search through millions of objects that are all in use."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pauses the cyclic garbage collector for the block.

    Writing and encoding examples makes large numbers of small objects and no cycles; looking for cycles among them
    takes half of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
