"""Models: from a folder and a profile to one that is trained, answers, or is exported.

`ModelFolder` is what passes between nodes, `ModelProfile` how it is loaded, `LoadedModel` the model in memory with the
map from token ids to its rows. `answer_only_loss` computes the head where there is a label, `generate_answers` answers
in batches with think tokens masked. torch, transformers and MLX are imported when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.models.attention import NotStaticError, check_attention, fixed_attention, without_plans
    from spelling_transfer.models.capture import CaptureError, GraphPool, free_bytes
    from spelling_transfer.models.decode import Admission, StaticDecoder
    from spelling_transfer.models.engines import load_mlx, merged_folder, mlx_answers, transformers_answers
    from spelling_transfer.models.export import export_deployable
    from spelling_transfer.models.export_gguf import modelfile, write_gguf
    from spelling_transfer.models.export_plain import write_plain
    from spelling_transfer.models.folder import (
        MANIFEST,
        ModelFolder,
        ModelFolderError,
        new_folder,
        permissions_explained,
        write_manifest,
    )
    from spelling_transfer.models.generate import (
        Sampling,
        answer_head,
        cpu_threads,
        drawer,
        generate_answers,
        random_numbers,
    )
    from spelling_transfer.models.gguf import Dtype, convert_gguf
    from spelling_transfer.models.kept_decoder import new_decoder
    from spelling_transfer.models.kernels import fused_kernels
    from spelling_transfer.models.load import (
        LoadedModel,
        backbone,
        base_of,
        is_quantised,
        load_model,
        pick_device,
        read_embedding,
    )
    from spelling_transfer.models.loss import (
        DEFAULT_LOGITS_MB,
        IGNORED_LABEL,
        answer_only_loss,
        is_frozen_matrix,
        loss_at,
    )
    from spelling_transfer.models.profile import ModelProfile, ModelShape, VocabularySavings, measure_head, savings
    from spelling_transfer.models.scorers import MlxScorer, TorchScorer
    from spelling_transfer.models.states import HiddenStatesError, last_states
    from spelling_transfer.models.trainable import LoraSettings, attach_lora, train_all_weights
    from spelling_transfer.models.vocabulary import ALLOWED_IDS_FILE, TOKEN_IDS_FILE, UnknownTokenError, Vocabulary

__all__ = [
    "ALLOWED_IDS_FILE",
    "DEFAULT_LOGITS_MB",
    "IGNORED_LABEL",
    "MANIFEST",
    "TOKEN_IDS_FILE",
    "Admission",
    "CaptureError",
    "Dtype",
    "GraphPool",
    "HiddenStatesError",
    "LoadedModel",
    "LoraSettings",
    "MlxScorer",
    "ModelFolder",
    "ModelFolderError",
    "ModelProfile",
    "ModelShape",
    "NotStaticError",
    "Sampling",
    "StaticDecoder",
    "TorchScorer",
    "UnknownTokenError",
    "Vocabulary",
    "VocabularySavings",
    "answer_head",
    "answer_only_loss",
    "attach_lora",
    "backbone",
    "base_of",
    "check_attention",
    "convert_gguf",
    "cpu_threads",
    "drawer",
    "export_deployable",
    "fixed_attention",
    "free_bytes",
    "fused_kernels",
    "generate_answers",
    "is_frozen_matrix",
    "is_quantised",
    "last_states",
    "load_mlx",
    "load_model",
    "loss_at",
    "measure_head",
    "merged_folder",
    "mlx_answers",
    "modelfile",
    "new_decoder",
    "new_folder",
    "permissions_explained",
    "pick_device",
    "random_numbers",
    "read_embedding",
    "savings",
    "train_all_weights",
    "transformers_answers",
    "without_plans",
    "write_gguf",
    "write_manifest",
    "write_plain",
]

_HOMES = {
    "kernels": "fused_kernels",
    "capture": "CaptureError GraphPool free_bytes",
    "attention": "NotStaticError check_attention fixed_attention without_plans",
    "decode": "Admission StaticDecoder",
    "kept_decoder": "new_decoder",
    "engines": "load_mlx merged_folder mlx_answers transformers_answers",
    "export": "export_deployable",
    "export_gguf": "modelfile write_gguf",
    "export_plain": "write_plain",
    "folder": "MANIFEST ModelFolder ModelFolderError new_folder permissions_explained write_manifest",
    "generate": "Sampling answer_head cpu_threads drawer generate_answers random_numbers",
    "gguf": "Dtype convert_gguf",
    "load": "is_quantised LoadedModel backbone base_of load_model pick_device read_embedding",
    "loss": "DEFAULT_LOGITS_MB loss_at IGNORED_LABEL answer_only_loss is_frozen_matrix",
    "profile": "ModelProfile ModelShape VocabularySavings measure_head savings",
    "scorers": "MlxScorer TorchScorer",
    "states": "HiddenStatesError last_states",
    "trainable": "LoraSettings attach_lora train_all_weights",
    "vocabulary": "ALLOWED_IDS_FILE TOKEN_IDS_FILE UnknownTokenError Vocabulary",
}

__getattr__, __dir__ = lazy_names(__name__, {f"{__name__}.{home}": names.split() for home, names in _HOMES.items()})
