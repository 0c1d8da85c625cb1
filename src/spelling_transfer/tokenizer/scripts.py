"""Which script a text is written in, by the Unicode property ``Script`` (UAX #24)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

COMMON = "Common"
"""No letter of a script: digits, punctuation, symbols, white space."""
MIXED = "Mixed"
"""Letters of more than one script."""
OTHER = "Other"
"""A script that is not among ``SCRIPTS``."""

# The most frequent ones first, as characters that are matched need no further look.
# fmt: off
SCRIPTS = (
    "Latin", "Han", "Hangul", "Cyrillic", "Arabic", "Greek", "Hebrew", "Thai", "Katakana", "Hiragana", "Devanagari",
    "Armenian", "Georgian", "Bengali", "Tamil", "Telugu", "Malayalam", "Kannada", "Gujarati", "Gurmukhi", "Oriya",
    "Sinhala", "Khmer", "Lao", "Myanmar", "Tibetan", "Mongolian", "Ethiopic", "Syriac", "Thaana", "Nko", "Cherokee",
    "Canadian_Aboriginal", "Coptic", "Tifinagh", "Javanese", "Balinese", "Sundanese", "Bopomofo", "Yi", "Runic",
    "Ogham", "Gothic", "Glagolitic", "Cuneiform", "Egyptian_Hieroglyphs", "Phoenician", "Braille", "Tai_Tham",
    "Tai_Viet", "Tai_Le", "New_Tai_Lue", "Mandaic", "Phags_Pa", "Buginese", "Samaritan", "Bamum",
    "Inscriptional_Parthian", "Old_Turkic", "Old_Persian", "Limbu", "Batak", "Lepcha", "Ol_Chiki", "Lisu", "Vai",
    "Cham", "Kaithi", "Modi", "Adlam", "Avestan", "Bhaiksuki", "Brahmi", "Buhid", "Carian", "Chakma", "Deseret",
    "Grantha", "Hanunoo", "Kayah_Li", "Kharoshthi", "Linear_A", "Linear_B", "Lycian", "Lydian", "Meetei_Mayek", "Osage",
    "Osmanya", "Rejang", "Saurashtra", "Shavian", "Siddham", "Syloti_Nagri", "Tagalog", "Tagbanwa", "Takri", "Ugaritic",
    "Old_Italic", "Nabataean", "Hatran", "Imperial_Aramaic", "Wancho", "Nushu", "Tangut",
)
# fmt: on

_NO_SCRIPT = 255  # Common and Inherited: sorts after every script, so a minimum passes over it
_OTHER_CODE = 254
_MIXED_CODE = 253


def script_names(codes: np.ndarray) -> np.ndarray:
    """Returns the name of each script code of :func:`scripts_of_texts`, an object array of the same shape."""
    names = np.full(256, OTHER, dtype=object)
    names[: len(SCRIPTS)] = SCRIPTS
    names[_NO_SCRIPT] = COMMON
    names[_MIXED_CODE] = MIXED
    return names.take(codes)


def scripts_of_texts(texts: Sequence[str]) -> np.ndarray:
    """Returns a script code for each text: that of its letters if they share one, else ``Mixed`` or ``Common``.

    Args:
        texts: Any texts, empty ones too.

    Returns:
        Codes for :func:`script_names`, uint8, shape ``(texts,)``.
    """
    joined = "".join(texts)
    points = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32)
    codes = _code_table(set(joined))[points]
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    result = np.full(len(texts), _NO_SCRIPT, dtype=np.uint8)
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return result
    starts = (np.cumsum(lengths) - lengths)[filled]
    lowest = np.minimum.reduceat(codes, starts)
    # For the maximum, what has no script must sort below every script instead.
    highest = np.maximum.reduceat(np.where(codes == _NO_SCRIPT, 0, codes.astype(np.int16) + 1), starts) - 1
    result[filled] = np.where((lowest != _NO_SCRIPT) & (lowest != highest), _MIXED_CODE, lowest)
    return result


def _code_table(characters: Iterable[str]) -> np.ndarray:
    """Returns the script code of every code point, looked up for the given characters only; shape ``(0x110000,)``."""
    import regex

    table = np.full(0x110000, _NO_SCRIPT, dtype=np.uint8)
    remaining = regex.sub(r"[\p{Script=Common}\p{Script=Inherited}]", "", "".join(sorted(characters)))
    for code, script in enumerate(SCRIPTS):
        if not remaining:
            return table
        found = regex.findall(rf"\p{{Script={script}}}", remaining)
        if found:
            table[[ord(character) for character in found]] = code
            remaining = regex.sub(rf"\p{{Script={script}}}", "", remaining)
    table[[ord(character) for character in remaining]] = _OTHER_CODE
    return table
