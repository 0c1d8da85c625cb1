"""Word families: which words are inflections of one another, and in which split each family falls.

A split by row or by seed leaks: "walked" in training teaches "walking" in the test set. Words are therefore joined
into families by every inflection that could link them, ambiguous ones included ("caring" joins "care" and "car"),
and a whole family goes to one split. Joining too much costs a little variety; joining too little costs the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Literal

Split = Literal["train", "validation", "test", "pretrain"]

_MINIMUM_BASE_LENGTH = 3
_VARIANTS = (("isation", "ization"), ("our", "or"), ("tre", "ter"), ("ise", "ize"), ("yse", "yze"), ("ogue", "og"))
"""British and American spellings of one word count as one family."""


_BOUNDS: dict[Split, int] = {"test": 17, "validation": 34, "pretrain": 40, "train": 100}
"""Upper bound (exclusive) of a family's bucket in each split."""


def bases(word: str) -> list[str]:
    """Returns every string that ``word`` could be an inflection of, whether or not it is a word.

    Covers plurals and third persons, past forms, ``-ing``, comparatives, superlatives and ``-ly``, with doubled
    consonants, dropped ``e``, ``y`` to ``i``, ``f`` to ``v`` and ``ie`` to ``y``; then British and American variants
    and the irregular forms of :func:`irregular_bases`.
    """
    found: list[str] = []
    if word.endswith("ies"):
        found += [word[:-3] + "y", word[:-1]]
    if word.endswith("ves"):
        found += [word[:-3] + "f", word[:-3] + "fe"]
    if word.endswith("es"):
        found += _undoubled(word[:-2])
    if word.endswith("s"):
        found.append(word[:-1])
    for suffix in ("ed", "ing", "er", "est", "ers", "ings"):
        if word.endswith(suffix):
            found += _before_vowel(word.removesuffix(suffix))
    if word.endswith("ying"):
        found.append(word[:-4] + "ie")
    if word.endswith("ly"):
        stem = word[:-2]
        found += [stem, stem + "le", stem + "l", stem + "e"]
        if stem.endswith("i"):
            found.append(stem[:-1] + "y")
        if stem.endswith("al"):
            found.append(stem[:-2])
    for british, american in _VARIANTS:
        if british in word:
            found.append(word.replace(british, american))
    regular = [base for base in found if len(base) >= _MINIMUM_BASE_LENGTH]
    return [base for base in dict.fromkeys([*regular, *irregular_bases(word)]) if base != word]


def _before_vowel(stem: str) -> list[str]:
    """What may stand before ``-ed``, ``-ing``, ``-er`` or ``-est``: walk(ed), hop(p)(ed), hop(e)(d), car(r)i(ed)."""
    found = [*_undoubled(stem), stem + "e"]
    if stem.endswith("i"):
        found.append(stem[:-1] + "y")
    if stem.endswith("ck"):  # panicked, trafficking
        found.append(stem[:-1])
    return found


def _undoubled(stem: str) -> list[str]:
    doubled = len(stem) > 2 and stem[-1] == stem[-2]
    return [stem, stem[:-1]] if doubled else [stem]


def find_families(words: Sequence[str], dictionary: Collection[str] = frozenset()) -> dict[str, str]:
    """Joins words into families and names each family by its stem.

    Two words are in one family if a chain of inflections connects them, each link of which is in ``words`` or in
    ``dictionary``; so "amortized" and "amortizing" meet in "amortize" although it is too rare to be on the list.

    Args:
        words: Lower-case words.
        dictionary: Words that may link others without being on the list themselves.

    Returns:
        Each word with its stem: the shortest member or link of the family, the alphabetically first of several.
    """
    listed = set(words)
    parent: dict[str, str] = {}

    def root(word: str) -> str:
        parent.setdefault(word, word)
        while parent[word] != word:
            parent[word] = parent[parent[word]]
            word = parent[word]
        return word

    open_words = list(words)
    visited: set[str] = set()
    while open_words:
        word = open_words.pop()
        if word in visited:
            continue
        visited.add(word)
        root(word)
        for base in bases(word):
            if base in listed or base in dictionary:
                first, second = sorted((root(word), root(base)), key=lambda stem: (len(stem), stem))
                parent[second] = first  # the stem-most name stays the root, so the root is the family's stem
                open_words.append(base)
    return {word: root(word) for word in words}


def bucket_of(stem: str) -> int:
    """Returns the bucket of a family, 0 to 99, from a hash of its stem alone."""
    return int(hashlib.sha256(stem.encode()).hexdigest(), 16) % 100


def split_of(stem: str) -> Split:
    """Returns the split of a family, from its bucket: the same on every machine and for every list."""
    bucket = bucket_of(stem)
    return next(split for split, bound in _BOUNDS.items() if bucket < bound)


