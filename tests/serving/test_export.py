"""An export is opened by the tools it is for, and answers there as the engine does here."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from tests.samples.models import draw_adapter, save_adapter

from kedro_non_thinking import Judge, load_policy
from kedro_non_thinking.datasets import judge_folder
from kedro_non_thinking.scanner.engine import scan_paths
from kedro_non_thinking.template import render
from spelling_transfer.models.export_plain import write_plain
from spelling_transfer.models.folder import ModelFolder, ModelFolderError, new_folder
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.gguf import convert_gguf
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.serving.deployable import write_deployable
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.export import FORMS, ExportError, _is_export, write_export
from spelling_transfer.serving.settings import ServedSettings
from spelling_transfer.tokenizer.chat import ChatTokenizer, embedded_folder, load_chat_tokenizer
from spelling_transfer.tokenizer.plain import plain_tokenizer

from .conftest import SAMPLING

EMBEDDED = ModelFolder(Path(__file__).parents[2] / "data" / "01_raw" / "models" / "tiny-qwen3")
TINY = ModelProfile(name="tiny-qwen3", licence="apache-2.0")
QUESTIONS = (
    "How do you spell garden?", "Spell window letter by letter.", "How many e are in letter?",
    "What is the 2nd letter of house?", "Spell out people with a space between the letters.",
    "Read number backwards: which letter is number 3?",
)  # fmt: skip
EVIDENCE: dict[str, Any] = {
    "scores": pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "task": "spelling", "group": "all", "value": "all", "n": 40, "families": 40,
             "exact_match": score, "low": score - 0.1, "high": score + 0.1}
            for arm, seed, score in (
                ("base", -1, 0.25), ("spelling", 0, 0.6), ("spelling", 1, 0.75), ("form_control", 1, 0.5)
            )
        ]
    ),
    "verdict": {"answer": "yes", "confidence": 0.9},
    "policy_report": {"passed": True},
    "conformance": {
        "n_checks": 129, "n_failed": 0,
        "checks": [{"id": "refuses/tag", "passed": True, "requirement": "r", "evidence": {"sent": "<think>"}}],
    },
}  # fmt: skip

Parts = tuple[ModelFolder, ModelFolder, ModelFolder]


def adapted(base: ModelFolder, profile: ModelProfile, folder: Path, tokenizer: ChatTokenizer, ids: list[int]) -> Parts:
    """Returns a deployable, its base, and its adapter, whose weights are random."""
    loaded = load_model(base, profile, device="cpu")
    torch.manual_seed(0)
    model = attach_lora(loaded, LoraSettings(r=4), profile.lora_targets)
    draw_adapter(model, std=0.02)
    adapter = save_adapter(model, folder / "adapter", base_sha256=base.sha256, config={"training": {"seed": 1}})
    deployable = write_deployable(
        base, adapter, profile, tokenizer, sampling=SAMPLING, allowed_ids=ids, settings=ServedSettings(),
        target=folder / "deployable",
    )  # fmt: skip
    return deployable, base, adapter


def letters(tokenizer: ChatTokenizer, *texts: str) -> list[int]:
    """Ids of the texts and of each letter, alone and after a blank."""
    alphabet = [f"{blank}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for blank in ("", " ")]
    return sorted({token for ids in tokenizer.encode_texts([*texts, *alphabet]) for token in ids})


@pytest.fixture(scope="module")
def parts(tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return adapted(EMBEDDED, TINY, tmp_path_factory.mktemp("tiny"), tokenizer, letters(tokenizer))


@pytest.fixture(scope="module")
def exported(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("export") / "export"
    assert write_export(*parts, TINY, target, **EVIDENCE) == ["merged", "adapter", "base", "gguf"]
    return target


def engine_answers(deployable: ModelFolder) -> list[str]:
    engine = AnswerEngine.load(deployable, "cpu")
    prompts = engine.tokenizer.encode_prompts(QUESTIONS)
    answers = generate_answers(engine.loaded, engine.tokenizer, prompts, allowed_ids=engine.allowed_ids)
    return [engine.tokenizer.decode(ids) for ids in answers]


def by_transformers(folder: Path, model: Any = None, **options: Any) -> list[str]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = model or AutoModelForCausalLM.from_pretrained(str(folder))
    answers = []
    for question in QUESTIONS:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            enable_thinking=False,
            return_tensors="pt",
            return_dict=True,
        )
        ids = model.generate(**prompt, do_sample=False, max_new_tokens=24, **options)
        answers.append(tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


def silent_of(export: Path) -> list[int]:
    return list(json.loads((export / "merged" / "generation_config.json").read_text())["suppress_tokens"])


def by_peft(export: Path) -> list[str]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(str(export / "base"))
    model = PeftModel.from_pretrained(base, str(export / "adapter"))
    return by_transformers(export / "base", model, suppress_tokens=silent_of(export))


def by_mlx(export: Path) -> list[str]:
    mlx_lm = pytest.importorskip("mlx_lm", reason="mlx-lm is there on Apple Silicon, and on Linux with the extra 'dev'")
    import mlx.core as mx

    model, tokenizer = mlx_lm.load(str(export / "merged"))
    silent = mx.array(silent_of(export))

    def most_likely(logits: Any) -> Any:
        logits[:, silent] = -mx.inf
        return mx.argmax(logits, axis=-1)

    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, enable_thinking=False
        )
        for question in QUESTIONS
    ]
    return [mlx_lm.generate(model, tokenizer, prompt, max_tokens=24, sampler=most_likely) for prompt in prompts]


def by_llama_cpp(export: Path) -> list[str]:
    xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp's wheel is installed with the extra 'dev'")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(export / "gguf" / "model.gguf")
    settings.n_parallel, settings.n_ctx, settings.cpuparams.n_threads, settings.warmup = 1, 512, 2, False
    server = xllamacpp.Server(settings)
    bias = [[token, False] for token in silent_of(export)]
    answers = []
    for question in QUESTIONS:
        body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 24}
        answers.append(server.handle_chat_completions({**body, "logit_bias": bias})["choices"][0]["message"]["content"])
    return answers


@pytest.mark.parametrize(
    "ask",
    [lambda export: by_transformers(export / "merged"), by_peft, by_mlx, by_llama_cpp],
    ids=["transformers", "peft", "mlx", "llama.cpp"],
)
def test_each_tool_gives_the_engines_greedy_answers(
    parts: Parts, exported: Path, ask: Callable[[Path], list[str]]
) -> None:
    expected = engine_answers(parts[0])
    assert len(set(expected)) > 3  # they can be told apart
    assert ask(exported) == expected


@pytest.fixture(scope="module")
def whole(tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Parts, ModelProfile, Path]:
    """A random model that has a row for each token of its own tokenizer, as one from the hub."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    marks = [*tokenizer.prefix_ids, *tokenizer.suffix_ids, tokenizer.end_id, *tokenizer.think_ids]
    ids = [*range(2000), *letters(tokenizer, *QUESTIONS), *marks]
    own = plain_tokenizer(embedded_folder(), ids, tokenizer.template_source, tokenizer.template_tokens)
    config = LlamaConfig(
        vocab_size=len(own.token_ids) + 5, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128, tie_word_embeddings=False,
        attention_bias=True,
    )  # fmt: skip
    with new_folder(folder / "base", {}) as work:
        LlamaForCausalLM(config).save_pretrained(str(work))
        own.write(work)
    tokenizer = load_chat_tokenizer(folder / "base")
    profile = ModelProfile(name="whole", hub_id="Somebody/whole")
    ids = letters(tokenizer, *QUESTIONS)
    target = folder / "export"
    parts = adapted(ModelFolder(folder / "base"), profile, folder, tokenizer, ids)
    assert write_export(*parts, profile, target) == ["merged", "trimmed", "adapter", "gguf"]
    return parts, profile, target


