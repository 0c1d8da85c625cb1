"""When Python does not look for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pauses the cyclic garbage collector for the block.

    What makes large numbers of small objects and few cycles is held up by a search for cycles: writing and encoding
    examples takes half of its time for that, importing libraries and reading configuration a sixth.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
