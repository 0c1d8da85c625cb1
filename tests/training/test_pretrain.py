"""How the embedded model is made, on few words: the data, the training, what it scores, its folder and its card."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.tasks.base import Template
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training import pretrain, pretrain_data, pretrain_wordings
from spelling_transfer.training.pretrain import PretrainSettings
from spelling_transfer.training.pretrain_data import PretrainData, PretrainMixture, pretraining_vocabulary
from spelling_transfer.training.pretrain_making import make_model
from spelling_transfer.training.pretrain_measure import make_probes, measure, score_probe
from spelling_transfer.words.families import bucket_of

SPLITS = {
    "cab": "pretrain",
    "bad": "pretrain",
    "tree": "pretrain",
    "fade": "train",
    "letter": "train",
    "deaf": "validation",
    "face": "test",
}
MIXTURE = PretrainMixture(spelling_families=2, question_families=1, without_lines=0.0, letters_given=0.0)
SETTINGS = PretrainSettings(
    hidden_size=32,
    feed_forward_ratio=1,
    layers=1,
    steps=4,
    batch_rows=4,
    full_softmax_steps=2,
    restart_steps=2,
    threads=1,
    mixture=MIXTURE,
)
TASKS = {name: load_tasks()[name] for name in CORE_TASKS}


@pytest.fixture(scope="module")
def words() -> pd.DataFrame:
    return pd.DataFrame({"word": SPLITS.keys(), "stem": SPLITS.keys(), "split": SPLITS.values()})


@pytest.fixture(scope="module")
def vocabulary(words: pd.DataFrame, tokenizer: ChatTokenizer) -> Vocabulary:
    ids = pretraining_vocabulary(words, load_tasks(), tokenizer)
    return Vocabulary(ids, len(ids))


@pytest.fixture(scope="module")
def data(words: pd.DataFrame, tokenizer: ChatTokenizer, vocabulary: Vocabulary) -> PretrainData:
    return PretrainData(words, TASKS, tokenizer, vocabulary, MIXTURE)


@pytest.fixture
def model(tokenizer: ChatTokenizer, vocabulary: Vocabulary) -> LoadedModel:
    assert vocabulary.token_ids is not None
    return pretrain.new_model(vocabulary.token_ids, tokenizer.end_id, SETTINGS)


def examples_of(data: PretrainData, tokenizer: ChatTokenizer, vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Texts of prompts and of labels of the examples in ten batches."""
    end = int(vocabulary.to_rows([tokenizer.end_id])[0])
    found = []
    for number in range(10):
        ids, labels, _ = data.batch(number, 8, 128)
        for row, is_label in zip(ids, labels, strict=True):
            said = [tokenizer.decode(vocabulary.to_ids([token]).tolist()) for token in row]
            found.append(
                ("".join(said), "".join(text if label else "" for text, label in zip(said, is_label, strict=True)))
            )
        assert (ids[:, -1] == end).any()
    return found


def test_a_batch_depends_on_the_seed_and_its_number_alone(data: PretrainData) -> None:
    first, again, other = data.batch(3, 4, 96), data.batch(3, 4, 96), data.batch(4, 4, 96)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != other[0]).any()
    assert first[0].shape == first[1].shape == first[2].shape == (4, 96)
    assert not first[2][:, 0].any()


