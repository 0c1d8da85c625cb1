"""What the extractors read, and above all what they refuse to read."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spelling_transfer.tasks.marking import (
    _HEDGES,
    _NUMERALS,
    _ORDINALS,
    FRAME,
    read_letter,
    read_letters,
    read_number,
    read_spelling,
    read_yes_or_no,
)
from spelling_transfer.tasks.registry import load_tasks

NOT_READABLE = None


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("s t r a w", "straw"),
        ("s, t, r, a, w", "straw"),
        ("s,t,r,a,w", "straw"),
        ("S-T-R-A-W.", "straw"),
        ("s - t - r - a - w", "straw"),
        ("straw", "straw"),
        ('"Straw"', "straw"),
        ("s\nt\nr\na\nw", "straw"),
        ("Straw is spelled s-t-r-a-w.", "straw"),
        ("Straw: **s t r a w**", "straw"),
        ("straw = s, t, r, a, w", "straw"),
        ("Sure, here is the spelling of straw:\n\ns t r a w", "straw"),
        ("s t r a w is the answer", "straw"),
        ("s‑t‑r‑a‑w", "straw"),  # hyphens that do not break
        ("s\u00a0t\u202fr\u00a0a\u00a0w", "straw"),  # blanks that do not break
        ("s–t–r–a–w", "straw"),
        ("1. s\n2. t\n3. r\n4. a\n5. w", "straw"),
        ("Here’s the spelling:\n\n1) **S**\n2) **T**\n3) **R**\n4) **A**\n5) **W**", "straw"),
        ("- s\n- t\n- r\n- a\n- w", "straw"),
        ("* s\n* t\n* r\n* a\n* w\n", "straw"),
        ("**s** **t** **r** **a** **w**", "straw"),
        ("“s”, “t”, “r”, “a”, “w”", "straw"),
        ("1. s\n3. t\n2. r", NOT_READABLE),  # numbers that do not count
        ("0. s\n1. t", NOT_READABLE),
        ("1. s\n2. t or r", NOT_READABLE),
        ("s*t*r*a*w", NOT_READABLE),
        ("s t r a w or s t r o w", NOT_READABLE),
        ("It is not s t r a w", NOT_READABLE),
        ("s t r a w, s t r o w", NOT_READABLE),
        ("s t r a w\n\ns t r o w", NOT_READABLE),
        ("s t r a w and y", NOT_READABLE),
        ("s t-r a w", NOT_READABLE),
        ("s t 1 a w", NOT_READABLE),
        ("s t r á w", NOT_READABLE),
        ("1. s t r a w", NOT_READABLE),
        ("st raw", NOT_READABLE),
        ("It is straw.", NOT_READABLE),
        ("I cannot do that.", NOT_READABLE),
        ("", NOT_READABLE),
    ],
)
def test_spellings(output, read):
    assert read_spelling(output, {"straw"}) == read


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("r", "r"),
        ("R.", "r"),
        ("**r**", "r"),
        ("The letter is e", "e"),  # a scorer that takes the first character says t
        ("The 3rd letter of straw is 'r'.", "r"),
        ("Letter 3: r", "r"),
        ("The letter is a.", "a"),
        ("It is r. The answer is r.", "r"),
        ("It’s r.", "r"),
        ("The third letter in the word straw is **r**.", "r"),
        ("The third letter of “straw” is “r”.", "r"),
        ("Letter three is `r`", "r"),
        ("The letter is\u202fr", "r"),
        ("The fourth letter of straw is r.", NOT_READABLE),  # that was not asked
        ("The last letter of straw is r.", NOT_READABLE),
        ("s-t-r: s", NOT_READABLE),
        ("s-t-r: r", NOT_READABLE),
        ("r or t", NOT_READABLE),
        ("r, t", NOT_READABLE),
        ("It is not r.", NOT_READABLE),
        ("It isn’t r.", NOT_READABLE),
        ("I think it is r.", NOT_READABLE),
        ("The 4th letter is r.", NOT_READABLE),  # that was not asked
        ("The letters are r and t.", NOT_READABLE),
        ("The letter is r. The answer is t.", NOT_READABLE),
        ("r of", NOT_READABLE),
        ("r 1", NOT_READABLE),
        ("r r", NOT_READABLE),
        ("rr", NOT_READABLE),
        ("straw", NOT_READABLE),
        ("ŕ", NOT_READABLE),
        ("\u212a", NOT_READABLE),  # the Kelvin sign, which lower-cases to k
        ("3", NOT_READABLE),
        ("", NOT_READABLE),
    ],
)
def test_single_letters(output, read):
    assert read_letter(output, {"straw", "3", "3rd", "three", "third"}) == read


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("3", 3),
        ("3.", 3),
        ("There are **3** r's in strawberry.", 3),
        ("The letter 'r' appears three times in the word \"strawberry\".", 3),
        ("Three", 3),
        ("It occurs 3 times (three).", 3),
        ("It occurs once.", 1),
        ("12", 12),
        ("There are **three** Rs in the word strawberry.", 3),
        ("There are three “r”s in “strawberry”.", 3),
        ("There are 3 **r**s in strawberry.", 3),
        ("There are 3 r’s in strawberry’s letters.", NOT_READABLE),
        ("There are exactly three 'R's.", 3),
        ("3 (three)", 3),
        ("**Three** (3).", 3),
        ("There are 3\u00a0r's", 3),
        ("3 (four)", NOT_READABLE),
        ("no more than 3", NOT_READABLE),
        ("more than 3", NOT_READABLE),
        ("There are 3 Es in strawberry.", NOT_READABLE),  # that was not asked
        ("1. r\n2. r\n3. r", NOT_READABLE),
        ("2–3", NOT_READABLE),
        ("It occurs 3 of 5 times.", NOT_READABLE),
        ("The count is 3, the total 5.", NOT_READABLE),
        ("3 of 5", NOT_READABLE),  # a scorer that joins digits says 35
        ("3rd", NOT_READABLE),
        ("3.5", NOT_READABLE),
        ("-3", NOT_READABLE),
        ("- 3", NOT_READABLE),
        ("2-3", NOT_READABLE),
        ("1/2", NOT_READABLE),
        ("30%", NOT_READABLE),
        ("two-thirds", NOT_READABLE),
        ("twenty-one", NOT_READABLE),
        ("about 3", NOT_READABLE),
        ("at least 3", NOT_READABLE),
        ("2 or 3", NOT_READABLE),
        ("not 3", NOT_READABLE),
        ("There are 3 e in strawberry.", NOT_READABLE),  # that was not asked
        ("03", NOT_READABLE),
        ("3 3", NOT_READABLE),
        ("2x", NOT_READABLE),
        ("٣", NOT_READABLE),
        ("none", NOT_READABLE),
        ("", NOT_READABLE),
    ],
)
def test_numbers(output, read):
    assert read_number(output, {"strawberry", "r", "r's", "rs"}) == read


def test_letters_and_yes_or_no():
    echo = {"straw", "and", "first", "last"}
    assert read_letters("s and w", echo, wanted=2) == ["s", "w"]
    assert read_letters("The first is s, the last w.", echo, wanted=2) == ["s", "w"]
    assert read_letters("not s and w", echo, wanted=2) is None
    assert read_yes_or_no("Yes, it does.") == "yes"
    assert read_yes_or_no("No.") == "no"
    assert read_yes_or_no("No, straw does not contain z.", {"straw", "z"}) == "no"
    assert read_yes_or_no("Yes, it does not.") is None
    assert read_yes_or_no("yes and no") is None
    assert read_yes_or_no("yes, b") is None
    assert read_yes_or_no("maybe") is None


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("First: s, last: w", "s w"),
        ("1. s\n2. w", "s w"),
        ("It begins with “s” and ends with “w”.", "s w"),
        ("s & w", "s w"),
        ("The last letter is s and the first is w.", ""),
        ("Last: s\nFirst: w", ""),
        ("Ending letter: s, starting letter: w", ""),
        ("The second letter is s, the last is w.", ""),
    ],
)
def test_the_first_and_the_last_letter_are_read_in_their_order(output, read):
    task = load_tasks()["first_last"]
    assert task.mark(task.make("straw", random.Random(0)), output).read == read


def test_a_word_that_begins_like_the_name_of_an_end_is_none():
    task = load_tasks()["first_last"]
    assert task.mark(task.make("endless", random.Random(0)), "Endless starts with e and ends with s.").lenient
    assert task.mark(task.make("startle", random.Random(0)), "Startle: the last is e, the first is s.").invalid


FIELD = [  # answers as chatty models gave them: task, argument, those that are right, those that must not be read so
    (
        "count",
        "r",
        ["There are **three** Rs in the word strawberry.", "There are three “r”s in “strawberry”.", "3 (three)"],
        ["not 3", "2 or 3", "no more than 3"],
    ),
    ("position", "3", ["It’s r.", "The third letter in the word strawberry is **r**."], ["s-t-r: s"]),
    (
        "spelling",
        "",
        ["s‑t‑r‑a‑w‑b‑e‑r‑r‑y", "1. s\n2. t\n3. r\n4. a\n5. w\n6. b\n7. e\n8. r\n9. r\n10. y"],
        ["strawberry", "“Strawberry”", "s\u200bt\u200br\u200ba\u200bw\u200bb\u200be\u200br\u200br\u200by"],
    ),
]


@pytest.mark.parametrize(("name", "argument", "right", "wrong"), FIELD)
def test_answers_of_chatty_models_are_read(name, argument, right, wrong):
    task = load_tasks()[name]
    example = task.make("strawberry", random.Random(0), template=task.templates[0], argument=argument)
    assert [output for output in right if not task.mark(example, output).lenient] == []
    assert [output for output in wrong if task.mark(example, output).lenient] == []


_NOISE = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 ,-.;:'\"*/\n\té\u00dfñж\u3042²½\u0663\u200b\u0301\u212a"


def _corrupted(answer: str, rng: random.Random) -> str:
    """Changes one to three characters of an answer, or puts it beside another one."""
    text = answer
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(text) + 1)
        kind = rng.choice(["insert", "delete", "replace", "swap", "double", "append", "prepend"])
        if kind == "insert":
            text = text[:place] + rng.choice(_NOISE) + text[place:]
        elif kind == "delete":
            text = text[:place] + text[place + 1 :]
        elif kind == "replace":
            text = text[:place] + rng.choice(_NOISE) + text[place + 1 :]
        elif kind == "swap" and place + 2 < len(text):
            text = text[:place] + text[place + 2] + text[place + 1] + text[place] + text[place + 3 :]
        elif kind == "double":
            text = text[:place] + text[max(0, place - 2) : place] + text[place:]
        elif kind == "append":
            text += rng.choice([" ", ", ", "-", " of ", " or "]) + rng.choice("abcxyz0123456789")
        elif kind == "prepend":
            text = rng.choice("abcxyz0123456789") + rng.choice([" ", ", ", "-", " of ", " or "]) + text
    return text


def _content(text: str) -> str:
    """The letters and digits of a text, foreign ones and combining accents included, without regard to case."""
    return "".join(char for char in text if char.isalnum() or char == "\u0301").lower()


@pytest.mark.parametrize("name", sorted(load_tasks()))
def test_no_marker_accepts_a_wrong_answer(name):
    task = load_tasks()[name]
    rng = random.Random(name)
    vocabulary = ["strawberry", "cat", "banana", "mississippi", "eye", "aardvark", "queue", "level", "abba", "with"]
    wrong = 0
    while wrong < 10_000:
        separator = rng.choice([" ", ",", "-", ""])
        template = rng.choice(task.templates)
        example = task.make(rng.choice(vocabulary), rng, template=template, separator=separator)
        output = _corrupted(example.answer, rng)
        if _content(output) == _content(example.answer):
            continue  # only separators, blanks or case changed: the answer is still right
        wrong += 1
        mark = task.mark(example, output)
        assert not mark.exact, (example, output)
        assert not mark.lenient, (example, output)


_HEDGED = [
    "not {0}", "not {0}.", "It is not {0}.", "isn’t {0}", "more than {0}", "no more than {0}", "no fewer than {0}",
    "less than {0}", "at least {0}", "at most {0}", "up to {0}", "about {0}", "around {0}", "**about** {0}",
    "maybe {0}", "perhaps {0}.", "probably {0}", "almost {0}", "over {0}", "under {0}", "never {0}", "either {0}",
    "{0} or {1}", "{1} or {0}", "{1}, not {0}", "{0}? {1}", "{0} ({1})", "{0}, {1}", "{0}–{1}",
    "{1} to {0}", "1. {1}\n2. {0}", "- {0}\n- {1}", "between {0} and {1}", "I think {0}", "could be {0}",
    "The answer is not {0}.", "The answer is {0} or {1}.", "The wrong answer is {0}.", "s-t-r: {0}", "{0}?!x",
]  # fmt: skip
"""Hedges and denials: {0} is the right answer, {1} a wrong one of the same form."""


@pytest.mark.parametrize("name", sorted(load_tasks()))
def test_a_hedge_is_never_read_as_the_answer(name):
    task = load_tasks()[name]
    rng = random.Random(name)
    for word in ["strawberry", "cat", "eye", *sorted(_HEDGES), *_NUMERALS.split()]:
        for separator in rng.sample([" ", ",", "-", ""], 2):
            example = task.make(word, rng, template=rng.choice(task.templates), separator=separator)
            for form in _HEDGED:
                output = form.format(example.answer, wrong_answer(example.answer))
                assert not task.mark(example, output).lenient, (example, output)


def wrong_answer(answer: str) -> str:
    """Another answer of the same form: the last letter or number is one further."""
    if answer in ("yes", "no"):
        return {"yes": "no", "no": "yes"}[answer]
    if answer.isdigit():
        return str(int(answer) + 1)
    return answer[:-1] + chr(ord("a") + (ord(answer[-1]) - ord("a") + 1) % 26)


@settings(max_examples=60)
@given(word=st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=12), data=st.data())
@pytest.mark.parametrize("name", sorted(load_tasks()))
def test_any_word_round_trips_through_example_answer_and_mark(name, word, data):
    task = load_tasks()[name]
    template = data.draw(st.sampled_from(list(task.templates)))
    arguments = task.arguments(word, template)
    if not arguments:  # a word of all 26 letters leaves nothing to substitute
        return
    argument = data.draw(st.sampled_from(list(arguments)))
    separator = data.draw(st.sampled_from([" ", ",", "-", ""]))
    example = task.make(word, random.Random(0), template=template, argument=argument, separator=separator)
    assert word in example.question
    assert example.answer == task.gold(word, argument, example.separator)
    for output in (example.answer, f" {example.answer}\n"):
        mark = task.mark(example, output)
        assert (mark.exact, mark.lenient, mark.invalid) == (True, True, False)
    for output in (f"{example.answer}.", example.answer.upper(), f'"{example.answer}"'):
        mark = task.mark(example, output)
        assert (mark.exact, mark.lenient) == (output == example.answer, True)


LIKE_ANSWERS = [
    *["yes", "no", "not", "once", "twice", "thrice"],
    *_NUMERALS.split(),
    *_ORDINALS.split(),
    *sorted(word for word in FRAME | _HEDGES if word.isalpha()),
]
"""Words that are also answers, or stand around them."""


@pytest.mark.parametrize("name", sorted(load_tasks()))
@pytest.mark.parametrize("word", LIKE_ANSWERS)
def test_a_word_that_is_also_an_answer_round_trips(name, word):
    task = load_tasks()[name]
    for template in task.templates:
        for argument in task.arguments(word, template):
            example = task.make(word, random.Random(0), template=template, argument=argument)
            for output in (example.answer, f"{example.answer}.", example.answer.upper(), f'"{example.answer}"'):
                assert task.mark(example, output).lenient, (example, output)


@pytest.mark.parametrize(
    ("name", "word", "argument", "output", "read"),
    [
        ("contains", "no", "a", "Does no contain a? No.", "no"),
        ("contains", "no", "o", "no contains the letter o: yes", "yes"),
        ("contains", "no", "a", "no contains the letter a", ""),
        ("contains", "yes", "e", "Yes, yes contains e.", "yes"),
        ("count", "one", "e", "There is one e in one.", "1"),
        ("count", "three", "e", "There are 2 e in three.", "2"),
        ("count", "three", "e", "the number of e in three", ""),
        ("length", "three", "", "five letters", "5"),
        ("length", "about", "", "about 5", ""),  # a hedge, though it is the word
        ("length", "about", "", "about: 5", "5"),
        ("length", "about", "", "The word “about” has 5 letters.", "5"),
        ("spelling", "not", "", "not n o t", ""),
        ("spelling", "not", "", "Not is spelled n-o-t.", "n o t"),
        ("position", "not", "1", "not n", ""),
        ("position", "not", "1", "The first letter of not is n.", "n"),
    ],
)
def test_an_answer_and_the_word_asked_about_are_told_apart(name, word, argument, output, read):
    task = load_tasks()[name]
    example = task.make(word, random.Random(0), argument=argument)
    assert task.mark(example, output).read == read


@settings(max_examples=60)
@given(st.text(max_size=60))
@pytest.mark.parametrize("name", sorted(load_tasks()))
def test_markers_take_any_text(name, text):
    task = load_tasks()[name]
    example = task.make("strawberry", random.Random(0))
    mark = task.mark(example, text)
    assert mark.lenient or not mark.exact
    assert not (mark.lenient and mark.invalid)
    assert mark.invalid == (mark.read == "")
