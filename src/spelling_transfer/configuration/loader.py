"""The configuration loader: Kedro's, with choices from ``study/`` and environments that change single parameters."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.storage.credentials import set_up_stores

_RUNTIME_NAME = re.compile(r"\$\{runtime_params:\s*(\w+)")


class ConfigurationError(SpellingTransferError):
    """A configuration file cannot be read, or names something that is not there."""


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's loader with two additions.

    ``${study:models,tiny-qwen3}`` stands for the content of ``study/models/tiny-qwen3.yml``, looked up in the run's
    environment first and in ``base`` after it. And an environment may set one parameter of a group without repeating
    the rest (Kedro would replace the group); where it names another study file, that file replaces the group.
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
        except MissingConfigException:
            raise
        except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            raise _raised_inside(error) or ConfigurationError(f"{self.conf_source}: {_first_line(error)}") from error

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

    def _read_parameters(self) -> dict[str, Any]:
        self._register_runtime_params_resolver()
        base, environment, base_path, environment_path, files = self._read_raw_config("parameters")
        if not files:
            raise MissingConfigException(f"No parameter files in {base_path} or {environment_path}.")
        # Merged before interpolations are resolved: an environment that names another file of study/ then replaces
        # the group, and one that sets a value changes that value alone.
        merged = OmegaConf.merge(*base.values(), *environment.values(), self.runtime_params or {})
        parameters = cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True))
        return {name: value for name, value in parameters.items() if not name.startswith("_")}

    def _read_study_file(self, group: str, name: str) -> Any:
        folders = [
            f"{self._get_conf_env_path(environment)}/study/{group}"
            for environment in dict.fromkeys([self.env or self.default_run_env, self.base_env])
            if environment
        ]
        for folder in folders:
            file = f"{folder}/{name}.yml"
            if self._fs.isfile(file):
                with self._fs.open(file) as stream:
                    try:
                        content = yaml.safe_load(stream)
                    except yaml.YAMLError as error:
                        raise ConfigurationError(f"{file}: not valid YAML ({_first_line(error)}).") from error
                return OmegaConf.create(content if content is not None else {})
        known = sorted({Path(file).stem for folder in folders for file in self._fs.glob(f"{folder}/*.yml")})
        raise ConfigurationError(
            f"study/{group}: there is no {name!r}. "
            + (f"Known: {', '.join(known)}. " if known else "The folder has no files. ")
            + f"Choose one of these or write {folders[-1]}/{name}.yml."
        )


def _first_line(error: BaseException) -> str:
    # OmegaConf puts the full key and object type on further lines; the first says what is wrong.
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _raised_inside(error: BaseException | None) -> SpellingTransferError | None:
    # OmegaConf cuts the chain of causes; the contexts are still there.
    while error is not None and not isinstance(error, SpellingTransferError):
        error = error.__cause__ or error.__context__
    return error
