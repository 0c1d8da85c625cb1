"""From the files of ``conf/`` to settings: Kedro's loader, with parameters merged in layers that know their origins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spelling_transfer.configuration.documents import SUFFIXES, ConfigurationError, parse_mapping
from spelling_transfer.configuration.environment import check_environment
from spelling_transfer.configuration.globals import check_globals
from spelling_transfer.configuration.layers import Layer, Setting, leaves, merge, nest, value_at
from spelling_transfer.configuration.presets import EXTENDS, Presets
from spelling_transfer.errors import SpellingTransferError, first_line
from spelling_transfer.storage import set_up_stores

if TYPE_CHECKING:
    from pydantic import BaseModel

_PATHS = {"folder", "root", "file"}
_OWN_DATASETS = "spelling_transfer.storage."
"""Fields of our own dataset classes that hold a path; of other classes they may be anything."""

_GLOBAL_NAME = re.compile(r"\$\{globals:\s*(\w+)")
_RUNTIME_NAME = re.compile(r"\$\{runtime_params:\s*(\w+)")

_UNCLEAR = (OmegaConfBaseException, yaml.YAMLError, ValueError)
"""What readers and interpolations raise. MissingConfigException, which Kedro handles, is none of these."""


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's loader, with one way of merging parameters.

    The files of ``base`` come first, those of the run's environment after them, the command line last; a layer changes
    single values of a group and leaves the rest of it (Kedro would replace the group). A group may build on files of
    ``study/`` with ``extends``; what a later layer extends takes the place of what an earlier one does.
    Interpolations such as ``${globals:model_profile}`` are filled in once all layers are merged.

    Of Kedro's loader this needs more than its public part, which merges and resolves each folder on its own and so
    knows nothing of where a value came from: ``_read_raw_config`` (the files as they are), the two resolvers' methods,
    ``_get_conf_env_path`` and ``_fs`` (where the files are), and its own reading of a folder in place of
    ``_read_dir_configs``. ``tests/configuration/test_loader.py`` names them, too.
    """

    _parameters: tuple[dict[str, Any] | None, Layer] | None = None

    def __init__(self, conf_source: str, env: str | None = None, *args: Any, **kwargs: Any) -> None:
        if unusable := sorted({"[", "{"} & set(str(conf_source))):
            raise ConfigurationError(
                f"{conf_source}: Kedro cannot work in a folder whose path has {' or '.join(unusable)}. "
                "Move or rename it."
            )
        # First, as globals may ask a store for the latest run, and Kedro's loader reads them at once.
        self.project = Path(conf_source).parent
        check_environment(Path(conf_source), env, kwargs.get("default_run_env"))
        set_up_stores(Path(conf_source), env)
        super().__init__(conf_source, env, *args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Returns the merged configuration of a kind, such as ``parameters`` or ``catalog``.

        Raises:
            ConfigurationError: A file is not valid YAML, sets a key twice, or refers to something that is not there.
            MissingConfigException: There are no files of this kind, which Kedro accepts for some kinds.
        """
        self._put_resolvers_in_place()
        try:
            if key in self:
                return super().__getitem__(key)
            if key == "parameters":
                return {name: value for name, value in nest(self.layer()).items() if not name.startswith("_")}
            content = super().__getitem__(key)
            if key == "globals":
                return check_globals(content, partial(self._names, _GLOBAL_NAME), self._place_of_global)
            return _from_project(content, self.project) if key == "catalog" else content
        except (MissingConfigException, ConfigurationError):
            raise
        except (SpellingTransferError, *_UNCLEAR) as error:
            raise self._explained(error) from error

    def layer(self) -> Layer:
        """Returns every parameter with the place that set it; values are whole, interpolations filled in.

        Raises:
            ConfigurationError: As for ``parameters``.
            MissingConfigException: There are no parameter files.
        """
        # Read once for Kedro and every hook that asks.
        if self._parameters is None or self._parameters[0] != self.runtime_params:
            above = self.presets().expand(self.runtime_params or {}, "--params")
            self._parameters = (deepcopy(self.runtime_params), self._merged(above))
        return deepcopy(self._parameters[1])

    def settings(self, models: Mapping[str, type[BaseModel]], command_line: Layer) -> Layer:
        """Returns every value of some groups, defaults included, in the order of their models.

        Args:
            models: The groups and their models.
            command_line: What was given on the command line, in place of the runtime parameters.

        Raises:
            ParameterError: Values are unknown, missing or not allowed; each is named with its place.
            ConfigurationError: A file cannot be read, or extends one that is not there.
        """
        from spelling_transfer.configuration.parameters import check_groups

        self._put_resolvers_in_place()
        try:
            layer = self._merged(command_line)
        except _UNCLEAR as error:
            raise self._explained(error) from error
        check_groups(nest(layer), models, layer)
        return dict(each for group, model in models.items() for each in _completed(layer, model, (group,)))

    def runtime_names(self) -> set[str]:
        """Returns the parameters that files ask of the command line, as in ``${runtime_params:run_name}``."""
        return self._names(_RUNTIME_NAME)

    def presets(self) -> Presets:
        """Returns the ready settings below ``study/``: those of the run's environment come first."""
        folders = [
            f"{self._get_conf_env_path(environment)}/study"
            for environment in dict.fromkeys([self.env or self.default_run_env, self.base_env])
            if environment
        ]
        return Presets(folders, self._fs, shown_from=f"{self.project}/", resolve=self._resolved)

    def _names(self, pattern: re.Pattern[str]) -> set[str]:
        return {name for file in self._files() for name in pattern.findall(self._fs.cat_file(file).decode())}

    def _files(self) -> list[str]:
        folders = dict.fromkeys(self._get_conf_env_path(each) for each in (self.base_env, self.env or ""))
        found = [file for folder in folders for file in sorted(self._fs.find(folder)) if file.endswith(SUFFIXES)]
        return [file for file in found if not self._is_hidden(file)]

    def _place_of_global(self, name: str) -> str:
        base, environment, *_ = self._read_raw_config("globals")
        return next((self._shown(file) for file, config in {**environment, **base}.items() if name in config), "")

    def _shown(self, file: Path) -> str:
        return str(file.relative_to(self.project) if file.is_relative_to(self.project) else file)

    def _read_dir_configs(
        self,
        conf_path: str,
        patterns: Iterable[str],
        key: str,
        processed_files: set[Path],
        read_environment_variables: bool | None = False,
    ) -> dict[Path, Any]:
        """Reads the files of a folder; Kedro's own way takes several times as long, and some errors name no file."""
        if not self._fs.isdir(conf_path):
            # The default environment holds what is a user's own; a checkout without any has no such folder.
            if conf_path == self._get_conf_env_path(self.default_run_env):
                return {}
            raise MissingConfigException(f"{conf_path}: this configuration folder does not exist.")
        found = {each for pattern in patterns for each in self._fs.glob(f"{conf_path}/{pattern}")}
        files = [Path(each) for each in found if not (self.ignore_hidden and self._is_hidden(each))]
        configs: dict[Path, Any] = {}
        for file in filter(self._is_valid_config_path, files):
            text = self._fs.cat_file(file.as_posix()).decode("utf-8")
            configs[file] = OmegaConf.create(parse_mapping(text, self._shown(file)))
            if read_environment_variables:
                self._resolve_environment_variables(configs[file])
        processed_files.update(configs)
        self._check_duplicates(key, configs)
        return configs

    def _merged(self, command_line: Layer) -> Layer:
        base, environment, base_path, environment_path, files = self._read_raw_config("parameters")
        if not files:
            raise MissingConfigException(f"No parameter files in {base_path} or {environment_path}.")
        presets = self.presets()
        layers = []
        for file, config in [*sorted(base.items()), *sorted(environment.items())]:
            place = self._shown(file)
            content = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False) or {})
            layers.append(presets.expand(content, place))
        layer = merge([*layers, command_line])
        values = OmegaConf.to_container(OmegaConf.create(nest(layer)), resolve=True)
        return {path: each._replace(value=value_at(values, path)) for path, each in layer.items()}

    def _resolved(self, reference: str) -> str:
        return str(OmegaConf.create({EXTENDS: reference})[EXTENDS])

    def _put_resolvers_in_place(self) -> None:
        # They are global to the process: another loader may have put in its own.
        self._register_globals_resolver()
        self._register_runtime_params_resolver()
        chosen = "" if self.env in (None, self.default_run_env) else str(self.env)
        OmegaConf.register_new_resolver("run_env", lambda: chosen, replace=True)

    def _explained(self, error: Exception) -> ConfigurationError:
        if isinstance(error, UnicodeDecodeError):
            for file in self._files():
                try:
                    self._fs.cat_file(file).decode("utf-8")
                except UnicodeDecodeError as problem:
                    return ConfigurationError(
                        f"{self._shown(Path(file))}: not UTF-8 (byte {problem.start}). Save it as UTF-8."
                    )
        # OmegaConf puts the object's type and more on further lines; the first says what is wrong.
        key = f"{name}: " if (name := getattr(error, "full_key", None)) else ""
        return ConfigurationError(str(_raised_inside(error) or f"{self.conf_source}: {key}{first_line(error)}"))


