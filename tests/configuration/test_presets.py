"""Files that build on one another: ready ones, those of plugins, and a user's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from spelling_transfer.configuration import presets as module
from spelling_transfer.configuration.documents import CONFIG_VERSION, ConfigurationError
from spelling_transfer.configuration.layers import nest
from spelling_transfer.configuration.presets import Presets, save_experiment
from spelling_transfer.study.config import LightningSettings, StudySettings, TrialConfig
from spelling_transfer.training.config import TrainingSettings

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    return write


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    folders = [str(tmp_path / env / "study") for env in ("gpu", "base")]
    return Presets(folders, LocalFileSystem(), shown_from=f"{tmp_path}/")


def load(presets: Presets, group: str, name: str) -> dict[str, Any]:
    return nest(presets.expand({"extends": f"{group}/{name}"}, "mine.yml"))


def test_a_file_builds_on_another_and_every_value_knows_its_file(presets: Presets, write: Write) -> None:
    write("base/study/training/small.yml", "version: 1\nlora: {r: 4, alpha: 8}\ntraining: {max_steps: 10}\n")
    write("base/study/training/longer.yml", "extends: small\ntraining: {max_steps: 100}\nlora: {r: 8}\n")
    assert load(presets, "training", "longer") == {"lora": {"r": 8, "alpha": 8}, "training": {"max_steps": 100}}
    layer = presets.expand({"trial": {"extends": "longer"}}, "mine.yml")
    assert layer["trial", "lora", "alpha"].origin == "base/study/training/small.yml:lora.alpha"
    assert layer["trial", "lora", "r"].origin == "base/study/training/longer.yml:lora.r"


def test_several_files_are_put_together_the_last_one_wins(presets: Presets, write: Write) -> None:
    write("base/study/training/a.yml", "lora: {r: 4}\n")
    write("base/study/evaluation/b.json", json.dumps({"lora": {"r": 5}, "patience": None}))
    write("base/study/training/c.yml", "extends: [a, evaluation/b]\n")
    assert load(presets, "training", "c") == {"lora": {"r": 5}, "patience": None}


def test_an_environments_file_comes_first_and_may_extend_the_one_it_hides(presets: Presets, write: Write) -> None:
    write("base/study/lightning/t4.yml", "gpu_tier: t4\nmemory_gib: 15\n")
    write("gpu/study/lightning/t4.yml", "extends: t4\nmemory_gib: 14\n")
    assert load(presets, "lightning", "t4") == {"gpu_tier": "t4", "memory_gib": 14}


def test_entries_of_a_space_are_replaced_whole_and_can_be_dropped(presets: Presets, write: Write) -> None:
    write("base/study/search_spaces/a.yml", "lora.r: {values: [4, 8]}\nlora.alpha: {values: [8]}\n")
    write("base/study/search_spaces/b.yml", "extends: a\nlora.r: {low: 4, high: 64}\nlora.alpha: null\n")
    assert load(presets, "search_spaces", "b") == {"lora.r": {"low": 4, "high": 64}}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "extends: b", "b": "extends: a"}, r"circle: .*a\.yml extends .*b\.yml extends .*a\.yml"),
        ({"a": "extends: a"}, "circle|there is no 'a'"),
        ({"b": "", "._b": ""}, r"mine\.yml:extends: study/training: there is no 'a'\. Known: b\."),
        ({"a": "extends: c", "bb": ""}, r"a\.yml:extends: study/training: there is no 'c'\. Known: a, bb\."),
        ({"a": "extends: lng", "long": ""}, "Did you mean 'long'"),
        ({"a": "extends: [3]"}, r"a\.yml:extends: 3 is not the name of a file"),
        ({"a": "lora: {extends: }"}, r"a\.yml:lora\.extends: None is not the name of a file"),
        ({"a": "lora: {extends: ''}"}, r"a\.yml:lora\.extends: '' is not the name of a file"),
        ({"a": "version: 7"}, "version: 7 is not the version this release reads, 1"),
        ({"a": "version: true"}, "version: True"),
        ({"a": "[1, 2]"}, "expected settings by name, found list"),
        ({"a": "lora: {r: 1\n"}, r"a\.yml: not valid YAML"),
        ({"a": "lora: 1\nlora: 2\n"}, "the key 'lora' is there twice"),
        ({"a": "1: 2\n"}, "every name must be text"),
    ],
)
def test_what_cannot_be_followed_is_one_clear_error(
    presets: Presets, write: Write, files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        write(f"base/study/training/{name}.yml", content)
    with pytest.raises(ConfigurationError, match=message):
        load(presets, "training", "a")


@pytest.mark.parametrize(
    "reference", ["training/../../parameters/x", "../x", "/etc/x", "models/..", "models/.x", "a//b"]
)
def test_a_reference_stays_below_the_ready_settings(presets: Presets, write: Write, reference: str) -> None:
    write("base/parameters/x.yml", "lora: {r: 4}")
    write("base/study/training/a.yml", f"extends: {reference}")
    with pytest.raises(ConfigurationError, match="cannot name a file of study/"):
        load(presets, "training", "a")


def test_a_group_without_a_folder_must_name_one(presets: Presets) -> None:
    with pytest.raises(ConfigurationError, match=r"x\.yml:study\.extends: 'quick' names no folder"):
        presets.expand({"study": {"extends": "quick"}}, "x.yml")


class TestPlugins:
    @pytest.fixture
    def register(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        def register(target: str) -> None:
            point = EntryPoint("mine", target, module.ENTRY_POINT_GROUP)

            def found(*, group: str, name: str | None = None) -> EntryPoints:
                return EntryPoints([point] if name in (None, "mine") else [])

            monkeypatch.setattr(module, "entry_points", found)

        return register

    def test_a_space_of_a_plugin_is_found_by_its_name(self, presets: Presets, register: Callable[[str], None]) -> None:
        register(f"{__name__}:plugin_space")
        assert load(presets, "search_spaces", "mine") == {"lora.r": {"values": [2, 4]}}
        layer = presets.expand({"space": {"extends": "mine"}}, "--space")
        assert layer["space", "lora.r"].origin == "entry point mine:lora.r"
        assert presets.names("search_spaces") == ["mine"]

    def test_a_file_of_the_same_name_comes_first(
        self, presets: Presets, register: Callable[[str], None], write: Write
    ) -> None:
        register(f"{__name__}:plugin_space")
        write("base/study/search_spaces/mine.yml", "lora.r: {values: [16]}\n")
        assert load(presets, "search_spaces", "mine") == {"lora.r": {"values": [16]}}

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("no_such_module:x", "cannot be loaded: ModuleNotFoundError"),
            (f"{__name__}:NO_SPACE", "is not a search space"),
        ],
    )
    def test_a_broken_one_is_named(
        self, presets: Presets, register: Callable[[str], None], target: str, message: str
    ) -> None:
        register(target)
        with pytest.raises(ConfigurationError, match=f"Entry point 'mine'.*{message}"):
            load(presets, "search_spaces", "mine")


NO_SPACE = [1, 2]


def plugin_space() -> dict[str, Any]:
    return {"lora.r": {"values": [2, 4]}}


TRAINING = st.builds(
    TrainingSettings,
    learning_rate=st.floats(1e-7, 1e-2),
    batch_size=st.integers(1, 64),
    max_steps=st.integers(1, 10_000),
    schedule=st.sampled_from(["linear", "cosine", "constant"]),
    gradient_checkpointing=st.booleans(),
)
TRIALS = st.builds(TrialConfig, training=TRAINING)
STUDIES = st.builds(
    StudySettings,
    space=st.just({"lora.r": {"values": [4, 8]}, "constraints": [{"increasing": ["lora.r", "lora.alpha"]}]}),
    focus=st.sampled_from(["spelling", "balanced", "transfer"]),
    n_trials=st.one_of(st.none(), st.integers(1, 10_000)),
    workers=st.one_of(st.just("auto"), st.integers(1, 64)),
    patience=st.one_of(st.none(), st.integers(1, 5)),
    lightning=st.builds(LightningSettings, memory_gib=st.floats(1, 80)),
)


@settings(max_examples=50)
@given(study=STUDIES, trial=TRIALS, suffix=st.sampled_from([".yml", ".json"]))
def test_a_configuration_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, study: StudySettings, trial: TrialConfig, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    save_experiment(study, trial, folder / f"mine{suffix}")
    assert [file.name for file in folder.iterdir()] == [f"mine{suffix}"]
    values = nest(Presets([], LocalFileSystem()).experiment(f"mine{suffix}", folder))
    assert StudySettings.model_validate(values["study"]) == study
    assert TrialConfig.model_validate(values["trial"]) == trial
    assert (
        f"version{': ' if suffix == '.yml' else chr(34) + ': '}{CONFIG_VERSION}"
        in (folder / f"mine{suffix}").read_text()
    )
