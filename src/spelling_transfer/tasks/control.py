"""Control data: the same prompts with the answers of other words, so the format is learnt and the knowledge is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.randomness import shuffled


class ControlError(SpellingTransferError):
    """No control data can be made of the words there are."""


def control_answers(spelling: pd.DataFrame, seed: int) -> list[str]:
    """Returns, for each spelling example, the spelling of another word with the separator asked for.

    The other word comes from another family and, where there is one, has the same length: the control must differ
    from the real data in which letters are right and in nothing else. Within a length the words stand in a circle and
    each takes the answer of the next one, so that every word's letters are said as often as in the real data.

    Args:
        spelling: Rows with ``word``, ``stem`` and ``separator``.
        seed: Salt of the order of words.

    Raises:
        ControlError: All words are of one family.
    """
    stems = dict(zip(spelling["word"], spelling["stem"], strict=True))
    everything = shuffled(stems, seed, "control")
    by_length: dict[int, list[str]] = {}
    for word in everything:
        by_length.setdefault(len(word), []).append(word)
    other: dict[str, str] = {}
    for circle in by_length.values():
        for place, word in enumerate(circle):
            found = _next_of_another_family(circle, place, stems) or _next_of_another_family(
                everything, everything.index(word), stems
            )
            if found is None:
                raise ControlError(
                    f"example_mix.control: all {len(stems)} training words are of the family {stems[word]!r}, so no "
                    "word can take another's answer. Give a longer word list or set example_mix.control to false."
                )
            other[word] = found
    return [
        separator.join(other[word]) for word, separator in zip(spelling["word"], spelling["separator"], strict=True)
    ]


def _next_of_another_family(circle: Sequence[str], place: int, stems: Mapping[str, str]) -> str | None:
    for step in range(1, len(circle)):
        candidate = circle[(place + step) % len(circle)]
        if stems[candidate] != stems[circle[place]]:
            return candidate
    return None
