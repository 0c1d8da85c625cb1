"""The deployable: base and adapter merged into one folder that says itself how it may be served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.load import load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.tokenizer.chat import ChatTokenizer

ALLOWED_IDS_FILE = "allowed_token_ids.json"
"""In a deployable: the token ids an answer may hold."""


def export_deployable(
    base: ModelFolder,
    adapter: ModelFolder,
    profile: ModelProfile,
    tokenizer: ChatTokenizer,
    sampling: Sampling,
    allowed_ids: Sequence[int] | None,
    target: Path,
) -> ModelFolder:
    """Merges the adapter into its base and writes a folder that can be served.

    Args:
        base: The base model.
        adapter: The adapter to merge.
        profile: The base model's profile.
        tokenizer: Its hashes go into the manifest; the end token into the generation configuration.
        sampling: The policy's values, written out so that no default takes their place.
        allowed_ids: The English subset; ``None`` for no restriction beside the think tags.
        target: Where the folder is to stand.

    Raises:
        ModelFolderError: The adapter belongs to another base, or a folder cannot be loaded.
    """
    loaded = load_model(base, profile, adapter, device="cpu")
    merged = loaded.model.merge_and_unload()
    end_row = int(loaded.vocabulary.to_rows([tokenizer.end_id])[0])
    notes = {
        "kind": "deployable",
        "model": profile.name,
        "base_sha256": base.sha256,
        "adapter_sha256": adapter.sha256,
        "tokenizer_sha256": tokenizer.sha256,
        "template_sha256": tokenizer.template_sha256,
        "enable_thinking": False,
        "sampling": sampling.model_dump(),
    }
    with new_folder(target, notes) as work:
        merged.generation_config.update(do_sample=True, eos_token_id=end_row, **sampling.model_dump())
        merged.save_pretrained(str(work), safe_serialization=True)
        for name in (TOKEN_IDS_FILE, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            if (base.path / name).is_file():
                shutil.copyfile(base.path / name, work / name)
        if allowed_ids is not None:
            (work / ALLOWED_IDS_FILE).write_text(json.dumps(sorted({int(i) for i in allowed_ids})))
    return ModelFolder(target)
