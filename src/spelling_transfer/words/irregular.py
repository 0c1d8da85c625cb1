"""Irregular English inflections: forms that no suffix rule connects with their base.

Each line is one set of forms of the same word. Prefixed verbs ("understand", "overcome") follow their base verb and are
found by :func:`irregular_bases`.
"""

from __future__ import annotations

from functools import cache

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
mow mown
pay paid
prove proven
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

_PREFIXES = ("out", "over", "under", "re", "un", "mis", "fore", "with", "up", "inter", "be", "off", "down", "broad")
_COMPOUND_ENDINGS = {"men": "man", "feet": "foot", "teeth": "tooth", "mice": "mouse", "children": "child"}
_PARTICIPLE_MINIMUM = 4
"""Shorter irregular forms ("led", "met", "ran") end too many unrelated words to be looked for behind a prefix."""


@cache
def _base_of() -> dict[str, tuple[str, ...]]:
    bases: dict[str, tuple[str, ...]] = {}
    for line in _SETS.split("\n"):
        base, *forms = line.split() or [""]
        for form in forms:
            bases[form] = (*bases.get(form, ()), base)
    return bases


def irregular_bases(word: str) -> list[str]:
    """Returns the base forms that ``word`` is an irregular inflection of; empty for a regular word."""
    table = _base_of()
    bases = list(table.get(word, ()))
    for prefix in _PREFIXES:
        rest = word.removeprefix(prefix)
        if rest != word and len(rest) >= _PARTICIPLE_MINIMUM:
            bases += [prefix + base for base in table.get(rest, ())]
    for ending, base in _COMPOUND_ENDINGS.items():
        if word.endswith(ending) and word != ending:
            bases.append(word.removesuffix(ending) + base)
    return bases