def find_leaks(splits: Mapping[str, str], dictionary: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Returns the pairs of words that are linked by inflection but stand in different splits; empty is proof of none.

    Works from the words and their splits alone, not from the families, so that it would also find a mistake of
    :func:`find_families` or a split that was edited by hand.

    Args:
        splits: Each word with its split.
        dictionary: Words outside the list through which two listed words may be linked.
    """
    outside = set(dictionary) - splits.keys()
    by_link: dict[str, list[str]] = {}
    leaks: list[tuple[str, str]] = []
    for word, split in sorted(splits.items()):
        for base in bases(word):
            if base in splits:
                if splits[base] != split:
                    leaks.append((base, word))
            elif base in outside:
                by_link.setdefault(base, []).append(word)
    for linked in by_link.values():
        leaks += [(linked[0], word) for word in linked[1:] if splits[word] != splits[linked[0]]]
    return leaks


_PREFIXES = ("out", "over", "under", "re", "un", "mis", "fore", "with", "up", "inter", "be", "off", "down", "broad")
_COMPOUND_ENDINGS = {"men": "man", "feet": "foot", "teeth": "tooth", "mice": "mouse", "children": "child"}
_PARTICIPLE_MINIMUM = 4
"""Shorter irregular forms ("led", "met", "ran") end too many unrelated words to be looked for behind a prefix: verbs
that have one there ("misled", "oversaw") stand in the list themselves."""


@cache
def _irregular_forms() -> dict[str, tuple[str, ...]]:
    bases: dict[str, tuple[str, ...]] = {}
    for line in _SETS.split("\n"):
        base, *forms = line.split() or [""]
        for form in forms:
            bases[form] = (*bases.get(form, ()), base)
    return bases


def irregular_bases(word: str) -> list[str]:
    """Returns the base forms that ``word`` is an irregular inflection of; empty for a regular word."""
    table = _irregular_forms()
    bases = list(table.get(word, ()))
    for prefix in _PREFIXES:
        rest = word.removeprefix(prefix)
        if rest != word and len(rest) >= _PARTICIPLE_MINIMUM:
            bases += [prefix + base for base in table.get(rest, ())]
    for ending, base in _COMPOUND_ENDINGS.items():
        if word.endswith(ending) and word != ending:
            bases.append(word.removesuffix(ending) + base)
    return bases


_SETS = """
arise arose arisen
be am is are was were been being
bear bore borne born
beat beaten
become became
begin began begun
bend bent
bind bound
bite bit bitten
bleed bled
blow blew blown
break broke broken
breed bred
bring brought
build built
burn burnt
buy bought
catch caught
choose chose chosen
cling clung
come came
creep crept
deal dealt
dig dug
do did done does doing
draw drew drawn
dream dreamt
drink drank drunk drunken
drive drove driven
dwell dwelt
eat ate eaten
fall fell fallen
feed fed
feel felt
fight fought
find found
flee fled
fling flung
fly flew flown flies
forbid forbade forbidden
foresee foresaw
forget forgot forgotten
forgive forgave forgiven
forsake forsook forsaken
freeze froze frozen
get got gotten
give gave given
go went gone goes going goer
grind ground
grow grew grown
hang hung
have had has
hear heard
hide hid hidden
hold held
keep kept
kneel knelt
know knew known
lay laid
lead led
lean leant
leap leapt
learn learnt
leave left
lend lent
lie lay lain
light lit
lose lost
make made
mean meant
meet met
mislead misled
mow mown
outdo outdid
outrun outran
overdo overdid
overeat overate
overrun overran
oversee oversaw
pay paid
prove proven
redo redid
rerun reran
ride rode ridden
ring rang rung
rise rose risen
run ran
saw sawn
say said says
see saw seen
seek sought
sell sold
send sent
sew sewn
shake shook shaken
shear shorn
shine shone
shoot shot
show shown
shrink shrank shrunk shrunken
sing sang sung
sink sank sunk sunken
sit sat
slay slew slain
sleep slept
slide slid
sling slung
smell smelt
smite smote smitten
sow sown
speak spoke spoken
speed sped
spell spelt
spend spent
spill spilt
spin spun span
spit spat
spoil spoilt
spring sprang sprung
stand stood
steal stole stolen
stick stuck
sting stung
stink stank stunk
stride strode stridden
strike struck stricken
string strung
strive strove striven
swear swore sworn
sweep swept
swell swollen
swim swam swum
swing swung
take took taken
teach taught
tear tore torn
tell told
think thought
throw threw thrown
tread trod trodden
undo undid
wake woke woken
wear wore worn
weave wove woven
weep wept
win won
wind wound
wring wrung
write wrote written
good better best
bad worse worst
far farther farthest further furthest
little less lesser least
much many more most
old elder eldest
child children
die dice
foot feet
goose geese
louse lice
man men
mouse mice
ox oxen
penny pence
person people
tooth teeth
woman women
brother brethren
alga algae
alumnus alumni
analysis analyses
antenna antennae
appendix appendices
axis axes
bacterium bacteria
basis bases
cactus cacti
crisis crises
criterion criteria
curriculum curricula
datum data
diagnosis diagnoses
ellipsis ellipses
emphasis emphases
formula formulae
fungus fungi
genus genera
hypothesis hypotheses
index indices
larva larvae
matrix matrices
medium media
memorandum memoranda
nebula nebulae
neurosis neuroses
nucleus nuclei
oasis oases
opus opera
paralysis paralyses
parenthesis parentheses
phenomenon phenomena
prognosis prognoses
radius radii
referendum referenda
spectrum spectra
stimulus stimuli
stratum strata
supernova supernovae
synopsis synopses
synthesis syntheses
terminus termini
thesis theses
vertebra vertebrae
vertex vertices
vortex vortices
thief thieves
"""
"""Irregular English inflections, one set of forms of a word a line, its base first: no rule of suffixes connects them.

Prefixed verbs ("understand", "overcome") follow their base verb and are found by :func:`irregular_bases`.
"""
