from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.tokenizer.conftest import byte_level, own_chat
from transformers import LlamaConfig, LlamaForCausalLM

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training import pretrain
from spelling_transfer.training.cli import main

__all__ = ["byte_level", "own_chat"]


@pytest.fixture
def base(loaded: LoadedModel, tokenizer: ChatTokenizer, tmp_path: Path) -> Path:
    return pretrain.save(loaded, tokenizer, tmp_path / "base", {}, "A model for tests.").path


@pytest.fixture
def arguments(base: Path, encoded: pd.DataFrame, tmp_path: Path) -> list[str]:
    half = [*["train"] * 8, *["test"] * 2]
    frame = encoded.assign(word=encoded["example_id"], split=half, kind="real", task="spelling")
    not_real = frame.head(1).assign(kind="wrong_letters", label_start=0)  # an error, were it trained on
    pd.concat([frame, not_real]).to_parquet(tmp_path / "encoded.parquet")
    settings = {"max_steps": 4, "warmup_steps": 1, "batch_size": 4, "grad_accum_steps": 1, "threads": 1}
    settings |= {"log_every_steps": 2, "learning_rate": 0.01}
    given = [f"--model.training.{name}={value}" for name, value in settings.items()]
    return ["fit", f"--model.base={base}", f"--data.encoded={tmp_path / 'encoded.parquet'}", *given]


def test_an_adapter_is_trained_and_can_be_loaded_on_its_base(
    arguments: list[str], base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapter"
    assert main([*arguments, "--model.lora.r=4", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "step 2  loss" in printed
    assert "label_tokens_per_second" in printed
    assert f"Wrote {out}" in printed
    folder = ModelFolder.open(out)
    assert folder.manifest()["kind"] == "adapter"
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 4
    assert str(tmp_path) not in (out / "adapter_config.json").read_text()
    load_model(ModelFolder.open(base), adapter=folder)


def test_all_weights_learn_to_spell_and_are_a_model_of_their_own(
    arguments: list[str], tmp_path: Path, tokenizer: ChatTokenizer, encoded: pd.DataFrame
) -> None:
    out = tmp_path / "model"
    more = ["--model.method=full", "--model.training.max_steps=140", "--model.training.batch_size=8"]
    assert main([*arguments, *more, f"--out={out}"]) == 0
    loaded = load_model(ModelFolder.open(out))
    prompts = [ids[:start] for ids, start in zip(encoded["input_ids"], encoded["label_start"], strict=True)][:8]
    answers = generate_answers(loaded, tokenizer, prompts)
    assert [tokenizer.decode(ids) for ids in answers] == [" ".join(word) for word in encoded["example_id"][:8]]


def test_what_is_no_model_is_not_replaced(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("mine")
    assert main([*arguments, f"--out={tmp_path / 'letters'}"]) == 1
    assert "letters: holds something else than a model" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "letters").iterdir()] == ["mine.txt"]


def test_a_model_with_a_tokenizer_of_its_own_ends_answers_as_that_does(
    own_chat: Callable[[], ChatTokenizer], tmp_path: Path
) -> None:
    tokenizer = own_chat()
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=300, **shape)).save_pretrained(tmp_path)
    (prompt,), answer = tokenizer.encode_prompts(["a"]), [97, tokenizer.end_id]
    names = {
        "example_id": "a",
        "word": "a",
        "split": "train",
        "kind": "real",
        "task": "spelling",
        "label_start": len(prompt),
    }
    pd.DataFrame([{**names, "input_ids": [*prompt, *answer]}]).to_parquet(tmp_path / "encoded.parquet")
    steps = ["--model.training.max_steps=1", "--model.training.warmup_steps=0", "--model.training.threads=1"]
    for base, out in ((tmp_path, tmp_path / "once"), (tmp_path / "once", tmp_path / "twice")):
        given = [f"--model.base={base}", f"--data.encoded={tmp_path / 'encoded.parquet'}", f"--out={out}", *steps]
        assert main(["fit", "--model.method=full", *given]) == 0


def test_float16_may_be_asked_for_where_there_is_cuda(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spelling_transfer.training.cli.pick_device", lambda: "cuda")  # Lightning takes what is there
    assert main([*arguments, "--model.training.precision=fp16"]) == 0


def test_a_configuration_file_says_the_same(arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    (tmp_path / "run.yml").write_text("model:\n  training:\n    max_steps: 2\n    optimizer: sgd\n  lora:\n    r: 2\n")
    without_steps = [argument for argument in arguments if "max_steps" not in argument]
    assert main([without_steps[0], f"--config={tmp_path / 'run.yml'}", *without_steps[1:], f"--out={out}"]) == 0
    notes = ModelFolder.open(out).manifest()
    assert (notes["training"]["max_steps"], notes["training"]["optimizer"], notes["lora"]["r"]) == (2, "sgd", 2)


def test_a_run_resumes_from_its_checkpoints(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [f"--checkpoints={tmp_path / 'kept'}", "--checkpoint_every=3"]
    assert main([*arguments, *kept]) == 0
    first = capsys.readouterr().out
    assert (tmp_path / "kept" / "step=3.ckpt").is_file()
    (tmp_path / "kept" / "step=4.ckpt").unlink(missing_ok=True)
    assert main([*arguments, *kept]) == 0
    second = capsys.readouterr().out
    assert "step 2" not in second  # it began at step 3
    assert first.splitlines()[-1] == second.splitlines()[-1]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--data.split=nowhere", "data.split: no examples of nowhere"),
        ("--data.tasks=[juggling]", "data.task: no examples of juggling"),
        ("--data.kind=invented", "data.kind: no examples of invented"),
        ("--data.encoded=absent.parquet", "data.encoded: absent.parquet does not exist"),
        ("--data.encoded=README.md", "data.encoded: README.md holds no encoded examples"),
        ("--model.base=absent", "absent: no such model folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str], argument: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, argument, "--trainer.accelerator=cpu"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--model.training.batch_size=0", "batch_size"),
        ("--model.training.precision=fp16", "training.precision: fp16 needs CUDA"),
    ],
)
def test_misuse_exits_with_2(
    arguments: list[str], argument: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, argument, "--trainer.accelerator=cpu"])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "Example: python -m spelling_transfer.training fit" in " ".join(capsys.readouterr().out.split())
