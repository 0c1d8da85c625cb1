"""From a model folder to a model that is ready for training or generation."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import sha256_of
from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

    from spelling_transfer.models.kept_decoder import KeptDecoder
    from spelling_transfer.tokenizer.chat import ChatTokenizer


@dataclass
class LoadedModel:
    """A causal language model in memory, with the map from token ids to its rows.

    Attributes:
        model: transformers' ``PreTrainedModel``, or PEFT's ``PeftModel`` around it; ``Any``, because neither is typed.
        vocabulary: Token ids to embedding rows.
        tokenizer_sha256: Hash of the ``tokenizer.json`` it was trained with; ``None`` where nothing says.
        kept_decoder: On a GPU, what generated the last answers: gigabytes of keys and values, and CUDA graphs that read
            the weights where they are.
    """

    model: Any
    vocabulary: Vocabulary
    tokenizer_sha256: str | None = None
    _head_rows: tuple[tuple[Any, ...], Any] | None = field(default=None, init=False, repr=False, compare=False)
    kept_decoder: KeptDecoder | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def backbone(self) -> Any:
        """The model without its head, layers of an adapter included."""
        return backbone(self.model)

    @cached_property
    def cache_name(self) -> Literal["cache", "past_key_values"]:
        """What the model calls its keys and values, as argument and in its output; transformers 5.24 renamed them."""
        return "cache" if "cache" in signature(type(self.backbone).forward).parameters else "past_key_values"

    def head_rows(self, rows: Sequence[int]) -> torch.Tensor:
        """Returns rows of the output embedding, shape ``(rows, hidden)``; kept until the weights or the rows change."""
        weight = self.model.get_output_embeddings().weight
        # torch's own count of changes in place has no public name; a test notices if it goes.
        version = None if weight.is_inference() else weight._version
        key = (id(weight), version, str(weight.device), tuple(rows))
        if self._head_rows is None or self._head_rows[0] != key:
            self._head_rows = key, weight.detach()[list(rows)]
        kept: torch.Tensor = self._head_rows[1]
        return kept

    def free_decoder(self) -> None:
        """Gives back the memory that the last answers were generated in; the next ones take it again."""
        import torch

        if self.kept_decoder is not None:
            self.kept_decoder = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # a graph's memory is of use to nothing else until then

    def check_tokenizer(self, tokenizer: ChatTokenizer) -> None:
        """Refuses a tokenizer that is not the model's own: its ids would name other tokens.

        Raises:
            ModelFolderError: It is another one.
        """
        if self.tokenizer_sha256 not in (None, tokenizer.sha256):
            raise ModelFolderError(
                f"tokenizer: the catalog's has sha256 {tokenizer.sha256[:12]}…, the model was made for "
                f"{str(self.tokenizer_sha256)[:12]}…. Give the environment the model's own tokenizer, as "
                "conf/smollm2/catalog/shared.yml does, and run 'kedro run --pipelines=local_prep' again."
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device


def base_of(model: Any) -> Any:
    """Returns the model without what PEFT puts around it; the layers of an adapter are inside and stay."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def backbone(model: Any) -> Any:
    """Returns the decoder without its head, whatever adapter is around it."""
    return base_of(model).model


_AFTER_THE_HEAD = {
    "logits_scaling": 1.0,
    "logit_scale": 1.0,
    "final_logit_softcapping": None,
    "lm_head_multiplier": 1.0,
}
"""What some models (Granite, Cohere, Gemma 2, Falcon-H1) do with logits, and the value at which nothing is done."""