def _from_project(catalog: dict[str, Any], project: Path) -> dict[str, Any]:
    """Returns a catalog whose folders begin at the project; Kedro does that for ``filepath`` alone."""
    entries = {}
    for name, entry in catalog.items():
        if isinstance(entry, dict) and str(entry.get("type", "")).startswith(_OWN_DATASETS):
            names = _PATHS - ({"file"} if entry.get("package") else set())
            local = {key: value for key, value in entry.items() if key in names and isinstance(value, str)}
            paths = {key: str(project / value) for key, value in local.items() if value and "://" not in value}
            entries[name] = {**entry, **paths}
        else:
            entries[name] = entry
    return entries


def _completed(layer: Layer, model: type[BaseModel], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Setting]]:
    from pydantic import BaseModel

    for name, field in model.model_fields.items():
        path = (*at, name)
        inner = field.annotation
        inside = [(known, each) for known, each in layer.items() if known[: len(path)] == path]
        if isinstance(inner, type) and issubclass(inner, BaseModel) and path not in layer:
            yield from _completed(layer, inner, path)
        elif inside:
            yield from inside
        else:
            default = field.get_default(call_default_factory=True)
            plain = default.model_dump(mode="json") if isinstance(default, BaseModel) else default
            for rest, value in leaves({name: plain}, at).items():
                yield rest, Setting(value, f"default of {model.__name__}")


def _raised_inside(error: BaseException | None) -> SpellingTransferError | None:
    # OmegaConf cuts the chain of causes; the contexts are still there.
    while error is not None and not isinstance(error, SpellingTransferError):
        error = error.__cause__ or error.__context__
    return error
