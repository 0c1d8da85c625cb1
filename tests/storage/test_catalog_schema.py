"""The schema of catalog entries accepts the project's own catalogs and refuses what no dataset class takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from spelling_transfer.commands.peek import peek
from spelling_transfer.configuration.loader import ProjectConfigLoader
from spelling_transfer.settings import CONFIG_LOADER_ARGS
from spelling_transfer.storage.catalog_schema import entry_models

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("environment", ["base", "smollm2", "s3_test"])
def test_every_entry_of_a_catalog_is_accepted(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "run")  # a bucket would be asked for the latest one
    loader = ProjectConfigLoader(conf_source=str(CONF), env=environment, **CONFIG_LOADER_ARGS)
    entries = {name: entry for name, entry in loader["catalog"].items() if not name.startswith("_")}
    models = entry_models()
    judged = [models[entry["type"]].model_validate(entry) for entry in entries.values() if entry["type"] in models]
    assert len(judged) > 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"filepath": "words.parquet", "filpath": "x"},
        {"filepath": 3},
        {},
        {"filepath": "words.parquet", "versioned": "sometimes"},
    ],
)
def test_what_the_class_does_not_take_is_refused(wrong: dict[str, object]) -> None:
    kind = "spelling_transfer.storage.ParquetDataset"
    entry_models()[kind].model_validate({"type": kind, "filepath": "words.parquet", "versioned": True})
    with pytest.raises(ValidationError):
        entry_models()[kind].model_validate({"type": kind, **wrong})


def test_the_command_prints_a_rule_for_each_class() -> None:
    result = CliRunner().invoke(peek, ["--catalog-schema"])
    assert result.exit_code == 0, result.output
    entry = json.loads(result.output)["additionalProperties"]
    rules = {rule["if"]["properties"]["type"]["const"]: rule["then"] for rule in entry["allOf"]}
    assert set(rules) == set(entry_models())
    folder = rules["spelling_transfer.storage.ModelFolderDataset"]
    assert folder["required"] == ["type", "filepath"]
    assert folder["properties"]["check"] == {"default": True, "title": "Check", "type": "boolean"}
    assert folder["additionalProperties"] is False
