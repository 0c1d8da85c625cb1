"""The folder that is served: model, tokens it may answer with, sampling, limits; whether it was found to obey."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.export import export_deployable
from spelling_transfer.models.folder import ModelFolder, permissions_explained
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.serving.settings import Engine, ServedSettings
from spelling_transfer.tokenizer.chat import ChatTokenizer

SETTINGS_FILE = "endpoint.json"
"""In a deployable: how it is served, so that what was checked is what runs, wherever that is."""


class DeployableError(SpellingTransferError):
    """A folder is a model, but not one that says how it may be served."""


@dataclass(frozen=True)
class DeployableCard:
    """What a deployable says of itself.

    Attributes:
        model: The name clients send.
        fingerprint: Names the exact folder.
        profile: How to load the model: in the type its weights were exported in.
    """

    model: str
    fingerprint: str
    sampling: Sampling
    settings: ServedSettings
    profile: ModelProfile


def write_deployable(
    base: ModelFolder,
    adapter: ModelFolder,
    profile: ModelProfile,
    tokenizer: ChatTokenizer,
    *,
    sampling: Sampling,
    allowed_ids: Sequence[int] | None,
    settings: ServedSettings,
    target: Path,
) -> ModelFolder:
    """Merges an adapter into its base and writes a folder that an endpoint can be started from.

    Arguments and errors as of `export_deployable`. The profile's name is what clients send; ``settings`` are engine,
    threads, batch and limits of the endpoint.
    """
    said = {SETTINGS_FILE: settings.model_dump_json(indent=2) + "\n"}
    return export_deployable(base, adapter, profile, tokenizer, sampling, allowed_ids, target, beside=said)


def read_card(folder: ModelFolder, engine: Engine | None = None) -> DeployableCard:
    """Reads what a deployable says of itself.

    Args:
        folder: The deployable.
        engine: What serves it, in place of what it says.

    Raises:
        DeployableError: The folder was not made by the export of this project, or its settings are out of bounds.
    """
    manifest = folder.manifest()
    if manifest.get("kind") != "deployable" or manifest.get("enable_thinking") is not False:
        raise DeployableError(
            f"{folder.path}: its manifest does not name a deployable in non-thinking mode "
            f"(kind {manifest.get('kind')!r}, enable_thinking {manifest.get('enable_thinking')!r}). "
            "Make one with 'kedro run --pipelines=deployment_check'."
        )
    try:
        sampling = Sampling(**manifest["sampling"])
        with permissions_explained():
            settings = ServedSettings(**json.loads((folder.path / SETTINGS_FILE).read_text()))
            settings = settings.model_copy(update={"engine": engine or settings.engine})
            config = json.loads((folder.path / "config.json").read_text())
        profile = ModelProfile(name=manifest["model"], dtype=config["dtype"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = repr(error)
        if isinstance(error, ValidationError):
            detail = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise DeployableError(
            f"{folder.path}: does not say how it may be served ({detail}). "
            "Export it again with 'kedro run --pipelines=deployment_check'."
        ) from error
    return DeployableCard(profile.name, f"fp_{folder.sha256[:12]}", sampling, settings, profile)


_REMEDY = "Check it with 'kedro run --pipelines=deployment_check', or serve it unchecked with --unchecked."


class NotConformingError(SpellingTransferError):
    """Nothing says that a deployable obeys."""


def require_conformance(
    folder: ModelFolder,
    conformance: Path | Mapping[str, Any],
    accelerator: str = "auto",
    engine: Engine | None = None,
) -> str:
    """Checks that the deployment check was made with this very folder, and passed.

    Args:
        folder: The deployable.
        conformance: The file that the check wrote, or what is in it.
        accelerator: Where it is to be served; ``auto`` where it was checked.
        engine: What is to serve it; the first that was checked by default.

    Returns:
        Where it is to be served, as the check says; ``auto`` where it does not say.

    Raises:
        NotConformingError: The file is missing or unreadable, is about another folder or another kind of device, or
            says that it disobeys.
        DeployableError: The folder is no deployable.
    """
    card = read_card(folder)
    place = conformance if isinstance(conformance, Path) else "conformance"
    engine = engine or card.settings.engine
    try:
        with permissions_explained():
            found = json.loads(conformance.read_text("utf-8")) if isinstance(conformance, Path) else conformance
        obeys, fingerprint = found["obeys"], found["fingerprint"]
        others = list(found.get("other_engines", ()))
        failed = [str(check["id"]) for check in found["checks"] if not check["passed"]]
    except FileNotFoundError:
        raise NotConformingError(f"{place}: no such file, so {folder.path} was never checked. {_REMEDY}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotConformingError(f"{place}: not what a deployment check writes ({error!r}). {_REMEDY}") from error
    if fingerprint != card.fingerprint:
        raise NotConformingError(
            f"{place}: is about the deployable {fingerprint}, but {folder.path} is {card.fingerprint}. {_REMEDY}"
        )
    checked_on = str(found.get("device", "auto"))
    if "auto" not in (accelerator, checked_on) and accelerator != checked_on:
        raise NotConformingError(
            f"{place}: {folder.path} was checked on {checked_on}, not on {accelerator}. Leave "
            f"--accelerator out, or check it there: --params=deployment_check.accelerator={accelerator}. {_REMEDY}"
        )
    if engine not in (card.settings.engine, *others):
        raise NotConformingError(
            f"{place}: {folder.path} was not checked with the engine {engine}. Add it to "
            f"deployment_check.engines and check again, or serve it unchecked with --unchecked."
        )
    # What another engine failed is no reason against this one.
    mine = [name for name in failed if (name.partition("/")[0] in others) == (engine in others)]
    if mine or (obeys is not True and not failed):
        named = f" ({', '.join(mine[:3])}{' and more' if len(mine) > 3 else ''})" if mine else ""
        raise NotConformingError(f"{place}: {folder.path} failed {len(mine)} checks{named}. {_REMEDY}")
    return checked_on if accelerator == "auto" else accelerator