def pick_device() -> str:
    """Returns the best device here: ``cuda``, ``mps`` or ``cpu``."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_model(
    folder: ModelFolder,
    profile: ModelProfile | None = None,
    adapter: ModelFolder | None = None,
    *,
    device: str | None = None,
) -> LoadedModel:
    """Loads a base model, with an adapter on top where one is given. Safetensors only, no remote code.

    Args:
        folder: The base model's (or an exported model's) folder.
        profile: How to load it; without one the weights are float32.
        adapter: A PEFT adapter that was trained on this base.
        device: Where to put it; the best device here by default.

    Raises:
        SpellingTransferError: There is no such device here.
        ModelFolderError: The folder does not hold a loadable model, or the adapter belongs to another base.
        QuantisationError: The profile asks for 4 bits, and there is no CUDA or no bitsandbytes.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    if device in ("cuda", "mps") and device != pick_device():
        raise SpellingTransferError(
            f"{device} is wanted, and torch finds none here. Choose another accelerator: in the settings, or with "
            "--accelerator. What was checked on another kind of device has to be checked again on this one."
        )
    if (folder.path / "adapter_config.json").is_file():  # transformers would put it on top, unasked
        raise ModelFolderError(
            f"{folder.path}: holds an adapter (adapter_config.json), which would change the model unseen. Move it into "
            "a folder of its own."
        )
    check_weights(folder.path)
    _refuse_named_code(folder.path / "config.json")
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar for every file of weights says nothing here
    dtype = getattr(torch, profile.dtype if profile else "float32")
    four_bit = four_bit_options(profile.dtype) if profile and profile.four_bit else {}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(folder.path),
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **four_bit,
        )
    except (ImportError, OSError, RuntimeError, SafetensorError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise ModelFolderError(
                f"{folder.path}: the model needs its own Python code, which is never run here (trust_remote_code is "
                "off). Choose a model that transformers knows."
            ) from error
        raise ModelFolderError(f"{folder.path}: cannot be loaded as a causal language model ({error}).") from error
    if not hasattr(model, "model"):
        raise ModelFolderError(
            f"{folder.path}: {type(model).__name__} does not keep its decoder under the name 'model', as Llama, Qwen, "
            "Mistral, Phi and OLMo do. Choose another model."
        )
    for name, neutral in _AFTER_THE_HEAD.items():
        if (value := getattr(model.config, name, neutral)) not in (neutral, None):
            raise ModelFolderError(
                f"{folder.path}: the model changes its logits after the head ({name} is {value}), which losses and "
                "answers here do not. Choose another model."
            )
    if adapter is not None:
        model = _with_adapter(model, folder, adapter)
    if not four_bit:  # which stays on the device it was packed on
        model.to(device or pick_device())
    model.eval()
    n_rows = model.get_input_embeddings().weight.shape[0]
    own = profile.tokenizer_sha256 if profile else None
    return LoadedModel(model, Vocabulary.of_folder(folder.path, n_rows), own or tokenizer_sha256_of(folder))


def load_merged(base: ModelFolder, profile: ModelProfile | None, adapter: ModelFolder) -> LoadedModel:
    """Loads a base model with an adapter merged into it; arguments and errors as of :func:`load_model`."""
    import torch

    # Weights of 4 bits would round the update away.
    whole = profile and profile.model_copy(update={"four_bit": False})
    loaded = load_model(base, whole, adapter, device="cpu")
    model = loaded.model
    head, config = model.get_output_embeddings(), base_of(model).config
    if hasattr(head, "base_layer") and config.tie_word_embeddings:
        # An update of the head alone: in the matrix that it shares with the embedding it would change both.
        head.base_layer.weight = torch.nn.Parameter(head.base_layer.weight.detach().clone())
        config.tie_word_embeddings = False
    loaded.model = model.merge_and_unload()
    return loaded


def check_weights(path: Path) -> None:
    """Checks that a folder has its weights as safetensors.

    Raises:
        ModelFolderError: It has none, or has them as pickles, whose opening runs whatever they hold.
    """
    if any(path.glob("*.safetensors")):
        return
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in path.glob(pattern))
    found = (
        f"; {', '.join(pickles[:3])} hold pickles, which are never opened, as that could run code" if pickles else ""
    )
    raise ModelFolderError(
        f"{path}: no safetensors weights{found}. Take a revision of the model that has them, or convert it once where "
        "you trust it: model.save_pretrained(folder, safe_serialization=True)."
    )


def _refuse_named_code(file: Path) -> None:
    """Refuses a configuration that names code of the hub (``"attn_implementation": "owner/kernel"``).

    With the package ``kernels``, transformers would download and run it.
    """

    def check(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, value in entries:
            if name.endswith("_implementation") and "/" in str(value):
                raise ModelFolderError(
                    f"{file}: {name}: {value!r} is code of the hub, which is never run. Take it out."
                )
        return dict(entries)

    with suppress(OSError, ValueError, RecursionError):  # which transformers says better
        json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=check)


