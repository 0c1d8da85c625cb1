"""Tags and soft switches in disguise are found; text without them is not accused."""

from __future__ import annotations

import html
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_non_thinking.policy import load_policy
from kedro_non_thinking.text import DRAWN_LIKE, TextRules

RULES = TextRules(load_policy())
INVISIBLE = "\u200b\u200c\u200d\u2060\u00ad\ufeff\u180e"


@st.composite
def disguised_tags(draw: st.DrawFn) -> str:
    """A think tag in upper and lower case, in look-alike characters, with invisible ones and gaps, then escaped."""
    letters = []
    for char in draw(st.sampled_from(["<think>", "</think>", "<thinking>", "</thinking>"])):
        shown = draw(st.sampled_from([char, char.upper(), *DRAWN_LIKE.get(char, "")]))
        letters.append(shown + draw(st.sampled_from(["", "", "", *INVISIBLE])))
    tag = "".join(letters)
    if draw(st.booleans()):
        gap = draw(st.sampled_from([" ", "\n", "\t", "  \n"]))
        tag = tag.replace("h", f"h{gap}", 1)
    escape = draw(st.sampled_from(["plain", "html", "html twice", "url", "unicode", "numeric"]))
    if escape == "html":
        return html.escape(tag)
    if escape == "html twice":
        return html.escape(html.escape(tag))
    if escape == "url":
        return quote(tag)
    if escape == "unicode":
        return "".join(f"\\u{ord(char):04x}" if char in "<>/" else char for char in tag)
    if escape == "numeric":
        return "".join(f"&#{ord(char)};" if char in "<>" else char for char in tag)
    return tag


# Left out: an escape that ends in the text before or begins in the text after is another text.
plain_text = st.text(st.characters(codec="utf-8", exclude_characters="<>&\\%/#;{}"), max_size=30)


@given(plain_text, disguised_tags(), plain_text)
def test_a_disguised_tag_is_found(before: str, tag: str, after: str) -> None:
    if "%" in tag:
        after = f" {after}"  # a digit after "%3" would make it another escape
    assert RULES.tags(RULES.normalise(f"{before} {tag} {after}"))


@given(st.text(st.sampled_from("<>/&;| thinkTHINKreasonxyz_=\n\"'"), max_size=60))
def test_a_text_is_accused_only_if_it_spells_the_tag(text: str) -> None:
    normalised = RULES.normalise(text)
    for tag in RULES.tags(normalised):
        letters = "".join(char for char in normalised[tag.start : tag.end].split("=")[0] if char.isalpha())
        assert letters.startswith("think")


def test_a_long_run_of_what_a_tag_may_hold_is_read_once() -> None:
    long = 200_000  # for hours, if each part of the run was tried
    assert RULES.tags(f"<{'|' * long}t{' ' * long}hink>")
    assert not RULES.tags(f"<{' ' * long}think{' |' * long}a")
    assert not RULES.tags(f"<think a={' ' * long}<")
    assert RULES.normalise("\\" * long + "u003cthink>") == "<think>"
    assert RULES.normalise("\\" * long + "q") == "\\" * long + "q"


@given(st.text(max_size=200))
def test_lines_stay_where_they_are(text: str) -> None:
    assert RULES.normalise(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "Spell cat /think",
        "/think",
        "3+4?/think",
        "done./think",
        "Question:/think",
        "(/think)",
        "a\n/think",
        "／think",
        "/\u200bthink",
        "⁄think",
        "/thı́nk",
        "/THINK!",
    ],
)
def test_a_soft_switch_is_found(text: str) -> None:
    assert RULES.switches(RULES.normalise(text))


@pytest.mark.parametrize(
    "text",
    [
        "./think",
        "C:/think",
        "docs/think",
        "/think/about",
        "/think.py",
        "https://x.org/think",
        "/thinking",
        "</think>",
        "/no_think",
    ],
)
def test_a_path_is_no_soft_switch(text: str) -> None:
    assert not RULES.switches(RULES.normalise(text))


def test_the_empty_block_of_a_prompt_is_no_stray_tag() -> None:
    assert not RULES.stray_tags("<think>\n\n</think>\n\n")
    assert not RULES.stray_tags("<think>\\n\\n</think>")
    assert len(RULES.stray_tags("<think>\nc, a, t\n</think>")) == 2
    assert len(RULES.stray_tags("</think><think>")) == 2
