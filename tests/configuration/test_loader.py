"""The configuration loader: files of study/, and environments that change single parameters."""

from pathlib import Path

import pytest
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf

from spelling_transfer.configuration.documents import ConfigurationError
from spelling_transfer.configuration.loader import ProjectConfigLoader


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    files = {
        "base/globals.yml": "model_profile: small\nroot: data\n",
        "base/parameters/tuning.yml": (
            "_shared: 3\n"
            "tuning: {trials: 3, space: {extends: quick}, seed: 7}\n"
            'profile: {extends: "models/${globals:model_profile}"}\n'
        ),
        "base/catalog/tuning.yml": "trials: {type: MemoryDataset, metadata: {root: '${globals:root}'}}\n",
        "base/study/search_spaces/quick.yml": "r: [4, 8]\n",
        "base/study/search_spaces/wide.yml": "alpha: [16, 32]\n",
        "base/study/models/small.yml": "layers: 2\nfolder: ${globals:root}/small\n",
        "base/study/models/large.yml": "layers: 36\n",
        "gpu/globals.yml": "model_profile: large\n",
        "gpu/parameters/tuning.yml": "tuning: {trials: 40, space: {extends: wide}}\n",
        "gpu/study/models/large.yml": "layers: 64\n",
        "local/.gitkeep": "",
    }
    for name, content in files.items():
        file = tmp_path / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path / "conf"


def load(conf: Path, env: str = "local", **runtime_params) -> ProjectConfigLoader:
    return ProjectConfigLoader(
        conf_source=str(conf), env=env, runtime_params=runtime_params, base_env="base", default_run_env="local"
    )


def test_a_group_takes_the_content_of_a_study_file_interpolations_included(conf):
    parameters = load(conf)["parameters"]
    assert parameters == {
        "tuning": {"trials": 3, "space": {"r": [4, 8]}, "seed": 7},
        "profile": {"layers": 2, "folder": "data/small"},
    }


@pytest.mark.parametrize("suffix", [".yml", ".yaml", ".json"])
def test_every_kind_of_file_may_ask_for_a_value_of_ones_own(conf, suffix):
    (conf / "base/globals.yml").write_text("root: data\nown: 3\n")
    (conf / "base/catalog/tuning.yml").unlink()
    (conf / "base/catalog/._tuning.yml").write_bytes(b"\x00\x05\xff left by a Mac")
    (conf / f"base/catalog/tuning{suffix}").write_text('{"trials": {"filepath": "${globals:own}/${globals:root}"}}')
    assert load(conf)["catalog"] == {"trials": {"filepath": "3/data"}}


def test_a_file_may_ask_for_the_environment_of_the_run(conf):
    (conf / "base/parameters/report.yml").write_text("run_env: ${run_env:}\n")
    chosen = {env: load(conf, env) for env in ("gpu", "local", "base")}
    assert chosen["gpu"]["parameters"]["run_env"] == "gpu"
    assert chosen["local"]["parameters"]["run_env"] == ""  # the default: the command is the same without it
    assert chosen["base"]["parameters"]["run_env"] == "base"


def test_an_environment_changes_single_values_and_takes_another_study_file(conf):
    parameters = load(conf, "gpu")["parameters"]
    assert parameters["tuning"] == {"trials": 40, "space": {"alpha": [16, 32]}, "seed": 7}


def test_the_environments_own_study_file_comes_first(conf):
    assert load(conf, "gpu")["parameters"]["profile"] == {"layers": 64}


def test_runtime_parameters_come_last(conf):
    parameters = load(conf, "gpu", tuning={"trials": 1, "space": {"alpha": [8]}})["parameters"]
    assert parameters["tuning"] == {"trials": 1, "space": {"alpha": [8]}, "seed": 7}


def test_two_loaders_do_not_mix_their_files(conf):
    gpu, local = load(conf, "gpu"), load(conf)
    assert gpu["parameters"]["profile"] == {"layers": 64}
    assert local["parameters"]["profile"]["layers"] == 2


@pytest.mark.parametrize("name", ["study [2]", "study {a}"])
def test_a_folder_in_which_kedro_finds_nothing_is_named(name, conf):
    elsewhere = conf.parent / name / "conf"
    elsewhere.parent.mkdir()
    conf.rename(elsewhere)
    with pytest.raises(ConfigurationError, match=r"whose path has [\[{]\. Move or rename it"):
        load(elsewhere)


def test_other_kinds_of_configuration_are_kedros(conf):
    assert load(conf)["catalog"] == {"trials": {"type": "MemoryDataset", "metadata": {"root": "data"}}}
    with pytest.raises(MissingConfigException):
        load(conf)["credentials"]
    with pytest.raises(KeyError):
        load(conf)["no_such_kind"]


