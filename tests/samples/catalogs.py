"""The project's own catalog, as a pipeline reads and writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kedro.io import DataCatalog, MemoryDataset

CONF = Path(__file__).parents[2] / "conf" / "base"


def project_catalog(pipeline: str, root: Path, inputs: Mapping[str, Any]) -> DataCatalog:
    """Returns the shipped entries of a pipeline, kept below a folder, and its inputs as they are."""
    text = (CONF / "catalog" / f"{pipeline}.yml").read_text().replace("${globals:storage_root}", str(root))
    text = re.sub(r"\$\{globals:answers_root,(.*)\}", r"\1", text)
    catalog = DataCatalog.from_config(yaml.safe_load(text))
    put(catalog, inputs)
    return catalog


def put(catalog: DataCatalog, inputs: Mapping[str, Any]) -> None:
    """Puts values into a catalog in the place of what is there."""
    for name, value in inputs.items():
        catalog[name] = MemoryDataset(value, copy_mode="assign")