def test_an_example_does_not_see_what_stands_before_it_in_its_row(model: LoadedModel, data: PretrainData) -> None:
    ids, _, places = (torch.from_numpy(each) for each in data.batch(0, 1, 96))
    second = int((places[0] == 0).nonzero()[1])
    model.model.eval()

    def states(ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        mask = {"full_attention": pretrain._attention_mask(places)}
        with torch.inference_mode():
            return model.model.model(input_ids=ids, attention_mask=mask, position_ids=places).last_hidden_state

    alone = states(ids[:, second:], places[:, second:])
    assert torch.allclose(states(ids, places)[:, second:], alone, atol=1e-5)
    changed = ids.clone()
    changed[0, second] = (changed[0, second] + 1) % 500
    assert not torch.allclose(states(changed, places)[:, second:], alone, atol=1e-3)


def test_only_the_chosen_families_are_asked_in_chat_form(
    data: PretrainData, tokenizer: ChatTokenizer, vocabulary: Vocabulary
) -> None:
    assert len(data.asked["spelling"]) == 2
    assert data.asked["position"] == data.asked["count"]
    assert set(data.asked["count"]) < set(data.asked["spelling"]) <= {"cab", "bad", "tree"}
    texts = [text for text, _ in examples_of(data, tokenizer, vocabulary)]
    questions = [part.split("\nassistant")[0] for text in texts for part in text.split("user\n")[1:]]
    assert questions
    never = {"fade", "deaf", "face"}
    assert not [question for question in questions if never & set(question.replace(",", " ").replace(":", " ").split())]


def test_every_word_has_plain_lines_of_three_kinds_with_right_labels(data: PretrainData) -> None:
    rng = random.Random(0)
    letter_of = {row: letter for letter, row in data._letter.items()}
    tokens, labels = data.places_line("deaf", rng)
    said = [letter_of[token] for token, label in zip(tokens, labels, strict=True) if label]
    assert len(said) == 6
    assert set(said) <= set("deaf")
    tokens, labels = data.counts_line("tree", rng)
    counts = [data._digits.index(token) for token, label in zip(tokens, labels, strict=True) if label]
    assert 2 in counts  # repeated letters come first
    tokens, labels = data.spelling_line("deaf", rng)
    assert labels[-1]
    assert data.lined == list(SPLITS)


def test_a_share_of_families_has_no_plain_line(
    words: pd.DataFrame, tokenizer: ChatTokenizer, vocabulary: Vocabulary
) -> None:
    share = 0.6
    dark = {word for word in SPLITS if pretrain_data.without_lines(word, share)}
    assert dark
    some = PretrainData(words, TASKS, tokenizer, vocabulary, MIXTURE.model_copy(update={"without_lines": share}))
    assert set(some.lined) == set(SPLITS) - dark
    assert not set(some.asked["spelling"]) & dark
    assert {word for word in SPLITS if pretrain_data.without_lines(word, 0.2)} <= dark


def test_the_families_of_the_last_buckets_are_asked_so_that_the_split_may_shrink(
    words: pd.DataFrame, data: PretrainData
) -> None:
    pool = [word for word, split in SPLITS.items() if split == "pretrain"]
    assert len({bucket_of(word) for word in pool}) == len(pool)
    assert set(data.asked["spelling"]) == set(sorted(pool, key=bucket_of)[-2:])
    assert data.asked["count"] == [max(pool, key=bucket_of)]


def test_made_up_words_are_asked_letter_by_letter(
    words: pd.DataFrame, tokenizer: ChatTokenizer, vocabulary: Vocabulary
) -> None:
    mixture = MIXTURE.model_copy(update={"letters_given": 0.5})
    made = PretrainData(words, TASKS, tokenizer, vocabulary, mixture)
    letters = re.compile(r"\b(?:[a-z] ){2,}[a-z]\b")

    def asked_of(data: PretrainData, task: str) -> list[tuple[str, str]]:
        found = []
        for example in data._chat[task][:300]:
            texts = [
                tokenizer.decode(vocabulary.to_ids(rows).tolist())
                for rows in (example.rows[: example.label_start], example.rows[example.label_start : -1])
            ]
            if match := letters.search(texts[0]):
                found.append((match[0].replace(" ", ""), texts[1]))
        return found

    given = asked_of(made, "spelling")
    assert 90 < len(given) < 210
    assert not {word for word, _ in given} & set(SPLITS)
    assert all(re.sub("[^a-z]", "", answer) == word for word, answer in given)
    assert not asked_of(PretrainData(words, TASKS, tokenizer, vocabulary, MIXTURE), "spelling")


def skeleton(template: Template) -> str:
    text = "".join(character if character.isalpha() else " " for character in template.text.lower())
    return " ".join(text.split())


def test_no_held_out_wording_is_trained_on() -> None:
    for name, task in TASKS.items():
        held_out = {skeleton(template) for template in task.templates if template.held_out}
        trained = {skeleton(template) for template in pretrain_wordings.chat_wordings(task)}
        assert held_out
        assert not [(text, each) for text in held_out for each in trained if text in each], name
        # A wording that is held out and slipped in, in a greeting, would be found.
        assert any(text in f"hello {text} thank you" for text in held_out)


def test_all_wordings_have_rows(words: pd.DataFrame, tokenizer: ChatTokenizer, vocabulary: Vocabulary) -> None:
    rng = random.Random(0)
    for task in load_tasks().values():
        for template in task.templates:
            question = task.make("face", rng, template=template).question
            vocabulary.to_rows(tokenizer.encode_prompts([question])[0])
    for text in [*pretrain_wordings.BENCHMARK_TEXTS, 'How many "e" are in "face"?', "Face", " Tree"]:
        vocabulary.to_rows(tokenizer.encode_texts([text])[0])


def test_probes_are_marked(tokenizer: ChatTokenizer) -> None:
    probes = {probe.name: probe for probe in make_probes(["face", "tree", "deaf"], TASKS, tokenizer)}
    assert set(probes) == {
        *("plain spelling", "plain place", "plain count"),
        *("spelling", "spelling, held out", "position", "position, held out", "count", "count, held out"),
    }
    for probe in probes.values():
        assert all(score_probe(probe, probe.answers, TASKS).right)
        wrong = score_probe(probe, ["?"] * 3, TASKS)
        assert not any(wrong.right)
        assert all(wrong.invalid)
    assert {example.template_held_out for example in probes["count, held out"].asked} == {True}


def test_training_lowers_the_loss_and_the_rate_ends_at_zero(model: LoadedModel, data: PretrainData) -> None:
    settings = SETTINGS.model_copy(
        update={"steps": 30, "warmup_steps": 2, "learning_rate": 1e-2, "restart_steps": 10, "restart_rate": 1e-2}
    )
    tenths: list[int] = []
    losses = pretrain.pretrain(model, data, settings, on_tenth=tenths.append)
    assert len(losses) == 40
    assert tenths == list(range(4, 41, 4))
    assert np.mean(losses[25:30]) < np.mean(losses[:5]) - 0.3
    assert np.mean(losses[-5:]) < np.mean(losses[28:30])  # both with the softmax over all rows
    rates = [pretrain.learning_rate_at(done, 0.9, settings) for done in np.linspace(0, 1, 50)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == settings.learning_rate
    assert rates[-1] == 0
    again = [pretrain.restart_rate_at(step, settings.model_copy(update={"restart_steps": 100})) for step in range(101)]
    assert again[:20] == pytest.approx([1e-2 * step / 20 for step in range(1, 21)])
    assert again[20:51] == [1e-2] * 31
    assert again[50:] == sorted(again[50:], reverse=True)
    assert again[-1] == 0


def test_batches_are_the_same_from_other_processes(data: PretrainData) -> None:
    alone = [ids for ids, _, _ in pretrain.batches_of(data, SETTINGS)]
    helped = [ids for ids, _, _ in pretrain.batches_of(data, SETTINGS.model_copy(update={"workers": 2}))]
    assert len(alone) == len(helped) == SETTINGS.steps + SETTINGS.restart_steps
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_the_model_is_made_measured_and_written_with_its_card(
    words: pd.DataFrame, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    said: list[str] = []
    folder = make_model(
        words, load_tasks(), tokenizer, SETTINGS, tmp_path / "model", command="kedro pretrain", say=said.append
    )
    manifest = ModelFolder.open(folder.path).manifest()
    assert set(manifest["scores"]) >= {"plain place", "count, held out"}
    assert manifest["without_plain_lines"] == []
    assert "| plain spelling | " in (folder.path / "README.md").read_text()
    assert "7 words" in said[0]
    again = load_model(folder, device="cpu")
    assert again.vocabulary.token_ids is not None
    assert again.vocabulary.token_ids.tolist() == json.loads((folder.path / "token_ids.json").read_text())
    assert again.model.get_input_embeddings().weight.dtype == torch.float32
    measured = measure(again, tokenizer, TASKS, ["deaf"]).set_index("probe")["right"]
    assert measured.to_dict() == manifest["scores"]
    with pytest.raises(ModelFolderError, match="holds something else"):
        make_model(words, load_tasks(), tokenizer, SETTINGS, tmp_path)  # whose folder "model" would be gone
