"""Tables of a page as files to download, carried in the page itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pandas as pd
from markupsafe import Markup, escape


def download_links(files: Mapping[str, pd.DataFrame | str]) -> str:
    """Returns a list of links as HTML; each holds its file, so that it works without a server.

    Args:
        files: Content by file name; a frame becomes CSV.
    """
    items = []
    for name, content in files.items():
        text = content if isinstance(content, str) else content.to_csv(index=False)
        kind = "text/csv" if name.endswith(".csv") else "text/plain"
        encoded = base64.b64encode(text.encode()).decode()
        rows = "" if isinstance(content, str) else f", {len(content):,} rows"
        items.append(
            f'<li><a download="{escape(name)}" href="data:{kind};charset=utf-8;base64,{encoded}">{escape(name)}</a>'
            f' <span class="note">{len(text.encode()) / 1000:,.1f} kB{rows}</span></li>'
        )
    return Markup(f'<ul class="links">{"".join(items)}</ul>')  # noqa: S704  (names escaped, content base64)