def test_a_whole_model_leaves_trimmed_as_well_and_answers_alike(whole: tuple[Parts, ModelProfile, Path]) -> None:
    (deployable, _, _), _, export = whole
    assert by_transformers(export / "trimmed") == engine_answers(deployable)
    assert by_transformers(export / "merged") != engine_answers(deployable)  # nothing there keeps to the subset
    smaller, larger = ((export / name / "model.safetensors").stat().st_size for name in ("trimmed", "merged"))
    assert smaller < larger / 2
    config = json.loads((export / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "Somebody/whole"


def test_a_gguf_file_read_back_is_the_same_model(whole: tuple[Parts, ModelProfile, Path], tmp_path: Path) -> None:
    file = whole[2] / "gguf" / "model.gguf"
    converted = convert_gguf(file, tmp_path / "m", sha256=hashlib.sha256(file.read_bytes()).hexdigest()).path
    options = {"suppress_tokens": None}
    assert by_transformers(converted, **options) == by_transformers(whole[2] / "merged", **options)


@pytest.mark.parametrize("form", ["merged", "base"])
def test_every_text_of_kept_tokens_is_read_as_before_and_any_other_is_read(
    exported: Path, tokenizer: ChatTokenizer, form: str
) -> None:
    from tokenizers import Tokenizer

    plain = Tokenizer.from_file(str(exported / form / "tokenizer.json"))
    for text in ("How do you spell strawberry? s t r a w", *QUESTIONS):
        (before,) = tokenizer.encode_texts([text])
        assert plain.encode(text).tokens == [tokenizer.tokenizer.id_to_token(token) for token in before]
    for text in ("Ünïcödé 漢字 🍓", "<|im_start|> \n\n\t"):
        assert plain.decode(plain.encode(text).ids, skip_special_tokens=False) == text


def test_a_token_that_the_model_lacked_is_the_mean_of_its_parts(exported: Path, tokenizer: ChatTokenizer) -> None:
    from safetensors.torch import load_file

    content = json.loads((exported / "merged" / "tokenizer.json").read_text())["model"]
    rows = load_file(exported / "merged" / "model.safetensors")["model.embed_tokens.weight"]
    had = set(json.loads((EMBEDDED.path / "token_ids.json").read_text()))
    place, name = content["vocab"], tokenizer.tokenizer.token_to_id
    lacked = [(a, b) for a, b in content["merges"] if name(a + b) not in had]
    assert len(lacked) > 1000
    for a, b in lacked:  # so its logit lies between theirs, and greedy answers never hold it
        if a == b:  # there is nothing between a token and itself
            assert not torch.allclose(rows[place[a + b]], rows[place[a]], atol=1e-3)
        else:
            torch.testing.assert_close(rows[place[a + b]], (rows[place[a]] + rows[place[b]]) / 2)


def test_a_model_without_a_form_as_gguf_leaves_in_the_others(
    whole: tuple[Parts, ModelProfile, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, profile, _ = whole
    monkeypatch.setattr("spelling_transfer.models.export_gguf._ARCHITECTURES", {"Qwen3ForCausalLM": "QWEN3"})
    assert write_export(*parts, profile, tmp_path / "all") == ["merged", "trimmed", "adapter"]
    with pytest.raises(ModelFolderError, match=r"gguf: LlamaForCausalLM is not written here.*\(--form=merged\)"):
        write_export(*parts, profile, tmp_path / "one", forms=["gguf"])


def test_a_head_with_a_bias_is_trimmed_with_it(whole: tuple[Parts, ModelProfile, Path], tmp_path: Path) -> None:
    from transformers import PhiConfig, PhiForCausalLM

    (_, base, _), _, _ = whole
    tokenizer = load_chat_tokenizer(base.path)
    n_rows = tokenizer.tokenizer.get_vocab_size()
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = PhiConfig(vocab_size=n_rows, **shape)
    loaded = LoadedModel(PhiForCausalLM(config), Vocabulary(None, n_rows))
    bias = torch.nn.init.normal_(loaded.model.lm_head.bias).detach().clone()
    kept = letters(tokenizer, *QUESTIONS)
    write_plain(loaded, tokenizer, SAMPLING, tmp_path, allowed_ids=kept, trim=True, tokenizer_folder=base.path)
    own = load_chat_tokenizer(tmp_path).tokenizer
    place = [own.token_to_id(tokenizer.tokenizer.id_to_token(token)) for token in kept]
    assert place != kept
    torch.testing.assert_close(loaded.model.lm_head.bias.detach()[place], bias[kept])


def test_another_folder_with_a_list_of_checksums_is_no_export(exported: Path, tmp_path: Path) -> None:
    assert _is_export(exported)
    (tmp_path / "SHA256SUMS").write_text("0" * 64 + "  debian.iso\n")
    (tmp_path / "debian.iso").write_text("mine")
    assert not _is_export(tmp_path)


def templates(export: Path) -> dict[str, str]:
    import gguf

    found = {
        file.parent.name: json.loads(file.read_text())["chat_template"]
        for file in sorted(export.rglob("tokenizer_config.json"))
    }
    reader = gguf.GGUFReader(export / "gguf" / "model.gguf")
    return {**found, "gguf": reader.fields["tokenizer.chat_template"].contents()}


@pytest.mark.parametrize("which", ["exported", "whole"])
def test_no_template_can_think(which: str, request: pytest.FixtureRequest, tokenizer: ChatTokenizer) -> None:
    value = request.getfixturevalue(which)
    export = value if which == "exported" else value[2]
    judge = Judge(load_policy())
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    for name, template in templates(export).items():
        assert list(judge.chat_template(template)) == [], name
        for sent in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
            assert render(template, messages, sent) == tokenizer.render(QUESTIONS[0])
    folders = [folder for folder in export.iterdir() if folder.is_dir()]
    assert [finding for folder in folders for finding in judge_folder(folder, judge, exported=True)] == []
    ollama = (export / "gguf" / "Modelfile").read_text()
    assert tokenizer.render("{{ .Prompt }}") in ollama
    assert "PARAMETER temperature 0.6\n" in ollama
    assert "PARAMETER repeat_penalty 1\n" in ollama


def test_a_template_that_was_left_as_it_is_would_be_found(tokenizer: ChatTokenizer) -> None:
    assert list(Judge(load_policy()).chat_template(tokenizer.template_source)) != []


def test_the_card_says_scores_with_intervals_and_how_to_ask(exported: Path) -> None:
    text = (exported / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    known = yaml.safe_load(head)
    assert known["license"] == "apache-2.0"
    (result,) = known["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 0.75
    assert "(90% interval 0.6500 to 0.8500, 40 questions)" in result["metrics"][0]["name"]
    assert "| spelling | this model | 75.0% | 65.0% to 85.0% | 40 | 1 |" in body
    assert body.count("this model") == 1  # another seed of its arm is another model
    assert "form_control" not in body
    assert "**yes**" in body
    assert "temperature 0.6, top_p 0.95, top_k 20, min_p 0" in body
    assert "129 of 129 checks" in body
    assert json.loads((exported / "policy_report.json").read_text()) == EVIDENCE["policy_report"]


def test_the_evidence_of_the_check_leaves_without_what_was_tried(exported: Path) -> None:
    found = json.loads((exported / "conformance.json").read_text())
    assert found["checks"] == [{"id": "refuses/tag", "passed": True}]
    result = scan_paths([exported], load_policy(), exported)
    assert [(finding.place, finding.value) for finding in result.findings] == []


def test_a_card_without_scores_names_the_base_and_claims_nothing(whole: tuple[Parts, ModelProfile, Path]) -> None:
    text = (whole[2] / "README.md").read_text()
    known = yaml.safe_load(text.split("---\n")[1])
    assert (known["base_model"], known["license"]) == ("Somebody/whole", "unknown")
    assert "model-index" not in known
    assert "Not evaluated." in text


def test_the_checksums_are_those_of_every_file(exported: Path) -> None:
    listed = dict(reversed(line.split("  ", 1)) for line in (exported / "SHA256SUMS").read_text().splitlines())
    files = {str(file.relative_to(exported)) for file in exported.rglob("*") if file.is_file()} - {"SHA256SUMS"}
    assert set(listed) == files
    assert all(hashlib.sha256((exported / name).read_bytes()).hexdigest() == sha for name, sha in listed.items())


def test_it_is_written_whole_or_not_at_all(parts: Parts, exported: Path, tmp_path: Path) -> None:
    target = tmp_path / "export"
    with pytest.raises(KeyError):  # the card is the last to be written
        write_export(*parts, TINY, target, **{**EVIDENCE, "verdict": {"no": "answer"}})
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="--target"):
        write_export(*parts, TINY, target)
    assert [file.name for file in tmp_path.rglob("*")] == ["export", "mine.txt"]
    shutil.copytree(exported, again := tmp_path / "again")
    (again / "merged" / ".DS_Store").touch()  # a Mac's Finder was there
    assert write_export(*parts, TINY, again, forms=["gguf"]) == ["gguf"]
    assert not (again / "merged").exists()


def test_another_adapter_than_the_deployables_is_refused(parts: Parts, tmp_path: Path) -> None:
    deployable, base, _ = parts
    with pytest.raises(ExportError, match="another adapter"):
        write_export(deployable, base, base, TINY, tmp_path / "export", forms=FORMS)


def test_a_form_that_was_asked_for_and_cannot_be_made_is_an_error(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Take --form=merged"):
        write_export(*parts, TINY, tmp_path / "export", forms=["trimmed"])
    assert not (tmp_path / "export").exists()
