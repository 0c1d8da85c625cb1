"""JSON Schema of catalog entries, from the arguments that each dataset class takes: for editors, and to check files."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_type_hints

from kedro.io import AbstractDataset
from pydantic import BaseModel, ConfigDict, create_model

from spelling_transfer import storage

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SET_BY_KEDRO = ("self", "version")


def entry_models() -> dict[str, type[BaseModel]]:
    """Returns what an entry of each dataset class of this project may hold, by the entry's ``type``."""
    classes = {f"{storage.__name__}.{name}": getattr(storage, name) for name in dir(storage)}
    return {
        kind: _entry_model(kind, found)
        for kind, found in classes.items()
        if isinstance(found, type) and issubclass(found, AbstractDataset)
    }


def catalog_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a catalog file.

    Entries of other packages' classes are not judged, nor are templates, whose names begin with ``_``.
    """
    rules = [
        {
            "if": {"properties": {"type": {"const": kind}}},
            "then": model.model_json_schema(),
        }
        for kind, model in entry_models().items()
    ]
    entry = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}, "allOf": rules}
    return {
        "$schema": _DRAFT,
        "title": "Kedro catalog with the dataset classes of spelling-transfer",
        "type": "object",
        "patternProperties": {"^_": {}},
        "additionalProperties": entry,
    }


def _entry_model(kind: str, dataset: type[AbstractDataset[Any, Any]]) -> type[BaseModel]:
    parameters = inspect.signature(dataset.__init__).parameters
    hints = get_type_hints(dataset.__init__)
    fields: dict[str, Any] = {"type": (Literal[kind], ...), "validator": (str | dict[str, Any] | None, None)}
    for name, parameter in parameters.items():
        if name in _SET_BY_KEDRO:
            continue
        # In a file, credentials are the name of an entry of credentials.yml.
        hint = str | dict[str, Any] | None if name == "credentials" else hints.get(name, Any)
        fields[name] = (hint, ... if parameter.default is inspect.Parameter.empty else parameter.default)
    if "version" in parameters:
        fields["versioned"] = (bool, False)
    about = (inspect.getdoc(dataset) or dataset.__name__).splitlines()[0]
    return create_model(dataset.__name__, __config__=ConfigDict(extra="forbid"), __doc__=about, **fields)
