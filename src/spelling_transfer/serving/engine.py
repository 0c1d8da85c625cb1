"""From a request to an answer, without any HTTP: checks against the model, prompt, generation, counts."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from spelling_transfer.models.export import ALLOWED_IDS_FILE
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.vocabulary import UnknownTokenError
from spelling_transfer.serving.deployable import DeployableCard, DeployableError, read_card
from spelling_transfer.serving.protocol import (
    AnswerMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    ChoiceLogprobs,
    RefusedRequestError,
    TokenLogprob,
    Usage,
    forbidden,
)
from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer


@dataclass(frozen=True)
class PreparedRequest:
    """A request that was found fit, with everything generation needs.

    Choice *i* of ``n`` is drawn with the seed ``seed + i``: it is the answer to a request with that seed.
    """

    prompt_ids: list[int]
    max_tokens: int
    seed: int
    n: int
    return_token_ids: bool
    logprobs: bool = False


class AnswerEngine:
    """Answers requests with one loaded model."""

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: ChatTokenizer,
        card: DeployableCard,
        allowed_ids: Sequence[int] | None,
    ) -> None:
        self.card = card
        self.loaded = loaded
        self.tokenizer = tokenizer
        self._settings = card.settings
        self.allowed_ids = allowed_ids
        self._context_tokens = int(loaded.model.config.max_position_embeddings)

    @classmethod
    def load(cls, folder: ModelFolder, device: str | None = None) -> AnswerEngine:
        """Loads a deployable folder; its tokenizer is the folder's own, or the embedded one where it has none.

        Raises:
            SpellingTransferError: The folder is no deployable, or was made with another tokenizer or template.
        """
        card = read_card(folder)
        own = folder.path if (folder.path / "tokenizer.json").is_file() else None
        manifest = folder.manifest()
        tokenizer = load_chat_tokenizer(own)
        for what, found in (("tokenizer", tokenizer.sha256), ("template", tokenizer.template_sha256)):
            trained_with = manifest[f"{what}_sha256"]
            if found != trained_with:
                raise DeployableError(
                    f"{folder.path}: the {what} is not the one the model was trained with (sha256 {found[:12]}…, "
                    f"the manifest says {trained_with[:12]}…). Export the model again."
                )
        allowed_file = folder.path / ALLOWED_IDS_FILE
        allowed_ids = json.loads(allowed_file.read_text()) if allowed_file.is_file() else None
        loaded = load_model(folder, card.profile, device=device)
        if allowed_ids is not None:
            choice = set(allowed_ids) - {*tokenizer.think_ids, tokenizer.end_id}
            if not len(loaded.vocabulary.known_rows(sorted(choice))):
                raise DeployableError(
                    f"{allowed_file}: leaves an answer no token to choose; of its {len(allowed_ids)} ids the model has "
                    "none that an answer may hold. Make the subset for this model's tokenizer and export again."
                )
        return cls(loaded, tokenizer, card, allowed_ids)

    def prepare(self, request: ChatRequest) -> PreparedRequest:
        """Checks what depends on the model and its settings, and renders the prompt.

        Raises:
            RefusedRequestError: The request asks for another model, other sampling values or too long an answer,
                holds too long a question, or uses a token that a trimmed model does not have.
        """
        if request.model != self.card.model:
            raise RefusedRequestError(
                404,
                "model_not_found",
                f"model: {request.model!r} is not served here; send {self.card.model!r}.",
                "model",
            )
        max_tokens = self._max_tokens(request)
        n = request.n or 1
        if n > self._settings.max_choices:
            raise RefusedRequestError(
                400, "invalid_value", f"n: {n} is outside 1 to {self._settings.max_choices}.", "n"
            )
        self._check_sampling(request)
        prompt_ids = self._prompt_ids(request.question)
        if len(prompt_ids) + max_tokens > self._context_tokens:
            raise RefusedRequestError(
                400,
                "context_length_exceeded",
                f"messages: {len(prompt_ids)} prompt tokens and {max_tokens} for the answer exceed the model's context "
                f"of {self._context_tokens} tokens. Shorten the question or lower max_tokens.",
                "messages",
            )
        seed = secrets.randbits(63) if request.seed is None else request.seed
        return PreparedRequest(
            prompt_ids, max_tokens, seed, n, request.return_token_ids, logprobs=bool(request.logprobs)
        )

    def ping(self) -> PreparedRequest:
        """Returns a request for one token after a prompt without a question: the least that shows that it answers."""
        prompt_ids = [*self.tokenizer.prefix_ids, *self.tokenizer.suffix_ids]
        return PreparedRequest(prompt_ids, max_tokens=1, seed=0, n=1, return_token_ids=False)

    def answer(self, requests: Sequence[PreparedRequest]) -> list[ChatCompletion]:
        """Answers requests side by side. A sampled answer depends on its seed, not on its neighbours."""
        rows = [(request, i) for request in requests for i in range(request.n)]
        answers = iter(
            generate_answers(
                self.loaded,
                self.tokenizer,
                [request.prompt_ids for request, _ in rows],
                max_new_tokens=max(request.max_tokens for request in requests),
                sampling=self.card.sampling,
                seeds=[request.seed + i for request, i in rows],
                batch_size=min(len(rows), self._settings.max_batch_size),
                allowed_ids=self.allowed_ids,
            )
        )
        return [self._completion(request, [next(answers) for _ in range(request.n)]) for request in requests]

    def _completion(self, request: PreparedRequest, answers: Sequence[list[int]]) -> ChatCompletion:
        # A batch runs as long as its longest request, so each answer is cut to its own length. Without an end token
        # among the first max_tokens the answer did not end by itself.
        stopped = [len(ids) < request.max_tokens for ids in answers]
        answers = [ids[: request.max_tokens] for ids in answers]
        n_generated = sum(map(len, answers)) + sum(stopped)
        return ChatCompletion(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(time.time()),
            model=self.card.model,
            system_fingerprint=self.card.fingerprint,
            choices=[
                Choice(
                    index=i,
                    message=AnswerMessage(content=self.tokenizer.decode(ids)),
                    finish_reason="stop" if ended else "length",
                    logprobs=self._logprobs(request.prompt_ids, ids) if request.logprobs else None,
                    token_ids=ids if request.return_token_ids else None,
                )
                for i, (ids, ended) in enumerate(zip(answers, stopped, strict=True))
            ],
            usage=Usage(
                prompt_tokens=len(request.prompt_ids),
                completion_tokens=n_generated,
                total_tokens=len(request.prompt_ids) + n_generated,
            ),
            prompt_token_ids=request.prompt_ids if request.return_token_ids else None,
        )

    def _max_tokens(self, request: ChatRequest) -> int:
        limit = self._settings.max_tokens_limit
        given = {
            name: value
            for name in ("max_tokens", "max_completion_tokens")
            if (value := getattr(request, name)) is not None
        }
        if len(set(given.values())) > 1:
            raise RefusedRequestError(
                400, "invalid_value", "max_tokens and max_completion_tokens differ; send one of them.", "max_tokens"
            )
        for name, value in given.items():
            if not 1 <= value <= limit:
                raise RefusedRequestError(400, "invalid_value", f"{name}: {value} is outside 1 to {limit}.", name)
            return int(value)
        return self._settings.default_max_tokens

    def _check_sampling(self, request: ChatRequest) -> None:
        for name, fixed in self.card.sampling.model_dump().items():
            sent = getattr(request, name)
            if sent is None or sent == fixed:
                continue
            why = f"{name}: {sent} is not allowed; this endpoint always samples with {fixed}."
            if name == "temperature" and sent == 0:
                why += (
                    " Temperature 0 would take the most likely token each time, which is how the evaluation asks "
                    "('kedro run --pipelines=evaluation'); for an answer that can be repeated, send a seed."
                )
            message = f"{why} Leave the field out or send that value."
            raise forbidden("sampling_is_fixed", message, name, "deployment-sampling")

    def _prompt_ids(self, question: str) -> list[int]:
        limit = self._settings.max_question_characters
        if len(question) > limit:
            raise RefusedRequestError(
                400,
                "context_length_exceeded",
                f"messages[0].content: {len(question)} characters; at most {limit} are accepted.",
                "messages[0].content",
            )
        (prompt_ids,) = self.tokenizer.encode_prompts([question])
        try:
            self.loaded.vocabulary.to_rows(prompt_ids)
        except UnknownTokenError as error:
            field, words = "messages[0].content", ", ".join(map(repr, self._unknown_words(question)))
            said = f"this model has no token for {words}" if words else "this model has no tokens for the question"
            message = f"{field}: {said}. {error}"
            raise RefusedRequestError(400, "unknown_token", message, field) from error
        return prompt_ids

    def _unknown_words(self, question: str) -> list[str]:
        """Returns the words of a question that need a token the model does not have, each once, at most five."""
        words = list(dict.fromkeys(question.split()))
        known = self.loaded.vocabulary.known_rows
        unknown = [
            word
            for word, ids in zip(words, self.tokenizer.encode_texts([f" {word}" for word in words]), strict=True)
            if len(known(ids)) < len(ids)
        ]
        return [word.strip("?!.,;:\"'") or word for word in unknown[:5]]

    def _logprobs(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> ChoiceLogprobs:
        import torch

        if not ids:
            return ChoiceLogprobs(content=[])
        vocabulary = self.loaded.vocabulary
        text = torch.from_numpy(vocabulary.to_rows([*prompt_ids, *ids])).long().to(self.loaded.device)
        with torch.inference_mode():
            logits = self.loaded.model(input_ids=text[None, :-1], use_cache=False).logits[0, len(prompt_ids) - 1 :]
            forbidden_rows = torch.ones(logits.shape[-1], dtype=torch.bool)
            if self.allowed_ids is None:
                forbidden_rows[:] = False
            else:
                forbidden_rows[vocabulary.known_rows([*self.allowed_ids, self.tokenizer.end_id])] = False
            forbidden_rows[vocabulary.known_rows(self.tokenizer.think_ids)] = True
            logits = logits.double().cpu().masked_fill(forbidden_rows, -torch.inf)
            chosen = logits.log_softmax(-1).gather(-1, text[len(prompt_ids) :, None].cpu())[:, 0].tolist()
        tokens = [self.tokenizer.decode([token]) for token in ids]
        return ChoiceLogprobs(
            content=[
                TokenLogprob(token=token, logprob=logprob, bytes=list(token.encode()))
                for token, logprob in zip(tokens, chosen, strict=True)
            ]
        )
