"""Pages link to one another, at the places that the catalog gives them."""

from __future__ import annotations

import posixpath
from pathlib import Path

import pytest
import yaml

from spelling_transfer.pages.page import PAGES, links_from

CATALOG = Path(__file__).parents[2] / "conf" / "base" / "catalog"
DATASETS = {
    "Run": "summary_page",
    "Evaluation": "evaluation_page",
    "Tuning": "tuning_page",
    "Tokens": "token_analysis_page",
    "Deployment": "deployment_page",
}


@pytest.mark.parametrize("name", PAGES)
def test_each_page_lies_where_links_lead_and_leads_to_all_others(name: str) -> None:
    entries = {key: entry for file in CATALOG.glob("*.yml") for key, entry in yaml.safe_load(file.read_text()).items()}
    place = entries[DATASETS[name]]["filepath"].partition("/08_reporting/")[2]
    assert place == PAGES[name]
    links = {link.label: link.href for link in links_from(name)}
    assert links.pop(name) == ""
    folder = posixpath.dirname(place)
    assert {posixpath.normpath(posixpath.join(folder, href)) for href in links.values()} == set(PAGES.values()) - {
        place
    }
