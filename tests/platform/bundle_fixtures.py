"""A folder as runs leave it, and a store of each kind that a machine has without an account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from spelling_transfer.storage.bundles.local_files import RECORD
from spelling_transfer.storage.bundles.stores import BundleStore, open_store
from spelling_transfer.storage.bundles.stores.base import content_key

LARGE = bytes(range(256)) * (80 << 10)  # 20 MiB: three parts


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BundleStore:
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        return open_store(request.getfixturevalue("s3"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder as runs leave it: a table, records, a model, odd but allowed names."""
    folder = tmp_path / "source"
    for name in ("03_primary", "05_model_input", "06_models/adapter", "08_reporting"):
        (folder / name).mkdir(parents=True)
    pd.DataFrame({"word": ["straw", "berry"]}).to_parquet(folder / "03_primary/words.parquet")
    prepared = {"tokenizer_sha256": "a" * 64, "template_sha256": "b" * 64, "code": {"sha256": "c" * 64}}
    (folder / "05_model_input/prep_manifest.json").write_text(json.dumps(prepared))
    (folder / "06_models/adapter/model.safetensors").write_bytes(b"weights")
    (folder / "06_models/adapter/same.safetensors").write_bytes(b"weights")
    (folder / "08_reporting/policy_report.json").write_text(json.dumps({"kept": True}))
    (folder / "08_reporting/a ü 漢.txt").write_text("odd")
    (folder / "08_reporting/empty").touch()
    (folder / "08_reporting/.index.html.0123.partial").write_text("being written")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD and not path.name.endswith(".partial")
    }


def damage(store: BundleStore, sha256: str, s3_server: Any = None) -> None:
    """Flips a byte of stored content, as a bad disk would."""
    if store.url.startswith("s3://"):
        bucket, _, prefix = store.url.removeprefix("s3://").partition("/")
        client, key = s3_server.client(), f"{prefix}/{content_key(sha256)}"
        data = bytearray(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        data[len(data) // 2] ^= 1
        client.put_object(Bucket=bucket, Key=key, Body=bytes(data))
    else:
        file = Path(store.url) / content_key(sha256)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
