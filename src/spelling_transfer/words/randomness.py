"""Chance that depends on what is drawn for and on nothing else: not on order, processes, platform or hash seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable


def key_of(*parts: object) -> int:
    """Returns a 64-bit number from parts that name a draw, such as seed, task and word."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def random_for(*parts: object) -> random.Random:
    """Returns a generator of its own for what the parts name."""
    return random.Random(key_of(*parts))


def shuffled(items: Iterable[str], *parts: object) -> list[str]:
    """Returns items in an order that the parts decide, the same whatever order they came in."""
    return sorted(items, key=lambda item: (key_of(*parts, item), item))
