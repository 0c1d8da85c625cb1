"""The commands of docs/data_transfer.md run as they stand, with a folder in place of the bucket."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from spelling_transfer.commands.bundle import bundle
from spelling_transfer.storage import __all__ as exported
from spelling_transfer.storage.access import _ALLOWED

DOCUMENT = (Path(__file__).parents[2] / "docs" / "data_transfer.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
COMMANDS = [
    line for language, block in BLOCKS if not language for line in block.splitlines() if line.startswith("kedro bundle")
]


def test_its_commands_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "03_primary"
    folder.mkdir(parents=True)
    (folder / "counts.json").write_text("{}")
    (tmp_path / "data" / "08_reporting").mkdir()
    (tmp_path / "data" / "08_reporting" / "index.html").write_text("<p>")
    assert len(COMMANDS) >= 12
    for command in COMMANDS:
        words = shlex.split(command.replace("s3://bucket/study", str(tmp_path / "store")))
        result = CliRunner().invoke(bundle, words[2:])
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_its_policies_are_json_and_give_a_reader_no_right_to_write():
    reader, writer = (json.loads(block) for language, block in BLOCKS if language == "json")
    actions = {action for entry in reader["Statement"] for action in [entry["Action"]]}
    assert actions == {"s3:GetObject", "s3:ListBucket"}
    assert all("*" not in str(entry["Action"]) for entry in writer["Statement"])


def test_its_classes_and_keys_exist():
    table = re.findall(r"^\| [^|]+ \| `(\w+)` \|", DOCUMENT, flags=re.MULTILINE)
    assert table
    assert set(table) <= set(exported)
    (example,) = (block for language, block in BLOCKS if language == "yaml")
    assert set(re.findall(r"^  (\w+):", example, flags=re.MULTILINE)) <= set(_ALLOWED)
