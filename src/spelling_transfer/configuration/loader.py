"""The configuration loader: Kedro's, with choices from ``study/`` and environments that change single parameters."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.storage.credentials import set_up_stores

if TYPE_CHECKING:
    from spelling_transfer.study.presets import Presets

_RUNTIME_NAME = re.compile(r"\$\{runtime_params:\s*(\w+)")


REPLACED_WHOLE = (("study", "space"),)
"""Groups that a later file replaces as a whole: two search spaces in one would search what nobody asked for."""


class ConfigurationError(SpellingTransferError):
    """A configuration file cannot be read, or names something that is not there."""


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's loader with three additions.

    ``${study:models,tiny-qwen3}`` stands for the content of ``study/models/tiny-qwen3.yml``, looked up in the run's
    environment first and in ``base`` after it. An environment may set one parameter of a group without repeating the
    rest (Kedro would replace the group); where it names another study file, that file replaces the group. And a group
    may build on study files with ``extends``.
    """

    _parameters: tuple[dict[str, Any] | None, dict[str, Any]] | None = None

    def __init__(self, conf_source: str, env: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Makes the loader of a project; arguments as in Kedro's."""
        # First, as globals may ask a store for the latest run, and Kedro's loader reads them at once.
        set_up_stores(Path(conf_source), env)
        super().__init__(conf_source, env, *args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Returns the merged configuration of a kind, such as ``parameters`` or ``catalog``.

        Raises:
            ConfigurationError: A file is not valid YAML, sets a key twice, or refers to something that is not there.
            MissingConfigException: There are no files of this kind, which Kedro accepts for some kinds.
        """
        # Resolvers are global to the process, so those of the loader in use are put in place each time.
        self._register_globals_resolver()
        OmegaConf.register_new_resolver("study", self._read_study_file, replace=True)
        try:
            if key == "parameters" and key not in self:
                # Read once for Kedro and every hook that asks.
                if self._parameters is None or self._parameters[0] != self.runtime_params:
                    self._parameters = (deepcopy(self.runtime_params), self._read_parameters())
                return deepcopy(self._parameters[1])
            return super().__getitem__(key)
        except (MissingConfigException, ConfigurationError):
            raise
        except SpellingTransferError as error:
            raise ConfigurationError(str(error)) from error
        except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            message = _raised_inside(error) or f"{self.conf_source}: {_first_line(error)}"
            raise ConfigurationError(str(message)) from error

    def parameter_files(self) -> dict[Path, dict[str, Any]]:
        """Returns what each parameter file says, interpolations unresolved; those of the environment come first."""
        base, environment, *_ = self._read_raw_config("parameters")
        return {
            file: cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False))
            for configs in (environment, base)
            for file, config in sorted(configs.items())
            if config
        }

    def runtime_names(self) -> set[str]:
        """Returns the parameters that files ask of the command line, as in ``${runtime_params:run_name}``."""
        folders = {self._get_conf_env_path(environment) for environment in (self.base_env, self.env or "")}
        files = {file for folder in folders for file in self._fs.glob(f"{folder}/**/*.yml")}
        return {name for file in files for name in _RUNTIME_NAME.findall(self._fs.cat_file(file).decode())}

    def presets(self) -> Presets:
        """Returns the ready settings below ``study/``: those of the run's environment come first."""
        from spelling_transfer.study.presets import Presets  # brings pydantic, which not every command needs

        folders = [
            f"{self._get_conf_env_path(environment)}/study"
            for environment in dict.fromkeys([self.env or self.default_run_env, self.base_env])
            if environment
        ]
        return Presets(folders, self._fs, shown_from=f"{Path(self.conf_source).parent}/")

    def _read_parameters(self) -> dict[str, Any]:
        self._register_runtime_params_resolver()
        base, environment, base_path, environment_path, files = self._read_raw_config("parameters")
        if not files:
            raise MissingConfigException(f"No parameter files in {base_path} or {environment_path}.")
        # Merged before interpolations are resolved: an environment that names another file of study/ then replaces
        # the group, and one that sets a value changes that value alone.
        merged = OmegaConf.create({})
        for file, config in [*base.items(), *environment.items(), ("--params", self.runtime_params or {})]:
            place = str(file).removeprefix(f"{Path(self.conf_source).parent}/")
            above = self._extended(OmegaConf.create(cast("dict[str, Any]", config)), place)
            for group, key in REPLACED_WHOLE:
                if _holds(above, group, key) and _holds(merged, group, key):
                    merged[group].pop(key)
            merged = cast("DictConfig", OmegaConf.merge(merged, above))
        parameters = cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True))
        return {name: value for name, value in parameters.items() if not name.startswith("_")}

    def _extended(self, config: DictConfig, place: str) -> DictConfig:
        from spelling_transfer.study.layers import nest
        from spelling_transfer.study.presets import GROUP_OF, uses_extends

        content = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False))
        groups = {
            name: nest(self.presets().expand(group, place, at=(name,), group=GROUP_OF.get(name)))
            for name, group in content.items()
            if isinstance(group, dict) and uses_extends(group)
        }
        return OmegaConf.create({**content, **groups}) if groups else config

    def _read_study_file(self, group: str, name: str) -> Any:
        return OmegaConf.create(self.presets().load(group, name))


def _holds(config: DictConfig, group: str, key: str) -> bool:
    if group not in config or OmegaConf.is_interpolation(config, group):
        return False
    return isinstance(config[group], DictConfig) and key in config[group]


def _first_line(error: BaseException) -> str:
    # OmegaConf puts the full key and object type on further lines; the first says what is wrong.
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _raised_inside(error: BaseException | None) -> SpellingTransferError | None:
    # OmegaConf cuts the chain of causes; the contexts are still there.
    while error is not None and not isinstance(error, SpellingTransferError):
        error = error.__cause__ or error.__context__
    return error
