"""Word families: every inflection joins, and the check finds what does not."""

from itertools import product

import pytest

from spelling_transfer.words.families import bases, find_families, find_leaks, split_of


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("cats", "cat"),
        ("boxes", "box"),
        ("buses", "bus"),
        ("quizzes", "quiz"),
        ("ponies", "pony"),
        ("wolves", "wolf"),
        ("knives", "knife"),
        ("walked", "walk"),
        ("hoped", "hope"),
        ("hopped", "hop"),
        ("tried", "try"),
        ("panicked", "panic"),
        ("dying", "die"),
        ("making", "make"),
        ("running", "run"),
        ("bigger", "big"),
        ("happiest", "happy"),
        ("writers", "write"),
        ("quickly", "quick"),
        ("misled", "mislead"),
        ("oversaw", "oversee"),
        ("undid", "undo"),
        ("simply", "simple"),
        ("happily", "happy"),
        ("basically", "basic"),
        ("colour", "color"),
        ("organise", "organize"),
        ("went", "go"),
        ("going", "go"),
        ("does", "do"),
        ("being", "be"),
        ("understood", "understand"),
        ("children", "child"),
        ("policemen", "policeman"),
        ("analyses", "analysis"),
    ],
)
def test_inflections_lead_to_their_base(word, base):
    assert base in bases(word)


@pytest.mark.parametrize("ending", ["s", "es", "ed", "er", "ing", "ies", "ly", "men", ""])
def test_an_ending_alone_is_no_inflection(ending):
    assert bases(ending) in ([], ["man"])


def test_a_family_is_closed_under_chains_and_links_outside_the_list():
    families = find_families(
        ["runner", "runners", "running", "amortized", "amortizing", "care", "caring", "cars"],
        {"run", "car", "amortize"},
    )
    assert families["runner"] == families["runners"] == families["running"] == "run"
    assert families["amortized"] == families["amortizing"]
    assert len({families[word] for word in ("care", "caring", "cars")}) == 1  # "caring" could be either's


@pytest.mark.parametrize(
    ("words", "dictionary", "stem"),
    [
        (["caring"], {"care", "car"}, "car"),  # the shortest of several bases
        (["taught"], {"teach"}, "teach"),  # the shortest, though "taught" comes first in the alphabet
        (["eat", "ate"], set(), "ate"),  # of two that are as short the first in the alphabet
        (["kindlier"], {"kindly", "kind"}, "kind"),  # through a word that is not on the list
    ],
)
def test_a_family_has_the_name_of_its_shortest_member_or_link(words, dictionary, stem):
    assert find_families(words, dictionary) == dict.fromkeys(words, stem)


def test_families_do_not_depend_on_the_order_of_words():
    words = ["caring", "cars", "care", "walked", "walks", "walking"]
    assert find_families(words, {"car", "walk"}) == find_families(words[::-1], {"walk", "car"})


def test_a_leak_is_found_without_trusting_the_families():
    assert find_leaks({"walk": "train", "walked": "test"}) == [("walk", "walked")]
    assert find_leaks({"walks": "train", "walked": "test"}, {"walk"}) == [("walked", "walks")]
    assert find_leaks({"walk": "train", "walked": "train"}) == []
    assert find_leaks({"walks": "train", "walked": "train"}, {"walk"}) == []
    assert find_leaks({"walks": "test", "walk": "test", "walked": "train"}, {"walk"}) == [("walk", "walked")]


def test_the_split_is_that_of_the_stem_and_has_the_promised_shares():
    assert split_of("straw") == split_of("straw")
    stems = ["".join(letters) for letters in product("abcdefghijklm", repeat=4)]
    shares = {
        split: sum(split_of(stem) == split for stem in stems) / len(stems)
        for split in ("test", "validation", "pretrain", "train")
    }
    assert shares == pytest.approx({"test": 0.17, "validation": 0.17, "pretrain": 0.06, "train": 0.6}, abs=0.01)
