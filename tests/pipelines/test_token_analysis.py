"""The token analysis as a whole: few words, the whole vocabulary, a small embedding, the real catalog entries."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import dom_of, needs_browser
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner
from pydantic import TypeAdapter
from tests.samples.catalogs import CONF, project_catalog
from tests.tokenizer.conftest import byte_level, own_chat

from spelling_transfer.configuration.loader import ProjectConfigLoader
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile, VocabularySavings
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.pages.tokens import TokenFindings, _template
from spelling_transfer.pages.tokens_figures import search_data
from spelling_transfer.pipelines.token_analysis import create_pipeline, nodes
from spelling_transfer.settings import CONFIG_LOADER_ARGS
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.english import TokenRules
from spelling_transfer.tokenizer.probe import LetterProbe
from spelling_transfer.tokenizer.subset import SubsetCoverage, TokenSubset
from spelling_transfer.tokenizer.template_cost import TemplateCost
from spelling_transfer.tokenizer.word_stats import WordAnalysis
from spelling_transfer.words.word_list import WordSelection, select_words
from spelling_transfer.words.word_sets import describe_words, split_words

__all__ = ["byte_level", "own_chat"]

MODELS = {
    "token_rules": TokenRules,
    "word_analysis": WordAnalysis,
    "template_cost": TemplateCost,
    "subset_coverage": SubsetCoverage,
    "vocabulary_savings": VocabularySavings,
    "letter_probe": LetterProbe,
}


def shipped_parameters() -> dict[str, object]:
    """The shipped parameters, with what they take from study/ put in."""
    named = yaml.safe_load((CONF / "parameters" / "token_analysis.yml").read_text())
    loader = ProjectConfigLoader(conf_source=str(CONF.parent), env="base", **CONFIG_LOADER_ARGS)
    return {name: loader["parameters"][name] for name in named}


@pytest.fixture(scope="module")
def words(tokenizer: ChatTokenizer) -> pd.DataFrame:
    selection = WordSelection(max_words=1_500, random_words=20)
    chosen = [*select_words(selection).words, "strawberry"]
    return split_words(describe_words(chosen, tokenizer), tokenizer, selection)


@pytest.fixture(scope="module")
def examples(words: pd.DataFrame) -> pd.DataFrame:
    rng = random.Random(0)
    made = [load_tasks()[task].make(word, rng) for task in CORE_TASKS for word in words["word"].tail(60)]
    return pd.DataFrame([vars(example) for example in made])


@pytest.fixture(scope="module")
def inputs(
    words: pd.DataFrame, examples: pd.DataFrame, tokenizer: ChatTokenizer, tmp_path_factory
) -> dict[str, object]:
    prompts = tokenizer.encode_prompts(examples["question"].tolist())
    answers = tokenizer.encode_texts(examples["answer"].tolist())
    encoded = pd.DataFrame(
        {
            "input_ids": [[*p, *a, tokenizer.end_id] for p, a in zip(prompts, answers, strict=True)],
            "label_start": [len(prompt) for prompt in prompts],
        }
    )
    parameters = {name: MODELS[name].model_validate(value) for name, value in shipped_parameters().items()}
    # Times differ from run to run, and these tests compare bytes.
    saving = parameters["vocabulary_savings"].model_copy(update={"measure_head": False})
    probe = parameters["letter_probe"].model_copy(update={"max_tokens": 600, "resamples": 100})
    parameters |= {"vocabulary_savings": saving, "letter_probe": probe}
    return {
        "tokenizer": tokenizer,
        "words": words,
        "examples": examples,
        "encoded_examples": encoded,
        "base_model": model_folder(tmp_path_factory.mktemp("model"), words),
        "english_text": (CONF / "study" / "token_analysis" / "english_text.txt").read_text(),
        "params:model_profile": ModelProfile(name="tiny"),
        "params:run_env": "standard",
        **{f"params:{name}": value for name, value in parameters.items()},
    }


def model_folder(folder: Path, words: pd.DataFrame) -> ModelFolder:
    """A trimmed embedding without a model around it."""
    from safetensors.numpy import save_file

    ids = sorted({int(token) for row in words["ids_spaced"] for token in row})
    embedding = np.random.default_rng(0).standard_normal((len(ids), 16)).astype(np.float32)
    save_file({"model.embed_tokens.weight": embedding}, folder / "model.safetensors")
    (folder / TOKEN_IDS_FILE).write_text(json.dumps(ids))
    config = {"vocab_size": len(ids), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 32, "tie_word_embeddings": True}))
    return ModelFolder(folder)


def run(inputs: dict[str, object], folder: Path) -> DataCatalog:
    catalog = project_catalog("token_analysis", folder, inputs)
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog


@pytest.fixture(scope="module")
def results(inputs: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> tuple[DataCatalog, Path]:
    folder = tmp_path_factory.mktemp("data")
    return run(inputs, folder), folder


def test_the_figures_of_the_vocabulary_come_out(results):
    stats = results[0].load("vocabulary_stats")
    assert (stats["valid_utf8"], stats["ascii"], stats["letters"]) == (150_195, 94_358, 68_923)
    assert stats["raw_string_heuristic"]["lost"] == 46_420


def test_the_subset_in_use_is_written_as_vocabulary_and_with_its_hash(results, tokenizer):
    catalog, folder = results
    subset = TokenSubset.from_json(catalog.load("english_subset"))
    subset.check_usable(tokenizer)
    vocab = json.loads((folder / "04_feature" / "english_tokens" / "english_vocab.json").read_text())
    assert sorted(vocab.values()) == subset.ids.tolist()
    assert vocab["Ġthe"] == tokenizer.encode_texts([" the"])[0][0]
    table = catalog.load("english_tokens")
    assert len(table) == 151_669
    assert table[["why_ascii", "why_letters", "why_english"]].notna().all().all()


def test_words_and_answers_need_no_token_outside_english(results, words):
    coverage = {(row["corpus"], row["rule"]): row for row in results[0].load("subset_coverage")["coverage"]}
    assert coverage["words", "english"]["missing"] == 0
    assert coverage["answers", "english"]["missing"] == 0
    assert coverage["random strings", "english"]["texts"] == (words["word_set"] == "random").sum() > 0
    assert coverage["prompts", "letters"]["lost_texts_share"] == 1
    assert 0 < coverage["English text", "english"]["lost_texts_share"] < 1


def test_random_strings_are_no_words(results, words):
    table = results[0].load("word_tokens")
    assert table["word"].nunique() == (words["word_set"] != "random").sum()
    assert results[0].load("word_stats")["words"] == table["word"].nunique()


def test_the_project_puts_every_word_after_a_space_or_at_the_start(results):
    templates = results[0].load("word_stats")["templates"]
    assert templates
    for row in templates:
        assert row["spaced_share"] + row["bare_share"] >= 1, row


def test_savings_are_computed_for_the_model_in_use_and_the_published_one(results):
    rows = results[0].load("subset_coverage")["savings"]
    assert {row["model"] for row in rows} == {"tiny", "Qwen/Qwen3-4B"}
    assert all(row["rows"] == 151_936 for row in rows)  # a trimmed model is compared with what it was cut from


def test_another_tokenizer_is_measured_by_itself_and_not_by_the_published_model(own_chat, inputs, results, tmp_path):
    tokenizer, saving = own_chat(), inputs["params:vocabulary_savings"]
    vocabulary, stats = nodes.describe_vocabulary(tokenizer, saving)
    assert (stats["embedding_rows"], stats["rows_without_token"]) == (len(vocabulary), 0)
    words = pd.DataFrame({"word": ["straw"], "word_set": "word"})
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 300, **shape}))
    found = nodes.measure_coverage(
        english_tokens=nodes.find_english_tokens(vocabulary, words, tokenizer, inputs["params:token_rules"])[0],
        word_tokens=pd.DataFrame({"ids": tokenizer.encode_texts(["straw"])}),
        words=words,
        encoded_examples=pd.DataFrame({"input_ids": [[97, 98]], "label_start": [1]}),
        english_text="Straw.",
        tokenizer=tokenizer,
        base_model=ModelFolder(tmp_path),
        model_profile=ModelProfile(name="mine"),
        settings=inputs["params:subset_coverage"],
        saving=saving,
    )
    assert {(row["model"], row["rows"]) for row in found["savings"]} == {("mine", 300)}
    cost = nodes.compare_template_cost(tokenizer, pd.DataFrame({"question": ["a"]}), inputs["params:template_cost"])
    (section,) = _template(TokenFindings({}, [], {}, {}, cost, {}, {}))
    assert "The prompts are the same: this template has one mode." in section.text
    catalog = results[0]
    made = {"template_cost": cost, "subset_coverage": {**catalog.load("subset_coverage"), "savings": found["savings"]}}
    made["vocabulary_stats"] = {**catalog.load("vocabulary_stats"), "tokenizer": stats["tokenizer"]}
    (node,) = create_pipeline().only_nodes("token_analysis.report.report_tokens").nodes
    given = {each: made[each] if each in made else catalog.load(each) for each in node.inputs}
    document = " ".join(node.run(given)["token_findings"].split())
    assert "This template has one mode. The cost of thinking itself" in document
    assert "trimmed to the subset, mine would need" in document
    assert "What a tokenizer's tokens hide" in document
    assert "the smaller the model" not in document


def test_the_page_opens_without_a_network_and_is_small_enough(results):
    page = results[0].load("token_analysis_page")
    assert page.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in page
    assert "To repeat it: <code>kedro run --pipelines=token_analysis --env=standard</code>" in page
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=.(?:https?:)?//", page)
    assert len(page.encode()) < 8e6
    assert re.search(r"begins a listed word</td>(?:(?!</tr>).)*>␣", page)  # the token after a space, and no other
    assert re.search(r">code</td>(?:(?!</tr>).)*letters joined to a sign</td>", page)  # as the figure calls them
    for heading in ("Look up a word", "The English subset", "What the template costs", "What an embedding reveals"):
        assert heading in page


def test_the_search_knows_the_tokens_of_every_word_in_every_form(results, tokenizer):
    table = results[0].load("word_tokens")
    data = search_data(table)
    words = data["words"].split(" ")
    tokens = dict(enumerate(data["tokens"]))
    at = words.index("strawberry")
    bare, spaced, capitalised, plural = (
        [tokens[int(number, 36)] for number in form["tokens"].split(" ")[at].split(".")] for form in data["forms"]
    )
    assert [text for _, text in bare] == ["str", "aw", "berry"]
    assert [[text for _, text in form] for form in (spaced, capitalised, plural)] == [
        [" strawberry"], [" Strawberry"], [" strawberries"],
    ]  # fmt: skip
    assert [token_id for token_id, _ in bare] == tokenizer.encode_texts(["strawberry"])[0]
    assert data["plurals"].split(" ")[at] == "strawberries"
    assert all(len(form["tokens"].split(" ")) == len(words) for form in data["forms"])


@needs_browser
def test_words_are_looked_up_in_a_browser(results, tmp_path):
    typed = [" Together ", "strawb", "<b>x", ""]
    driver = """<pre id="seen"></pre><script>addEventListener("load", () => {
      const box = document.getElementById("word-search"), seen = document.getElementById("seen");
      for (const word of TYPED) {
        box.value = word;
        box.dispatchEvent(new Event("input"));
        const found = [document.getElementById("word-found"), ...document.querySelectorAll("#word-forms > div")];
        seen.textContent += found.map((part) => part.textContent).join(" / ") + "\\n";
      }
    });</script></body>""".replace("TYPED", json.dumps(typed).replace("<", "\\u003c"))
    dom = dom_of(results[0].load("token_analysis_page").replace("</body>", driver), tmp_path)
    known, part, unknown, nothing = re.findall(r'<pre id="seen">(.*?)\n</pre>', dom, re.DOTALL)[0].split("\n")
    bare, spaced, *_ = known.split(" / ")[1:]
    assert bare.startswith("“together”: 2 tokens")
    assert "toid " in bare
    assert "6 letters: g e t h e r" in bare
    assert spaced.startswith("“ together”: 1 token")
    assert part.startswith("not on the list; on it are strawberry")
    assert unknown.startswith("not among the 1,501 words")
    assert nothing.strip(" /") == ""


def test_the_document_holds_the_numbers_of_the_run(results):
    text = results[0].load("token_findings")
    for number in ("151,643", "150,195", "94,358", "68,923", "27,376", "41,547", "46,420", "267"):
        assert number in text
    assert "| strawberry | `str·aw·berry` | `␣strawberry` | `␣Strawberry` | `␣strawberries` |" in text
    assert "{{" not in text
    assert "leaving out those that begin with `<`" in re.sub(r"\s+", " ", text)  # 48,265 strings are ASCII with them
    # A difference of shares is in points, here and on the page.
    first = results[0].load("letter_probe")["targets"][0]
    gain = f"{100 * first['gain']:+.1f}".replace("-", "−")
    assert re.search(rf"^\| first letter \|.*\| {re.escape(gain)} \(", text, re.MULTILINE)
    assert re.search(rf">{re.escape(gain)}</td>", results[0].load("token_analysis_page"))


def test_the_document_of_the_repository_is_that_of_this_tokenizer(results):
    written = (CONF.parents[1] / "docs" / "qwen3_token_analysis.md").read_text()
    fresh = results[0].load("token_findings")
    # What depends on the words and the model apart: the vocabulary's part must be the same to the letter.
    vocabulary = re.compile(r"## The vocabulary\n.*?(?=## The English subset)", re.DOTALL)
    assert vocabulary.findall(written) == vocabulary.findall(fresh)


def test_a_second_run_gives_the_same_bytes(inputs, results, tmp_path):
    run(inputs, tmp_path)
    files = {file.relative_to(results[1]): file for file in results[1].rglob("*") if file.is_file()}
    assert len(files) >= 18
    assert [str(name) for name, file in files.items() if file.read_bytes() != (tmp_path / name).read_bytes()] == []


def test_the_probe_can_be_switched_off(inputs, results):
    catalog = results[0]
    off = inputs["params:letter_probe"].model_copy(update={"enabled": False})
    profile, folder = inputs["params:model_profile"], inputs["base_model"]
    made = {"letter_probe": nodes.probe_embedding(catalog.load("vocabulary"), folder, profile, off)}
    assert made["letter_probe"] == {}
    for name in ("plot_tokens", "report_tokens"):
        (node,) = create_pipeline().only_nodes(f"token_analysis.report.{name}").nodes
        made |= node.run({each: made[each] if each in made else catalog.load(each) for each in node.inputs})
    assert "The probe was switched off" in made["token_analysis_page"]
    assert "switched off in this run" in made["token_findings"]


def test_shipped_parameters_are_complete():
    assert set(shipped_parameters()) == set(MODELS)
    for name, value in shipped_parameters().items():
        TypeAdapter(MODELS[name]).validate_python(value)
