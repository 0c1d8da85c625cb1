from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import yaml
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from spelling_transfer.study import presets as module
from spelling_transfer.study.config import LightningSettings, StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.documents import CONFIG_VERSION, dump_document, parse_document, read_file, write_file
from spelling_transfer.study.experiment import load_experiment, save_experiment
from spelling_transfer.study.layers import Layer, Setting, flatten, nest, overlay
from spelling_transfer.study.presets import Presets
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


def test_a_file_builds_on_another_and_every_value_knows_its_file(presets: Presets, write: Write) -> None:
    write("base/study/training/small.yml", "version: 1\nlora: {r: 4, alpha: 8}\ntraining: {max_steps: 10}\n")
    write("base/study/training/longer.yml", "extends: small\ntraining: {max_steps: 100}\nlora: {r: 8}\n")
    assert presets.load("training", "longer") == {"lora": {"r": 8, "alpha": 8}, "training": {"max_steps": 100}}
    layer = presets.layer("training", "longer")
    assert layer["lora", "alpha"] == Setting(8, "base/study/training/small.yml:lora.alpha")
    assert layer["lora", "r"] == Setting(8, "base/study/training/longer.yml:lora.r")


def test_several_files_are_put_together_the_last_one_wins(presets: Presets, write: Write) -> None:
    write("base/study/training/a.yml", "lora: {r: 4}\n")
    write("base/study/evaluation/b.json", json.dumps({"lora": {"r": 5}, "patience": None}))
    write("base/study/training/c.yml", "extends: [a, evaluation/b]\n")
    assert presets.load("training", "c") == {"lora": {"r": 5}, "patience": None}


def test_an_environments_file_comes_first_and_may_extend_the_one_it_hides(presets: Presets, write: Write) -> None:
    write("base/study/lightning/t4.yml", "gpu_tier: t4\nmemory_gib: 15\n")
    write("gpu/study/lightning/t4.yml", "extends: t4\nmemory_gib: 14\n")
    assert presets.load("lightning", "t4") == {"gpu_tier": "t4", "memory_gib": 14}


def test_entries_of_a_space_are_replaced_whole_and_can_be_dropped(presets: Presets, write: Write) -> None:
    write("base/study/search_spaces/a.yml", "lora.r: {values: [4, 8]}\nlora.alpha: {values: [8]}\n")
    write("base/study/search_spaces/b.yml", "extends: a\nlora.r: {low: 4, high: 64}\nlora.alpha: null\n")
    assert presets.load("search_spaces", "b") == {"lora.r": {"low": 4, "high": 64}}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "extends: b", "b": "extends: a"}, r"circle: .*a\.yml extends .*b\.yml extends .*a\.yml"),
        ({"a": "extends: a"}, "circle|there is no 'a'"),
        ({"a": "extends: c", "bb": ""}, r"a\.yml: extends: study/training: there is no 'c'\. Known: a, bb\."),
        ({"a": "extends: lng", "long": ""}, "Did you mean 'long'"),
        ({"a": "extends: [3]"}, r"a\.yml:extends: 3 is not the name of a file"),
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
    with pytest.raises(StudyConfigError, match=message):
        presets.load("training", "a")


def test_a_group_without_a_folder_must_name_one(presets: Presets) -> None:
    with pytest.raises(StudyConfigError, match=r"x\.yml:study\.extends: 'quick' names no folder"):
        presets.expand({"extends": "quick"}, "x.yml", at=("study",))


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
        assert presets.load("search_spaces", "mine") == {"lora.r": {"values": [2, 4]}}
        assert presets.layer("search_spaces", "mine")[("lora.r",)].origin == "entry point mine:lora.r"
        assert presets.names("search_spaces") == ["mine"]

    def test_a_file_of_the_same_name_comes_first(
        self, presets: Presets, register: Callable[[str], None], write: Write
    ) -> None:
        register(f"{__name__}:plugin_space")
        write("base/study/search_spaces/mine.yml", "lora.r: {values: [16]}\n")
        assert presets.load("search_spaces", "mine") == {"lora.r": {"values": [16]}}

    @pytest.mark.parametrize(
        ("target", "message"),
        [("no_such_module:x", "cannot be loaded: ModuleNotFoundError"), (f"{__name__}:NO_SPACE", "is no search space")],
    )
    def test_a_broken_one_is_named(
        self, presets: Presets, register: Callable[[str], None], target: str, message: str
    ) -> None:
        register(target)
        with pytest.raises(StudyConfigError, match=f"Entry point 'mine'.*{message}"):
            presets.load("search_spaces", "mine")