def test_an_unknown_study_file_lists_the_known_ones(conf):
    (conf / "gpu/globals.yml").write_text("model_profile: medium\n")
    with pytest.raises(ConfigurationError, match=r"study/models: there is no 'medium'\. Known: large, small\."):
        load(conf, "gpu")["parameters"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("base/study/models/small.yml", "layers: [2", r"small\.yml: not valid YAML"),
        ("base/parameters/tuning.yml", "tuning: [2", "not valid YAML"),
        ("base/parameters/tuning.yml", "tuning: {a: {b: '${globals:nothing}'}}", r"tuning\.a\.b: Globals key"),
        ("base/parameters/tuning.yml", "tuning: {extends: '${globals:nothing}'}", "extends: Globals key 'nothing'"),
        ("base/parameters/other.yml", "tuning: {seed: 8}", "Duplicate keys found"),
        ("base/globals.yml", "a: ${runtime_params:x}", "not supported for globals"),
    ],
)
def test_a_broken_file_is_one_clear_error(file, content, message, conf):
    (conf / file).write_text(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(conf)["parameters"]
    assert "\n" not in str(caught.value)


def test_a_group_builds_on_a_study_file(conf):
    (conf / "base/parameters/tuning.yml").write_text("profile: {extends: models/small, layers: 3}\nother: {seed: 1}\n")
    assert load(conf)["parameters"] == {"profile": {"layers": 3, "folder": "data/small"}, "other": {"seed": 1}}


def test_what_an_environment_extends_takes_the_place_of_what_base_extends(conf):
    (conf / "base/parameters/tuning.yml").write_text("profile: {extends: models/small, seed: 1, layers: 3}\n")
    (conf / "gpu/parameters/tuning.yml").write_text("profile: {extends: models/large}\n")
    assert load(conf, "gpu")["parameters"]["profile"] == {"layers": 64, "seed": 1}
    given = load(conf, "gpu", profile={"extends": "models/small"})["parameters"]["profile"]
    assert given == {"layers": 2, "folder": "data/small", "seed": 1}


def test_every_value_knows_the_place_that_set_it(conf):
    (conf / "gpu/parameters/tuning.yml").write_text("tuning: {trials: 40}\nprofile: {layers: 65}\n")
    layer = load(conf, "gpu", tuning={"seed": 8}).layer()
    assert {".".join(path): (each.value, each.origin) for path, each in layer.items()} == {
        "_shared": (3, "conf/base/parameters/tuning.yml:_shared"),
        "tuning.trials": (40, "conf/gpu/parameters/tuning.yml:tuning.trials"),
        "tuning.space.r": ([4, 8], "conf/base/study/search_spaces/quick.yml:r"),
        "tuning.seed": (8, "--params tuning.seed"),
        "profile.layers": (65, "conf/gpu/parameters/tuning.yml:profile.layers"),
    }


def test_what_is_used_of_kedros_loader_beside_its_public_part_is_there(conf):
    loader = OmegaConfigLoader(str(conf), env="gpu", base_env="base", runtime_params={"seed": 5})
    base, environment, base_path, environment_path, files = loader._read_raw_config("parameters")
    assert list(base) == [conf / "base/parameters/tuning.yml"]
    assert environment[conf / "gpu/parameters/tuning.yml"].tuning.trials == 40
    assert (base_path, environment_path) == (str(conf / "base"), str(conf / "gpu"))
    assert len(files) == 2
    assert loader._get_conf_env_path("gpu") == environment_path
    assert loader._fs.isfile(f"{base_path}/globals.yml")
    loader._register_globals_resolver()
    loader._register_runtime_params_resolver()
    assert OmegaConf.create({"x": "${globals:root}", "y": "${runtime_params:seed}"}) == {"x": "data", "y": 5}


def test_a_search_space_is_replaced_as_a_whole(conf):
    (conf / "base/parameters/tuning.yml").write_text("study: {seed: 1, space: {extends: quick}}\n")
    (conf / "gpu/parameters/tuning.yml").write_text("study: {space: {alpha: [16]}}\n")
    assert load(conf, "gpu")["parameters"]["study"] == {"seed": 1, "space": {"alpha": [16]}}
    given = load(conf, "gpu", study={"space": {"r": [2]}})["parameters"]["study"]
    assert given == {"seed": 1, "space": {"r": [2]}}
    assert load(conf, "gpu", study={"space": {}})["parameters"]["study"]["space"] == {}
