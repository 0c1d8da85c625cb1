"""Credentials and endpoints: set once, never shown, encrypted on the way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from kedro.io import DatasetError

from spelling_transfer.storage import JSONDataset
from spelling_transfer.storage.access import check_endpoint, check_transport, set_up_stores
from spelling_transfer.storage.errors import RemoteError


class TestCredentials:
    @pytest.fixture(autouse=True)
    def own_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fsspec.config, "conf", {})
        monkeypatch.setattr("fsspec.spec.apply_config", lambda cls, kwargs: kwargs)

    def write(self, conf: Path, text: str, env: str = "local") -> None:
        (conf / env).mkdir(parents=True, exist_ok=True)
        (conf / env / "credentials.yml").write_text(text)

    def options(self) -> dict[str, object]:
        return dict(fsspec.config.conf["s3"])

    def test_without_a_file_the_ambient_chain_is_used(self, tmp_path: Path):
        set_up_stores(tmp_path, "s3")
        assert "key" not in self.options()
        assert self.options()["use_listings_cache"] is False

    def test_those_of_local_serve_every_environment_and_an_environment_may_have_its_own(self, tmp_path: Path):
        self.write(tmp_path, "s3: {key: a, secret: b, endpoint_url: 'https://store.example.org'}")
        set_up_stores(tmp_path, "s3")
        assert self.options()["key"] == "a"
        assert self.options()["endpoint_url"] == "https://store.example.org"
        self.write(tmp_path, "s3: {profile: rented}", env="s3")
        set_up_stores(tmp_path, "s3")
        assert (self.options()["profile"], "key" in self.options()) == ("rented", False)

    def test_line_breaks_and_blanks_around_secrets_are_taken_off(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        self.write(tmp_path, "s3:\n  key: ' a'\n  secret: |\n    b\n  client_kwargs: {region_name: x}\n")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "hush\r\n")
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        set_up_stores(tmp_path, None)
        assert (self.options()["key"], self.options()["secret"]) == ("a", "b")
        assert self.options()["client_kwargs"] == {"region_name": "x"}
        assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]) == ("hush", "hush")
        assert "AWS_SESSION_TOKEN" not in os.environ

    @pytest.mark.parametrize(
        "text", ["s3: {key: hush}", "s3: {secret: hush, keys: hush}", "s3: hush", "s3: [hush", "s3: {key: {hush: 1}"]
    )
    def test_a_bad_entry_names_the_file_and_shows_no_value(self, tmp_path: Path, text: str):
        self.write(tmp_path, text)
        with pytest.raises(RemoteError, match=r"credentials\.yml") as caught:
            set_up_stores(tmp_path, None)
        assert "hush" not in str(caught.value)


def test_a_store_elsewhere_needs_encryption():
    for allowed in ("https://s3.example.org", "http://127.0.0.1:8333", "http://localhost:8333", "http://[::1]:8333"):
        check_endpoint(allowed)
    for refused in (
        "http://s3.example.org",
        "http://127.0.0.1.example.org",
        "ftp://a",
        "s3.example.org",
        "https://",
        "http://10.0.0.1",
        "http://ours:hush@10.0.0.1",
    ):
        with pytest.raises(RemoteError, match="is not encrypted") as caught:
            check_endpoint(refused)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("where", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "endpoint_url", "client_kwargs"])
def test_an_endpoint_is_looked_at_wherever_it_is_named(monkeypatch: pytest.MonkeyPatch, where: str):
    class Store:
        protocol = ("s3", "s3a")
        storage_options: ClassVar[dict[str, Any]] = {}

    plain = "http://192.0.2.1:8333"
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    check_transport(Store())
    if where.startswith("AWS"):
        monkeypatch.setenv(where, plain)
    else:
        entry = plain if where == "endpoint_url" else {"endpoint_url": plain}
        monkeypatch.setattr(Store, "storage_options", {where: entry})
    with pytest.raises(RemoteError, match="is not encrypted"):
        check_transport(Store())


def test_a_dataset_does_not_send_to_a_plain_endpoint_elsewhere(s3: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://192.0.2.1:8333")
    with pytest.raises(DatasetError, match="is not encrypted"):
        JSONDataset(filepath=f"{s3}/a.json").save({})
    assert os.environ["AWS_ENDPOINT_URL_S3"].startswith("http://192")
