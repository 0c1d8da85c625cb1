"""An export for people elsewhere: the model in the forms of other tools, its card, evidence and checksums."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import FINDER, sha256_of, whole_folder
from spelling_transfer.models.export_gguf import modelfile, write_gguf
from spelling_transfer.models.export_plain import write_plain
from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError
from spelling_transfer.models.load import load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.model_card import model_card

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("merged", "trimmed", "adapter", "gguf")
CHECKSUMS = "SHA256SUMS"
_WEIGHTS = "model.gguf"
_LOGGER = logging.getLogger(__name__)


class ExportError(SpellingTransferError):
    """An export cannot be written where or how it was asked for."""


def write_export(
    deployable: ModelFolder,
    base: ModelFolder,
    adapter: ModelFolder,
    profile: ModelProfile,
    target: Path,
    *,
    forms: Sequence[str] = (),
    scores: pd.DataFrame | None = None,
    verdict: Mapping[str, Any] | None = None,
    policy_report: Mapping[str, Any] | None = None,
    conformance: Mapping[str, Any] | None = None,
) -> list[str]:
    """Writes an export, whole or not at all.

    Args:
        deployable: What the deployment check exported.
        base: The base model.
        adapter: The adapter that the deployable was made with.
        profile: The base model's profile.
        target: Where the folder is to stand; an earlier export there is replaced.
        forms: Which of ``FORMS`` to write; where none is named, all that the model has.
        scores: The dataset ``scores``.
        verdict: The dataset ``verdict``.
        policy_report: The dataset ``policy_report``.
        conformance: The dataset ``conformance``.

    Returns:
        The forms that were written: no ``trimmed`` where the base is trimmed itself, as ``merged`` is that then, and
        a ``base`` beside an adapter whose base is on no hub. A ``gguf`` that nobody named and that cannot be written is
        a warning.

    Raises:
        ExportError: Something else is at the target, the adapter is not the deployable's, or nothing can be trimmed.
        SpellingTransferError: A folder cannot be loaded, or has no form of that kind.
    """
    if target.exists() and not _is_export(target) and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target}: exists and is not an export. Name another folder with --target.")
    manifest = deployable.manifest()
    if manifest.get("adapter_sha256") != adapter.sha256:
        raise ExportError(
            f"{deployable.path}: was made with another adapter than {adapter.path}. Make it again with "
            "'kedro run --pipelines=deployment_check'."
        )
    engine = AnswerEngine.load(deployable, "cpu")
    card, tokenizer, allowed_ids = engine.card, engine.tokenizer, engine.allowed_ids
    can_trim = engine.loaded.vocabulary.token_ids is None and allowed_ids is not None
    del engine  # one model in memory at a time
    if "trimmed" in forms and not can_trim:
        raise ExportError("trimmed: the base is trimmed itself, or there is no subset of tokens. Take --form=merged.")
    with whole_folder(target) as work:

        def plain(name: str, folder: ModelFolder, *, trim: bool = False) -> None:
            (work / name).mkdir()
            write_plain(
                load_model(folder, card.profile, device="cpu"),
                tokenizer,
                card.sampling,
                work / name,
                allowed_ids=allowed_ids,
                trim=trim,
                tokenizer_folder=deployable.path if (deployable.path / "tokenizer.json").is_file() else None,
            )

        wanted = forms or FORMS
        if {"merged", "gguf"} & set(wanted):
            plain("merged", deployable)
        if "trimmed" in wanted and can_trim:
            plain("trimmed", deployable, trim=True)
        if "gguf" in wanted:
            (work / "gguf").mkdir()
            text = modelfile(tokenizer, card.sampling, _WEIGHTS)
            try:
                write_gguf(work / "merged", work / "gguf" / _WEIGHTS, name=profile.name, licence=profile.licence)
                (work / "gguf" / "Modelfile").write_text(text, encoding="utf-8")
            except ModelFolderError as error:
                if forms:
                    raise
                _LOGGER.warning("%s", error)
                shutil.rmtree(work / "gguf")
            if "merged" not in wanted:
                shutil.rmtree(work / "merged")
        if "adapter" in wanted:
            _copy_adapter(adapter, profile, work / "adapter")
            if profile.hub_id is None:
                plain("base", base)
        written = [name for name in ("merged", "trimmed", "adapter", "base", "gguf") if (work / name).is_dir()]
        for name, value in (("policy_report", policy_report), ("conformance", _without_attempts(conformance))):
            if value is not None:
                (work / f"{name}.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
        text = model_card(
            profile,
            card.sampling,
            written,
            fingerprint=card.fingerprint,
            seed=_seed_of(adapter),
            scores=scores,
            verdict=verdict,
            conformance=conformance,
        )
        (work / "README.md").write_text(text, encoding="utf-8")
        sums = [f"{sha256_of(file)}  {file.relative_to(work)}" for file in sorted(work.rglob("*")) if file.is_file()]
        (work / CHECKSUMS).write_text("\n".join(sums) + "\n", encoding="utf-8")
    return written


def _seed_of(adapter: ModelFolder) -> int | None:
    """Returns the seed that an adapter was trained with; ``None`` where its manifest does not say."""
    seed = adapter.manifest().get("config", {}).get("training", {}).get("seed")
    return None if seed is None else int(seed)


def _without_attempts(conformance: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns what was found without the evidence, which quotes what was tried to make the model think."""
    if conformance is None:
        return None
    checks = [{"id": check["id"], "passed": check["passed"]} for check in conformance["checks"]]
    return {**conformance, "checks": checks}


def _copy_adapter(adapter: ModelFolder, profile: ModelProfile, target: Path) -> None:
    shutil.copytree(adapter.path, target, ignore=shutil.ignore_patterns(MANIFEST, "README.md"))
    file = target / "adapter_config.json"
    config = {**json.loads(file.read_text(encoding="utf-8")), "base_model_name_or_path": profile.hub_id or "base"}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _is_export(folder: Path) -> bool:
    """Whether a folder is an earlier export and nothing else: all that is in it is on its list, the card among it."""
    if not (folder / CHECKSUMS).is_file():
        return False
    listed = {line.partition("  ")[2] for line in (folder / CHECKSUMS).read_text("utf-8").splitlines()}
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != FINDER)
    there = {file.relative_to(folder).as_posix() for file in files}
    return "README.md" in listed and there - {CHECKSUMS} <= listed
