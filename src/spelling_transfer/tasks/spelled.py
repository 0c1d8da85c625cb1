"""Tasks whose answer is a row of letters with a separator between them."""

from __future__ import annotations

from abc import abstractmethod

from spelling_transfer.tasks.base import Asked, WordTask
from spelling_transfer.tasks.marking import echo_of, lower_ascii, read_spelling, spelling_similarity


class SpelledTask(WordTask):
    """A task that is answered letter by letter; a subclass says which letters."""

    answer_has_separator = True

    @abstractmethod
    def letters(self, word: str, argument: str) -> str:
        """Returns the letters of the right answer without separators."""

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the letters with the separator between them."""
        return separator.join(self.letters(word, argument))

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads letters with any of the four separators; see :func:`~.marking.read_spelling`."""
        letters = read_spelling(output, echo_of(asked))
        return None if letters is None else asked.separator.join(letters)

    def measure(self, asked: Asked, read: str | None, output: str) -> dict[str, float]:
        """Returns ``similarity`` and ``copied``.

        ``similarity`` is 1 − Levenshtein distance / length of the longer, 0 where nothing could be read. ``copied`` is
        1 where letters with a separator were asked for and the bare word came back: the extractor takes that for its
        letters, so the lenient score holds it, but it takes no knowledge of them.
        """
        letters = (read or "").replace(asked.separator, "") if asked.separator else read or ""
        copied = bool(asked.separator) and lower_ascii(output.strip().strip(".\"'*`")) == asked.word
        return {
            "similarity": spelling_similarity(self.letters(asked.word, asked.argument), letters),
            "copied": float(copied),
        }