NO_SPACE = [1, 2]


def plugin_space() -> dict[str, Any]:
    return {"lora.r": {"values": [2, 4]}}


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
NUMBER = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
LEAF = st.one_of(st.none(), st.booleans(), NUMBER, TEXT, st.sampled_from(["1e-4", "yes", "~", "1_0", "0x1f", ".5"]))
CONTENT = st.dictionaries(
    TEXT.filter(lambda key: key != "version"),
    st.recursive(LEAF, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3))),
    max_size=5,
)


@settings(deadline=None, max_examples=50)
@given(CONTENT, st.sampled_from([".yml", ".yaml", ".json"]))
def test_what_is_written_is_read_back_in_yaml_and_json(content: dict[str, Any], suffix: str) -> None:
    text = dump_document(content, suffix)
    again = parse_document(text, f"x{suffix}")
    assert again == content
    assert json.dumps(again, sort_keys=True) == json.dumps(content, sort_keys=True)  # 1, 1.0 and True are three things


@settings(deadline=None, max_examples=50)
@given(CONTENT)
def test_other_readers_of_yaml_see_the_same_numbers(content: dict[str, Any]) -> None:
    assert yaml.safe_load(dump_document(content, ".yml")) == content


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


@settings(deadline=None, max_examples=50)
@given(study=STUDIES, trial=TRIALS, suffix=st.sampled_from([".yml", ".json"]))
def test_a_configuration_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, study: StudySettings, trial: TrialConfig, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    save_experiment(study, trial, folder / f"mine{suffix}")
    assert [file.name for file in folder.iterdir()] == [f"mine{suffix}"]
    layer = load_experiment(f"mine{suffix}", Presets([], LocalFileSystem()), folder)
    values = nest(layer)
    assert StudySettings.model_validate(values["study"]) == study
    assert TrialConfig.model_validate(values["trial"]) == trial
    assert read_file(folder / f"mine{suffix}")["version"] == CONFIG_VERSION


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    write_file({"seed": 1}, file)
    with pytest.raises(yaml.YAMLError):
        write_file({"seed": object()}, file)
    assert read_file(file) == {"seed": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["mine.yml"]
    with pytest.raises(StudyConfigError, match=r"neither YAML nor JSON"):
        write_file({}, tmp_path / "mine.toml")


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple)
LAYERS = st.dictionaries(PATHS, st.integers(), max_size=6).map(
    lambda values: {
        path: Setting(value, "x")
        for path, value in values.items()
        # A value and a group of the same name are not in one file.
        if not any(path != other and path == other[: len(path)] for other in values)
    }
)


@settings(deadline=None, max_examples=50)
@given(LAYERS, LAYERS)
def test_the_later_layer_wins_and_the_rest_stays(below: Layer, above: Layer) -> None:
    both = overlay(below, above)
    assert {path: both[path] for path in above} == above
    for path in both.keys() - above.keys():
        assert both[path] == below[path]
    assert {(path, each.value) for path, each in flatten(nest(both), "").items()} == {
        (path, each.value) for path, each in both.items()
    }


def test_a_group_is_replaced_whole_where_it_must_be() -> None:
    below = flatten({"study": {"seed": 1, "space": {"a": 1, "b": 2}}}, "below")
    above = flatten({"study": {"space": {"c": 3}}}, "above")
    whole = overlay(below, above, whole=(("study", "space"),))
    assert nest(whole) == {"study": {"seed": 1, "space": {"c": 3}}}
    empty = overlay(below, flatten({"study": {"space": {}}}, "above"), whole=(("study", "space"),))
    assert nest(empty) == {"study": {"seed": 1, "space": {}}}
