"""Configurations of a study as files: what ``kedro tune --config`` takes, and what is written beside the results."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.documents import CONFIG_VERSION, SUFFIXES, read_file, write_file
from spelling_transfer.study.layers import Layer, overlay, under
from spelling_transfer.study.presets import EXTENDS, GROUP_OF, VERSION, Presets

GROUPS = ("study", "trial")
_RECOMMENDED = "config"
"""Where a recommendation (``best_config.json``) holds its configuration."""


def load_experiment(reference: str, presets: Presets, folder: Path) -> Layer:
    """Reads a configuration: a file, or the name of a ready one.

    A file has the groups ``study`` and ``trial``, each with what it changes, and may extend another file, given
    relative to itself. The recommendation of a study is read as well: its configuration is the trial.

    Args:
        reference: A file that ends in ``.yml``, ``.yaml`` or ``.json``; else a name in ``conf/*/study/training/``.
        presets: The ready ones.
        folder: Where a relative path begins.

    Returns:
        The settings by their paths, ``("trial", "lora", "r")``, each with the file and key that set it.

    Raises:
        StudyConfigError: There is no such file or name, it is not valid, or files extend each other in a circle.
    """
    if not reference.endswith(SUFFIXES):
        return under(presets.layer("training", reference), ("trial",))
    return _load(folder / reference, presets, reference, trail=())


def _load(file: Path, presets: Presets, shown: str, trail: tuple[Path, ...]) -> Layer:
    file = file.resolve()
    if file in trail:
        circle = " extends ".join(each.name for each in [*trail[trail.index(file) :], file])
        raise StudyConfigError(f"{shown}: files extend each other in a circle: {circle}.")
    content = read_file(file)
    layer: Layer = {}
    extended = content.pop(EXTENDS, None) or []
    for reference in [extended] if isinstance(extended, str) else extended:
        if not str(reference).endswith(SUFFIXES):
            raise StudyConfigError(
                f"{shown}:{EXTENDS}: {reference!r} is no file; a ready configuration is extended inside a group, as in "
                f"trial: {{extends: {reference}}}."
            )
        layer = overlay(layer, _load(file.parent / reference, presets, str(reference), (*trail, file)), whole=WHOLE)
    for group, values in _groups(content, shown).items():
        part = presets.expand(values, shown, at=(group,), group=GROUP_OF.get(group))
        layer = overlay(layer, under(part, (group,)), whole=WHOLE)
    return layer


WHOLE = (("study", "space"),)
"""A later file replaces the search space of an earlier one."""


def _groups(content: dict[str, Any], shown: str) -> dict[str, Mapping[str, Any]]:
    recommended = content.get(_RECOMMENDED)
    if isinstance(recommended, Mapping) and "transfer_score" in content:
        return {"trial": recommended}
    content.pop(VERSION, None)
    for name, values in content.items():
        if name not in GROUPS:
            raise StudyConfigError(f"{shown}: {name}: unknown group{_meant(name)}. Known: {', '.join(GROUPS)}.")
        if not isinstance(values, Mapping):
            raise StudyConfigError(f"{shown}: {name}: expected settings by name, found {values!r}.")
    return content


def _meant(name: str) -> str:
    matches = difflib.get_close_matches(name, GROUPS, n=1)
    if matches:
        return f"; did you mean {matches[0]!r}?"
    group = next((key for key in ("lora", "training", "spelling", "tokenizer") if key == name), None)
    return f"; put it under 'trial': trial: {{{group}: ...}}" if group else ""


def experiment_content(study: StudySettings, trial: TrialConfig) -> dict[str, Any]:
    """Returns a whole configuration as a file holds it."""
    return {
        VERSION: CONFIG_VERSION,
        "study": study.model_dump(mode="json"),
        "trial": trial.model_dump(mode="json"),
    }


def save_experiment(study: StudySettings, trial: TrialConfig, file: Path) -> None:
    """Writes a whole configuration to a YAML or JSON file, which ``kedro tune --config`` takes."""
    write_file(experiment_content(study, trial), file)
