"""A GGUF file as a model folder: weights dequantised to safetensors, tokenizer and template beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError, new_folder
from spelling_transfer.models.gguf_tokenizer import write_tokenizer

_MAGIC = b"GGUF"
Dtype = Literal["float32", "bfloat16", "float16"]


def convert_gguf(file: Path, target: Path, *, sha256: str, dtype: Dtype = "float32") -> ModelFolder:
    """Converts a GGUF file, once: what was converted before from the same file is taken as it is.

    Args:
        file: The GGUF file.
        target: The folder to write. It is there whole or not at all.
        sha256: The hash the file must have; another file of the same name would be another model.
        dtype: Type of the stored weights. Quantised weights have a scale a block, which float32 alone holds exactly.

    Raises:
        ModelFolderError: The file is missing, has another hash, is no GGUF file, or holds a model or a tokenizer that
            cannot be converted; or the folder holds something else.
    """
    if (target / MANIFEST).is_file():
        folder = ModelFolder.open(target)
        made_from = folder.manifest().get("gguf_sha256"), folder.manifest().get("dtype")
        if made_from == (sha256, dtype):
            return folder
        if made_from[0] is None:
            raise ModelFolderError(f"{target}: holds another model, not one converted from a GGUF file. Move it away.")
    _check(file, sha256)
    reader = _read(file)
    wanted = [name for name in reader.fields if name.startswith(("general.", "tokenizer."))]
    fields = {name: reader.fields[name].contents() for name in wanted}
    notes: dict[str, Any] = {"kind": "model", "gguf": file.name, "gguf_sha256": sha256, "dtype": dtype}
    notes |= {"licence": fields.get("general.license"), "name": fields.get("general.name")}
    with new_folder(target, notes) as work:
        write_tokenizer(fields, file, work)
        _write_weights(reader, file, work, dtype)
    return ModelFolder(target)


def _check(file: Path, expected: str) -> None:
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
            stream.seek(0)
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelFolderError(f"{file}: cannot be read ({error.strerror}).") from error
    if magic != _MAGIC:
        raise ModelFolderError(f"{file}: is no GGUF file (it begins with {magic!r}).")
    if actual != expected:
        raise ModelFolderError(
            f"{file}: sha256 is {actual}, expected {expected}. It is another model or was cut short; get it again, or "
            "change the hash in the catalog if this is the one you mean."
        )


def _read(file: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except Exception as error:  # the reader meets a damaged file with whatever numpy raises
        raise ModelFolderError(f"{file}: cannot be read as GGUF ({type(error).__name__}: {error}).") from error


@contextmanager
def _already_read(reader: Any) -> Iterator[None]:
    """Hands transformers the reader there is: it would read the file twice more, each a third of the whole time."""
    import gguf

    original = gguf.GGUFReader
    gguf.GGUFReader = lambda *_: reader  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        gguf.GGUFReader = original  # type: ignore[misc]


def _write_weights(reader: Any, file: Path, folder: Path, dtype: Dtype) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with _already_read(reader):
            model: Any = AutoModelForCausalLM.from_pretrained(
                str(file.parent), gguf_file=file.name, dtype=getattr(torch, dtype), trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelFolderError(f"{file}: transformers cannot load this model from GGUF ({error}).") from error
    # The weights are plain numbers by now; saved as they are, they would still count as quantised.
    model.hf_quantizer = None
    model.is_quantized = False
    model.config.quantization_config = None
    del model.config.quantization_config
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)  # it would override sampling unseen
