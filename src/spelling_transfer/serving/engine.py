"""From a request to an answer, without any HTTP or process: checks against the model, prompt, tokens, counts."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from spelling_transfer.models.attention import NotStaticError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import answer_head, drawer
from spelling_transfer.models.kept_decoder import new_decoder
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.vocabulary import ALLOWED_IDS_FILE, UnknownTokenError, Vocabulary
from spelling_transfer.serving.batch import DrawnAnswer, PreparedRequest, RunningBatch, RunningRequest
from spelling_transfer.serving.deployable import DeployableCard, DeployableError, read_card
from spelling_transfer.serving.protocol import (
    AnswerRequest,
    ChatRequest,
    CompletionRequest,
    RefusedRequestError,
    forbidden,
)
from spelling_transfer.serving.responses import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    ChoiceLogprobs,
    Stream,
    TextChoice,
    TextCompletion,
    TokenLogprob,
    Usage,
)
from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer

_HALF_CHARACTER = "\ufffd"
"""What bytes decode to that are not yet a character."""


class BaseEngine:
    """What engines have in common: from a request to the tokens of its prompt, from drawn tokens to a response.

    Attributes:
        allowed_ids: Token ids an answer may hold; ``None`` for all but the think tags.
    """

    def __init__(
        self,
        card: DeployableCard,
        tokenizer: ChatTokenizer,
        vocabulary: Vocabulary,
        allowed_ids: Sequence[int] | None,
        context_tokens: int,
    ) -> None:
        self.card = card
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.allowed_ids = allowed_ids
        self._settings = card.settings
        self._context_tokens = context_tokens

    def check_choice(self, folder: ModelFolder) -> None:
        """Checks that the deployable leaves an answer a token to choose.

        Raises:
            DeployableError: It leaves none.
        """
        if self.allowed_ids is None:
            return
        choice = set(self.allowed_ids) - {*self.tokenizer.think_ids, self.tokenizer.end_id}
        if not len(self.vocabulary.known_rows(sorted(choice))):
            raise DeployableError(
                f"{folder.path / ALLOWED_IDS_FILE}: leaves an answer no token to choose; of its "
                f"{len(self.allowed_ids)} ids the model has none that an answer may hold. Make the subset for this "
                "model's tokenizer and export again."
            )

    def prepare(self, request: AnswerRequest) -> PreparedRequest:
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
        field = request.asked_in
        prompt_ids = self._prompt_ids(request.question, field)
        if len(prompt_ids) + max_tokens > self._context_tokens:
            raise RefusedRequestError(
                400,
                "context_length_exceeded",
                f"{field}: {len(prompt_ids)} prompt tokens and {max_tokens} for the answer exceed the model's context "
                f"of {self._context_tokens} tokens. Shorten the question or lower max_tokens.",
                field,
            )
        seed = secrets.randbits(63) if request.seed is None else request.seed
        options = request.stream_options
        return PreparedRequest(
            prompt_ids,
            max_tokens,
            seed,
            n,
            return_token_ids=request.return_token_ids,
            logprobs=isinstance(request, ChatRequest) and bool(request.logprobs),
            chat=isinstance(request, ChatRequest),
            stream=bool(request.stream),
            include_usage=options is not None and options.include_usage,
        )

    def read(self, kind: str, payload: str | bytes) -> PreparedRequest:
        """Returns the request of a message from the front: ``chat``, ``text`` or ``ping``.

        Raises:
            RefusedRequestError: See `prepare`.
        """
        if kind == "ping":
            return self.ping()
        form = ChatRequest if kind == "chat" else CompletionRequest
        return self.prepare(form.model_validate_json(payload))

    def ping(self) -> PreparedRequest:
        """Returns a request for one token after a prompt without a question: the least that shows that it answers."""
        prompt_ids = [*self.tokenizer.prefix_ids, *self.tokenizer.suffix_ids]
        return PreparedRequest(prompt_ids, max_tokens=1, seed=0, n=1)

    def completion(self, one: RunningRequest) -> ChatCompletion | TextCompletion:
        """Returns the response to a request whose answers have ended."""
        request = one.request
        shown = request.prompt_ids if request.return_token_ids else None
        shared = {**self._shared(request), "usage": self._usage(one), "prompt_token_ids": shown}
        choices: list[dict[str, Any]] = [
            {
                "index": answer.index,
                "finish_reason": answer.finish_reason,
                "token_ids": answer.ids if request.return_token_ids else None,
                "logprobs": self._logprobs(answer) if request.logprobs else None,
            }
            for answer in one.answers
        ]
        texts = [self.tokenizer.decode(answer.ids) for answer in one.answers]
        if not request.chat:
            said = [TextChoice(text=text, **choice) for text, choice in zip(texts, choices, strict=True)]
            return TextCompletion(**shared, choices=said)
        messages = [AnswerMessage(content=text) for text in texts]
        pairs = zip(messages, choices, strict=True)
        return ChatCompletion(**shared, choices=[Choice(message=message, **choice) for message, choice in pairs])

    def events(self, one: RunningRequest, answer: DrawnAnswer) -> Iterator[str]:
        """Yields what a stream says after a step in which one of its answers grew or ended."""
        request = one.request
        if one.data is None:
            one.data = Stream(self._shared(request), request.chat, request.include_usage), {}
        stream, said = one.data
        begun, (n_ids, n_letters) = answer.index in said, said.get(answer.index, (0, 0))
        text = self.tokenizer.decode(answer.ids)
        whole = answer.finish_reason or not text.endswith(_HALF_CHARACTER)
        if not begun or (whole and (len(answer.ids) > n_ids or len(text) > n_letters)):
            shown = text if whole else ""
            beside: dict[str, Any] = {}
            if request.logprobs:
                beside["logprobs"] = self._logprobs(answer, n_ids).model_dump()
            if request.return_token_ids:
                beside["token_ids"] = answer.ids[n_ids:]
            yield stream.piece(answer.index, shown[n_letters:], beside, first=not begun)
            said[answer.index] = len(answer.ids), len(shown)
        if answer.finish_reason:
            yield stream.end(answer.index, answer.finish_reason)
        if one.finished and request.include_usage:
            yield stream.usage(self._usage(one))

    def _shared(self, request: PreparedRequest) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if request.chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": self.card.model,
            "system_fingerprint": self.card.fingerprint,
        }

    @staticmethod
    def _usage(one: RunningRequest) -> Usage:
        asked = len(one.request.prompt_ids)
        said = sum(len(answer.ids) + (answer.finish_reason == "stop") for answer in one.answers)
        return Usage(prompt_tokens=asked, completion_tokens=said, total_tokens=asked + said)

    def _max_tokens(self, request: AnswerRequest) -> int:
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

    def _check_sampling(self, request: AnswerRequest) -> None:
        for name, fixed in self.card.sampling.model_dump().items():
            sent = getattr(request, name)
            if sent is None or sent == fixed:
                continue
            why = f"{name}: {sent} is not allowed; this endpoint always samples with {fixed}."
            if name == "temperature" and sent == 0:
                why += (
                    " Temperature 0 would take the most likely token each time, which is how the evaluation decodes "
                    "('kedro run --pipelines=evaluation'); for an answer that can be repeated, send a seed."
                )
            message = f"{why} Leave the field out or send that value."
            raise forbidden("sampling_is_fixed", message, name, "deployment-sampling")

    def _prompt_ids(self, question: str, field: str) -> list[int]:
        limit = self._settings.max_question_characters
        if len(question) > limit:
            raise RefusedRequestError(
                400,
                "context_length_exceeded",
                f"{field}: {len(question)} characters; at most {limit} are accepted.",
                field,
            )
        (prompt_ids,) = self.tokenizer.encode_prompts([question])
        try:
            self.vocabulary.to_rows(prompt_ids)
        except UnknownTokenError as error:
            words = ", ".join(map(repr, self._unknown_words(question)))
            said = f"this model has no token for {words}" if words else "this model has no tokens for the question"
            message = f"{field}: {said}. {error}"
            raise RefusedRequestError(400, "unknown_token", message, field) from error
        return prompt_ids

    def _unknown_words(self, question: str) -> list[str]:
        """Returns the words of a question that need a token the model does not have, each once, at most five."""
        words = list(dict.fromkeys(question.split()))
        known = self.vocabulary.known_rows
        unknown = [
            word
            for word, ids in zip(words, self.tokenizer.encode_texts([f" {word}" for word in words]), strict=True)
            if len(known(ids)) < len(ids)
        ]
        return [word.strip("?!.,;:\"'") or word for word in unknown[:5]]

    def _logprobs(self, answer: DrawnAnswer, start: int = 0) -> ChoiceLogprobs:
        return ChoiceLogprobs(
            content=[
                TokenLogprob(
                    token=self.tokenizer.decode([token]), logprob=logprob, bytes=list(self.tokenizer.bytes_of(token))
                )
                for token, logprob in zip(answer.ids[start:], answer.logprobs[start:], strict=True)
            ]
        )


class AnswerEngine(BaseEngine):
    """Answers requests with one loaded model."""

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: ChatTokenizer,
        card: DeployableCard,
        allowed_ids: Sequence[int] | None,
    ) -> None:
        super().__init__(card, tokenizer, loaded.vocabulary, allowed_ids, loaded.model.config.max_position_embeddings)
        self.loaded = loaded

    @classmethod
    def load(cls, folder: ModelFolder, device: str | None = None) -> AnswerEngine:
        """Loads a deployable folder; its tokenizer is the folder's own, or the embedded one where it has none.

        Raises:
            SpellingTransferError: The folder is no deployable, or was made with another tokenizer or template.
        """
        card, tokenizer, allowed_ids = read_parts(folder)
        loaded = load_model(folder, card.profile, device=device)
        for weight in loaded.model.parameters():
            weight.data = weight.data.clone()  # a file's pages would change with the file
        engine = cls(loaded, tokenizer, card, allowed_ids)
        engine.check_choice(folder)
        return engine

    def new_batch(self) -> RunningBatch:
        """Returns an empty batch, with head, masks and slots made for the weights as they are now.

        Raises:
            DeployableError: The model computes in a way that slots do not know.
        """
        vocabulary = self.loaded.vocabulary
        end_row = int(vocabulary.to_rows([self.tokenizer.end_id])[0])
        head, _ = answer_head(self.loaded, self.tokenizer, self.allowed_ids)
        try:
            decoder = new_decoder(
                self.loaded,
                head,
                drawer(self.card.sampling),
                slots=self._settings.max_batch_size,
                new_tokens=self._settings.max_tokens_limit,
                end_row=end_row,
                prefix=vocabulary.to_rows(self.tokenizer.prefix_ids),
            )
        except NotStaticError as error:
            raise DeployableError(f"{self.card.model}: cannot be served, as {error}.") from error
        return RunningBatch(decoder, vocabulary.to_rows, vocabulary.to_ids, end_row)

    def answer(self, requests: Sequence[PreparedRequest]) -> list[ChatCompletion | TextCompletion]:
        """Answers requests side by side, in slots of their own. A sampled answer depends on its seed alone."""
        batch = self.new_batch()
        for place, request in enumerate(requests):
            batch.add(str(place), request)
        answers: dict[str, ChatCompletion | TextCompletion] = {}
        while batch.busy:
            answers |= {one.name: self.completion(one) for one, _ in batch.step() if one.finished}
        return [answers[str(place)] for place in range(len(requests))]


def read_parts(folder: ModelFolder) -> tuple[DeployableCard, ChatTokenizer, list[int] | None]:
    """Reads a deployable but for its weights: its card, its tokenizer, the token ids an answer may hold.

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
    return card, tokenizer, json.loads(allowed_file.read_text()) if allowed_file.is_file() else None
