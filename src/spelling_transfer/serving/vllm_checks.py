"""What is checked of vLLM past the front, as clients cannot: its masks, and its most likely answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spelling_transfer.models.generate import generate_answers
from spelling_transfer.serving.checks import Check
from spelling_transfer.serving.reference import Reference, is_tie, masks_hold
from spelling_transfer.serving.vllm_engine import VllmEngine

_BIAS = 100.0
"""The most that vLLM adds to a logit for a request."""
_MAX_NEW_TOKENS = 24
_GREEDY = {"temperature": 0.0}  # the other three are of no effect then


def check_vllm(engine: VllmEngine, reference: Reference, questions: Sequence[str]) -> Iterator[Check]:
    """Checks a running vLLM.

    Args:
        engine: vLLM with the deployable.
        reference: Base and adapter, with which it must agree.
        questions: What is asked.

    Raises:
        VllmError: It refuses a request.
    """
    known = reference.askable(questions)
    prompt_of = dict(known)
    end_id, vocabulary = reference.tokenizer.end_id, reference.loaded.vocabulary

    def wanting(texts: Sequence[str], row: int) -> tuple[int, list[int]]:
        prompts = [prompt_of[text] for text in texts]
        n_wanted = sum(bool(each[-1][row] + _BIAS > each[-1].max() + 10.0) for each in reference.logits(prompts))
        answers = engine.ask(prompts, 1, logit_bias={str(row): _BIAS}, seed=0)
        return n_wanted, [ids[0] if ids else end_id for ids in answers]

    yield from masks_hold(reference, questions, wanting)
    # A bias that vLLM ignored would show nothing: a token that may be said has to be said then.
    allowed = next(row for row in reference.allowed.nonzero()[0].tolist() if vocabulary.to_ids([row])[0] != end_id)
    n_wanted, said = wanting([text for text, _ in known[:8]], allowed)
    yield Check(
        "mask/would-show",
        "A model that prefers an allowed token does generate it, so that these checks can fail.",
        bool(said) and n_wanted == len(said) and set(said) == set(vocabulary.to_ids([allowed]).tolist()),
        {"n_prompts": len(said), "n_wanted_it": n_wanted},
    )
    yield _check_greedy(engine, reference, [prompt for _, prompt in known])


def _check_greedy(engine: VllmEngine, reference: Reference, prompts: list[list[int]]) -> Check:
    theirs = engine.ask(prompts, _MAX_NEW_TOKENS, **_GREEDY)
    ours = generate_answers(
        reference.loaded,
        reference.tokenizer,
        prompts,
        max_new_tokens=_MAX_NEW_TOKENS,
        allowed_ids=reference.answer_ids,
    )
    reference.loaded.free_decoder()  # vLLM is on the same device
    decode = reference.tokenizer.decode
    differ = [
        {"vllm": decode(ids), "evaluation": decode(other)}
        for prompt, ids, other in zip(prompts, theirs, ours, strict=True)
        if ids != other and not is_tie(reference, prompt, ids, other)
    ]
    return Check(
        "model/same-answers",
        "With greedy decoding, vLLM answers as base and adapter do, token by token except for ties "
        f"(all but {reference.border_share:.0%}).",
        bool(prompts) and len(differ) <= reference.border_share * len(prompts),
        {"n_questions": len(prompts), "n_differ": len(differ), "differ": differ[:5]},
    )
