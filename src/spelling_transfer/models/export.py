"""The deployable: base and adapter merged into one folder that says itself how it may be served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from kedro_non_thinking import non_thinking_template
from spelling_transfer.models.folder import ModelFolder, ModelFolderError, new_folder
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.load import load_merged
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.vocabulary import ALLOWED_IDS_FILE, TOKEN_IDS_FILE
from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer

_TOKENIZER, _CONFIG, _TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"


def export_deployable(
    base: ModelFolder,
    adapter: ModelFolder,
    profile: ModelProfile,
    tokenizer: ChatTokenizer,
    sampling: Sampling,
    allowed_ids: Sequence[int] | None,
    target: Path,
    *,
    beside: Mapping[str, str] = MappingProxyType({}),
) -> ModelFolder:
    """Merges the adapter into its base and writes a folder that can be served, with the texts of further files.

    Args:
        base: The base model.
        adapter: The adapter to merge.
        profile: The base model's profile.
        tokenizer: Its hashes go into the manifest; the end token into the generation configuration.
        sampling: The policy's values, written out so that no default takes their place.
        allowed_ids: The English subset; ``None`` for no restriction beside the think tags.
        target: Where the folder is to stand.
        beside: Texts of further files by their names.

    Raises:
        ModelFolderError: The adapter belongs to another base, a folder cannot be loaded, or the base's own tokenizer
            renders another prompt than the tokenizer of training.
    """
    from transformers import GenerationConfig

    loaded = load_merged(base, profile, adapter)
    merged = loaded.model
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
        # In place of the base's own, which may hold more than is sampled with here, such as a repetition penalty.
        merged.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=True, eos_token_id=end_row, **sampling.model_dump()
        )
        merged.save_pretrained(str(work), safe_serialization=True)
        own = tokenizer.folder or base.path
        for place in (base.path / TOKEN_IDS_FILE, own / _TOKENIZER, own / _CONFIG, own / _TEMPLATE):
            if place.is_file():
                shutil.copyfile(place, work / place.name)
        if (work / _TOKENIZER).is_file():
            notes["template_sha256"] = _take_thinking_out(work, tokenizer, base)
        if allowed_ids is not None:
            (work / ALLOWED_IDS_FILE).write_text(json.dumps(sorted({int(i) for i in allowed_ids})))
        for name, text in beside.items():
            (work / name).write_text(text)
    return ModelFolder(target)


def _take_thinking_out(work: Path, tokenizer: ChatTokenizer, base: ModelFolder) -> str:
    """Gives a folder's chat template the form that cannot think, as other servers read it; returns its hash."""
    config, template = work / _CONFIG, work / _TEMPLATE
    if config.is_file():
        settings = json.loads(config.read_text(encoding="utf-8"))
        if (own := settings.get("chat_template")) is not None:
            named = isinstance(own, list)
            settings["chat_template"] = (
                [{**each, "template": _without_switch(each["template"])} for each in own]
                if named
                else _without_switch(own)
            )
            config.write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if template.is_file():
        template.write_text(_without_switch(template.read_text(encoding="utf-8")), encoding="utf-8")
    exported = load_chat_tokenizer(work)
    if (exported.sha256, exported.prefix, exported.suffix) != (tokenizer.sha256, tokenizer.prefix, tokenizer.suffix):
        raise ModelFolderError(
            f"{base.path}: its tokenizer renders a prompt that differs from training. Give the environment the "
            "model's own tokenizer, as conf/smollm2/catalog/shared.yml does, and train again."
        )
    return exported.template_sha256


def _without_switch(template: str) -> str:
    return non_thinking_template(template) if "enable_thinking" in template else template
