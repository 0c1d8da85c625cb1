"""What docs/deployment.md shows is what the endpoint takes and says."""

import json
import re
from pathlib import Path

from spelling_transfer.serving.protocol import ChatRequest, CompletionRequest
from spelling_transfer.serving.settings import API_KEY_VARIABLE, API_KEYS_FILE_VARIABLE
from spelling_transfer.tasks.registry import load_tasks

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "deployment.md").read_text()


def test_the_example_request_is_accepted() -> None:
    (body,) = re.findall(r"-d '(\{.*\})'", DOCUMENT)
    request = ChatRequest.model_validate(json.loads(body))
    assert request.question == "Spell window letter by letter."


def test_every_question_in_the_documents_has_a_wording_that_was_trained() -> None:
    templates = load_tasks()["spelling"].templates
    trained = [re.escape(each.text).replace(r"\{word\}", r"\w+") for each in templates if not each.held_out]
    asked = [
        question
        for name in ("deployment", "how_to")
        for question in re.findall(
            r'(?:"content": |ollama run speller )"([^"]+)"', (ROOT / "docs" / f"{name}.md").read_text()
        )
    ]
    assert len(asked) >= 3
    assert [each for each in asked if not re.fullmatch("|".join(trained), each)] == []


def test_every_field_and_every_code_is_documented() -> None:
    missing = [
        name for name in {**ChatRequest.model_fields, **CompletionRequest.model_fields} if f"`{name}`" not in DOCUMENT
    ]
    assert missing == []
    sources = "".join(file.read_text() for file in (ROOT / "src/spelling_transfer/serving").glob("*.py"))
    codes = set(re.findall(r'(?:Error\(|detail\()\s*\d{3},\s*"(\w+)"', sources))
    codes |= set(re.findall(r'forbidden\(\s*"(\w+)"', sources))
    codes |= set(re.findall(r'PydanticCustomError\(\s*"(\w+_(?:only|unsupported|role))"', sources))
    assert {"sampling_is_fixed", "model_not_found", "invalid_api_key", "single_turn_only"} <= codes
    assert [code for code in codes if f"`{code}`" not in DOCUMENT] == []


def test_the_name_of_the_keys_variable_is_right() -> None:
    assert f"export {API_KEY_VARIABLE}=" in DOCUMENT
    assert f"`{API_KEYS_FILE_VARIABLE}`" in DOCUMENT
