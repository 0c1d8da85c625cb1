"""One self-contained HTML page from headed sections: text, key figures, figures, tables, links.

A page opens from ``file://`` without a network: styles, script and plotly.js (once, and only where a figure needs it)
are inside, and its content security policy forbids anything else. Nothing in it depends on the time or on chance, so
the same content gives the same bytes.
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from spelling_transfer.pages.names import meanings_in
from spelling_transfer.pages.tables import Table, table_view

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Card:
    """A key figure: a large value under a small label.

    Attributes:
        note: What belongs beside it, such as its interval.
        floor: What it has to be compared with, such as what guessing would score.
        tone: Colours the value; ``neutral`` where no judgement is meant.
    """

    label: str
    value: str
    note: str = ""
    tone: Literal["neutral", "good", "bad"] = "neutral"
    floor: str = ""


@dataclass(frozen=True)
class Link:
    """A link to another page: a relative path or an ``https`` address."""

    label: str
    href: str
    note: str = ""

    def __post_init__(self) -> None:
        scheme, colon, _ = self.href.partition(":")
        if colon and "/" not in scheme and scheme.lower() not in ("http", "https"):
            raise ValueError(f"link {self.href!r}: only relative paths and http(s) addresses are allowed.")


@dataclass(frozen=True)
class Section:
    """A part of a page. Whatever is given is shown, in the order of the fields.

    Everything is escaped, except ``html`` and text that is ``markupsafe.Markup``.

    Attributes:
        heading: The heading; empty continues the section before.
        text: A paragraph, or several.
        figure: A plotly figure.
        table: A data frame, or a ``Table`` where formats, labels or a caption are wanted.
        html: Trusted HTML, inserted as it is.
        caption: One sentence under the figure.
        alt: What the figure shows, for who cannot see it; otherwise the caption or the heading.
    """

    heading: str = ""
    text: str | Sequence[str] = ()
    cards: Sequence[Card] = ()
    figure: Figure | None = None
    table: Table | pd.DataFrame | None = None
    code: str = ""
    links: Sequence[Link] = ()
    html: str = ""
    caption: str = ""
    alt: str = ""

    @property
    def paragraphs(self) -> list[str]:
        """The text, a paragraph each."""
        return [text for text in ([self.text] if isinstance(self.text, str) else self.text) if text]


def continued(frame: pd.DataFrame, caption: str, **how: Any) -> Section:
    """Returns a section that continues the one before with a table; ``how`` are further fields of ``Table``."""
    return Section(table=Table(frame, caption, **how))


PAGES = {
    "Run": "index.html",
    "Evaluation": "evaluation/index.html",
    "Tuning": "tuning/reports/index.html",
    "Tokens": "token_analysis/index.html",
    "Deployment": "deployment_check/index.html",
}
"""Where each page lies, as seen from the folder of the first; the catalog has the same places."""


def links_from(name: str) -> list[Link]:
    """Returns links to all pages from one of them, itself without an address."""
    folder = posixpath.dirname(PAGES[name]) or "."
    return [Link(other, "" if other == name else posixpath.relpath(place, folder)) for other, place in PAGES.items()]


def command_to_repeat(pipeline: str, env: str) -> str:
    """Returns the command that makes a pipeline's page again, in the environment in which it was made."""
    return f"kedro run --pipelines={pipeline}" + (f" --env={env}" if env else "")


def render_page(
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    lead: str = "",
    pages: Sequence[Link] = (),
    repeat: str = "",
) -> str:
    """Returns a self-contained HTML page.

    Args:
        title: The title, also the first heading.
        sections: The parts, in order. The first of them stands above the contents.
        subtitle: A line under the title.
        lead: What the page has to say, in a sentence; empty where it has nothing.
        pages: Links to the other pages; the one without an address is this one.
        repeat: The command that makes the page again.
    """
    words = _words(title, subtitle, lead, sections)
    return (
        templates()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            lead=lead,
            pages=pages,
            repeat=repeat,
            sections=[*sections, *words],
            has_words=bool(words),
            plotly_js=_plotly_js() if any(section.figure is not None for section in sections) else None,
        )
    )


def _words(title: str, subtitle: str, lead: str, sections: Sequence[Section]) -> list[Section]:
    """Returns a section that says what the words of a page mean; none where it has no such word."""
    text = [title, subtitle, lead]
    for section in sections:
        table = section.table.caption if isinstance(section.table, Table) else ""
        cards = [part for card in section.cards for part in (card.label, card.note, card.floor)]
        text += [section.heading, *section.paragraphs, section.caption, table, *cards]
    rows = list(meanings_in("\n".join(text)).items())
    return [Section("Words used here", table=pd.DataFrame(rows, columns=["word", "meaning"]))] if rows else []


def download_links(files: Mapping[str, pd.DataFrame | str]) -> str:
    """Returns a list of links to files as HTML; each holds its file, so that it works without a server.

    Args:
        files: Content by file name; a frame becomes CSV, and what is empty is left out.
    """
    items = []
    for name, content in files.items():
        if not len(content):
            continue
        text = content if isinstance(content, str) else content.to_csv(index=False)
        kind = "text/csv" if name.endswith(".csv") else "text/plain"
        encoded = base64.b64encode(text.encode()).decode()
        rows = "" if isinstance(content, str) else f", {len(content):,} row{'' if len(content) == 1 else 's'}"
        items.append(
            f'<li><a download="{escape(name)}" href="data:{kind};charset=utf-8;base64,{encoded}">{escape(name)}</a>'
            f' <span class="note">{len(text.encode()) / 1000:,.1f} kB{rows}</span></li>'
        )
    return Markup(f'<ul class="links">{"".join(items)}</ul>')  # noqa: S704  (names escaped, content base64)


@cache
def templates(*, markdown: bool = False) -> Environment:
    """Returns this package's templates; what is put into them is escaped, other than in Markdown."""
    environment = Environment(
        loader=PackageLoader("spelling_transfer.pages"),
        autoescape=not markdown,  # noqa: S701  (on for every page, whatever its template's name ends in)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=markdown,
    )
    environment.globals["asset"] = _asset
    environment.filters |= {"plot": _plot, "table_view": table_view}
    return environment


def _asset(name: str) -> Markup:
    return Markup((resources.files(__package__) / "templates" / name).read_text("utf-8"))  # noqa: S704  (our own file)


@cache
def _plotly_js() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())  # noqa: S704  (the installed package)


def _plot(figure: Figure) -> dict[str, Any]:
    """Returns a figure's JSON and how high it is drawn."""
    return {"json": script_json(figure.to_json() or ""), "height": int(figure.layout.height or 420)}


def script_json(text: str) -> Markup:
    """Returns JSON that may stand inside a ``<script>``: ``<`` alone could end it, and in JSON that is in strings."""
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704
