"""What docs/deployment.md shows is what the endpoint takes and says."""

import json
import re
from pathlib import Path

from spelling_transfer.serving.protocol import ChatRequest, CompletionRequest
from spelling_transfer.serving.settings import API_KEY_VARIABLE, API_KEYS_FILE_VARIABLE

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "deployment.md").read_text()


def test_the_example_request_is_accepted() -> None:
    (body,) = re.findall(r"-d '(\{.*\})'", DOCUMENT)
    request = ChatRequest.model_validate(json.loads(body))
    assert request.question == "How do you spell garden?"


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
