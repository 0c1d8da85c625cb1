"""How often the platform is asked: often while something may happen, seldom while nothing will."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .tracked import Tracked

_LONGEST_SECONDS = 10.0
_SHORTEST_SECONDS = 0.3
_SHORTEST_FOR_MANY_SECONDS = 0.5
_REQUESTS_PER_JOB_MINUTE = 6.0
_FEW_JOBS = 8
_HURRY_SECONDS = 3.0


class Pace:
    """The seconds between two rounds; a round is one request, however many jobs run."""

    def __init__(self) -> None:
        """Begins without a hurry."""
        self._hurry_until = 0.0

    def hurry(self) -> None:
        """A job has said that it ends: the platform will say so in a moment."""
        self._hurry_until = time.monotonic() + _HURRY_SECONDS

    def seconds(self, running: Sequence[Tracked], *, waiting: bool) -> float:
        """Returns how long to wait before the next round."""
        count = len(running)
        if not count:
            return 1.0 if waiting else 30.0
        now = time.monotonic()
        if now < self._hurry_until:
            return _SHORTEST_SECONDS
        usual = max(_SHORTEST_FOR_MANY_SECONDS, min(_LONGEST_SECONDS, 60 / (_REQUESTS_PER_JOB_MINUTE * count)))
        if count > _FEW_JOBS:
            return usual
        # Much can happen to a job that is new or about to end, little to one that has been running for an hour.
        youngest = min(now - tracked.changed_at for tracked in running)
        return max(_SHORTEST_SECONDS, min(usual, _SHORTEST_SECONDS + youngest / 4))