def tokenizer_sha256_of(folder: ModelFolder) -> str | None:
    """Returns the hash of the tokenizer that a model was made for; ``None`` where its folder does not say."""
    if (folder.path / MANIFEST).is_file() and (noted := folder.manifest().get("tokenizer_sha256")):
        return str(noted)
    file = folder.path / "tokenizer.json"
    return sha256_of(file) if file.is_file() else None


def _with_adapter(model: Any, folder: ModelFolder, adapter: ModelFolder) -> Any:
    from peft import PeftModel

    trained_on = adapter.manifest().get("base_sha256")
    if trained_on is not None and trained_on != folder.sha256:
        raise ModelFolderError(
            f"{adapter.path}: this adapter was trained on another base (manifest {trained_on[:12]}…) than "
            f"{folder.path} (manifest {folder.sha256[:12]}…). Train it again with 'kedro run --pipelines tuning'."
        )
    if not (adapter.path / "adapter_model.safetensors").is_file():
        raise ModelFolderError(
            f"{adapter.path}: holds no adapter_model.safetensors. PEFT would take a pickle (adapter_model.bin), and "
            "none is ever opened, as that could run code. Save it where you trust it: model.save_pretrained(folder)."
        )
    with without_peft_warning():
        return PeftModel.from_pretrained(model, str(adapter.path))


@contextmanager
def without_peft_warning() -> Iterator[None]:
    """Silences transformers' advice to PEFT about an attribute of an older name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def read_embedding(folder: ModelFolder) -> tuple[np.ndarray, np.ndarray]:
    """Reads the input embedding alone.

    Returns:
        The token id of each row, shape ``(rows,)``, and the matrix as float32, shape ``(rows, hidden)``.

    Raises:
        ModelFolderError: The folder holds no embedding in safetensors.
    """
    from safetensors import safe_open

    name = "model.embed_tokens.weight"
    index = folder.path / "model.safetensors.index.json"
    file = json.loads(index.read_text())["weight_map"].get(name) if index.is_file() else "model.safetensors"
    absent = ModelFolderError(
        f"{folder.path}: no safetensors file holds {name}. Its letters cannot be read (letter_probe.enabled: false)."
    )
    if file is None or not (folder.path / file).is_file():
        raise absent
    # Through torch because numpy has no bfloat16.
    with safe_open(folder.path / file, framework="pt") as tensors:
        if name not in tensors.keys():  # noqa: SIM118  (it is no mapping)
            raise absent
        matrix = tensors.get_tensor(name).float().numpy()
    vocabulary = Vocabulary.of_folder(folder.path, len(matrix))
    return vocabulary.to_ids(np.arange(len(matrix))), matrix


class QuantisationError(SpellingTransferError):
    """A base model cannot be loaded in 4 bits here, or not be used as is asked."""


def four_bit_options(compute_dtype: str) -> dict[str, Any]:
    """Returns what ``from_pretrained`` takes to load a model in 4 bits: NF4, double quantisation, as the QLoRA paper.

    Dettmers et al., 2023, arXiv:2305.14314.

    Args:
        compute_dtype: Type the weights are unpacked to: ``bfloat16``, or ``float16`` on a T4.

    Raises:
        QuantisationError: There is no CUDA here, or no bitsandbytes.
    """
    import torch

    if not torch.cuda.is_available():
        raise QuantisationError(
            "four_bit: a base model in 4 bits needs CUDA, which is not here. Set it to false in the model's profile."
        )
    try:
        import_module("bitsandbytes")
    except ImportError as error:
        raise QuantisationError(
            "four_bit: a base model in 4 bits needs bitsandbytes (pip install 'spelling-transfer[cuda]'), or set it to "
            "false in the model's profile."
        ) from error
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, compute_dtype),
    )
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device()}}


def is_quantised(model: Any) -> bool:
    """Returns whether a model's weights are quantised."""
    return bool(getattr(model, "is_quantized", False))
