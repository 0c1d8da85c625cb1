import json
import re
from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from spelling_transfer.pages.page import Card, Link, Section, Table, render_page

EVIL = "<script>alert('x')</script> & \"quoted\" </style>"


class _Reader(HTMLParser):
    """Reads a page as a browser does: elements, their attributes, and text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = attrs, text + data
        elif "style" not in self._open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def figure() -> go.Figure:
    return go.Figure(go.Bar(x=[EVIL], y=[1]), layout={"height": 300})


def test_everything_is_escaped_but_trusted_html() -> None:
    sections = [
        Section(EVIL, text=[EVIL, Markup("<em>trusted</em>")], cards=[Card(EVIL, EVIL, EVIL)], code=EVIL),
        Section("table", table=Table(pd.DataFrame({EVIL: [EVIL]}), caption=EVIL)),
        Section("more", links=[Link(EVIL, "a.html", EVIL)], html="<strong>trusted too</strong>"),
    ]
    page = _Reader(render_page(EVIL, sections, subtitle=EVIL))
    assert len(page.scripts) == 1
    assert page.text.count("<script>alert('x')</script>") >= 12
    assert len(page.all("em")) == len(page.all("strong")) == 1


def test_plotly_is_inside_once_and_only_where_a_figure_is(figure: go.Figure) -> None:
    none, two = (render_page("t", [Section("a", figure=f), Section("b", figure=f)]) for f in (None, figure))
    assert "plotly.js v" not in none
    assert len(none) < 20_000
    assert two.count("plotly.js v") == 1


def test_a_figure_is_carried_as_data_that_cannot_end_its_script(figure: go.Figure) -> None:
    page = _Reader(render_page("t", [Section("a", figure=figure, caption="A bar.")]))
    data = [text for attrs, text in page.scripts if attrs.get("type") == "application/json"]
    assert json.loads(data[0])["data"][0]["x"] == [EVIL]
    plot = next(attrs for attrs in page.all("div") if attrs.get("role") == "group")
    assert plot["aria-label"] == "A bar."
    assert plot["style"] == "min-height: 300px"


def test_nothing_is_loaded_from_elsewhere(figure: go.Figure) -> None:
    page = _Reader(render_page("t", [Section("a", figure=figure, links=[Link("b", "../b/index.html")])]))
    for tag, attribute in (("script", "src"), ("img", "src"), ("iframe", "src"), ("form", "action")):
        assert [attrs for attrs in page.all(tag) if attribute in attrs] == []
    assert [attrs["href"] for attrs in page.all("link")] == ["data:,"]
    policy = next(attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_without_scripts_a_figure_leaves_no_gap(figure: go.Figure) -> None:
    page = render_page("t", [Section("a", figure=figure)])
    assert "<noscript><style>.plot { min-height: 0 !important; }</style></noscript>" in page


@pytest.mark.parametrize("href", ["javascript:alert(1)", "data:text/html,x", "JavaScript:alert(1)", "file:///etc/x"])
def test_links_that_run_code_are_refused(href: str) -> None:
    with pytest.raises(ValueError, match="only relative paths"):
        render_page("t", [Section("a", links=[Link("x", href)])])


@pytest.mark.parametrize("href", ["a.html", "../b/c.html#d:e", "https://example.org/a", "a/b:c.html"])
def test_other_links_are_kept(href: str) -> None:
    page = _Reader(render_page("t", [Section("a", links=[Link("x", href)])]))
    assert href in [attrs.get("href") for attrs in page.all("a")]


def test_a_page_of_many_sections_has_a_table_of_contents() -> None:
    short, long = (
        _Reader(render_page("t", [Section(f"part {i}", text="x") for i in range(n)] + [Section(text="more")]))
        for n in (3, 4)
    )
    assert short.all("nav") == []
    targets = [attrs["href"] for attrs in long.all("a") if str(attrs.get("href")).startswith("#section")]
    ids = [f"#{attrs['id']}" for attrs in long.all("section")]
    assert targets == ids[:4]


def test_a_long_table_can_be_filtered_and_says_how_much_it_shows() -> None:
    frame = pd.DataFrame({"n": range(1500)})
    page = _Reader(render_page("t", [Section("a", table=Table(frame, max_rows=1000))]))
    assert len(page.all("input")) == 1
    assert "First 1,000 of 1,500 rows." in page.text
    assert len(page.all("td")) == 1000


@given(st.text(max_size=80))
def test_any_text_comes_out_as_it_went_in(text: str) -> None:
    page = _Reader(render_page("t", [Section("h", code=text)]))
    # A parser reads line ends as \\n and cannot show NUL; nothing else may change.
    shown = re.sub(r"\r\n?", "\n", text)
    assert shown.replace("\x00", "�") in page.text.replace("\x00", "�").replace("\r\n", "\n").replace("\r", "\n")


def test_the_words_of_a_page_are_explained_at_its_end_and_no_others() -> None:
    sections = [
        Section("Trials", text="Two families."),
        Section(table=Table(pd.DataFrame({"a": [1]}), "Held-out words.")),
    ]
    page = _Reader(render_page("t", sections, lead="A direct arm answers."))
    assert "a word with its inflections" in page.text
    assert "of families that no arm was trained on" in page.text
    assert "what it gains is the ceiling" in page.text
    assert "transfer score" not in page.text
    assert "#section-3" in [attrs.get("href") for attrs in page.all("a")]
    assert "Words used here" not in _Reader(render_page("t", [Section("a", text="Nothing but top-p.")])).text
