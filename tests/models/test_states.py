"""States at the end of prompts are those of each prompt alone, and a model that gives none is named."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.states import HiddenStatesError, last_states
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.tokenizer.chat import ChatTokenizer


@pytest.fixture
def prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    return tokenizer.encode_prompts(["Spell a bad cab now.", "Spell cab.", "Spell a cab.", "Spell bad."])


def test_states_are_those_of_each_prompt_alone(loaded: LoadedModel, prompts: list[list[int]]) -> None:
    done: list[int] = []
    states = last_states(loaded, prompts, progress=done.append)
    assert states.shape == (3, 4, 32)
    assert sum(done) == 4
    for place, prompt in enumerate(prompts):
        ids = torch.from_numpy(loaded.vocabulary.to_rows(prompt))[None]
        with torch.inference_mode():
            out = loaded.backbone(input_ids=ids)
        np.testing.assert_allclose(states[-1, place], out.last_hidden_state[0, -1], atol=1e-5)
        np.testing.assert_array_equal(states[0, place], loaded.backbone.get_input_embeddings()(ids)[0, -1].detach())
        np.testing.assert_allclose(states[:, place], last_states(loaded, [prompt])[:, 0], atol=1e-5)


def test_a_damaged_model_is_named_with_its_layer(loaded: LoadedModel, prompts: list[list[int]]) -> None:
    with torch.no_grad():
        loaded.backbone.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(HiddenStatesError, match=r"layer 2 hold numbers that are not finite.*model_profile.dtype"):
        last_states(loaded, prompts)


def test_a_model_without_hidden_states_is_named() -> None:
    class Silent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Embedding(9, 2)
            self.model.forward = lambda input_ids, **_: SimpleNamespace(last_hidden_state=input_ids)

    with pytest.raises(HiddenStatesError, match=r"Embedding gives no hidden states.*evaluation.layer_probes.enabled"):
        last_states(LoadedModel(Silent(), Vocabulary(None, 9)), [[1, 2]])
