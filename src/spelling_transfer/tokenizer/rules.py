"""Rules that say which tokens are in a subset of the vocabulary; kept under ``conf/<env>/study/token_analysis/``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spelling_transfer.tokenizer.vocabulary import LETTER_CASES, LetterCase, TokenClass


class TokenRule(BaseModel):
    """A rule on the decoded bytes of a token. A token is in if its class is named here and the class's bounds hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field(min_length=1)
    """What the rule keeps, in a line for people."""
    classes: tuple[TokenClass, ...] = Field(min_length=1)
    """Classes of tokens that are in."""
    letters_of_words: bool = False
    """Letters are in only if a listed word, or its plural, holds them: anywhere, or at its beginning where a space or
    a capital shows that they begin a word. Single letters are always in, as spelling needs them."""
    letter_cases: tuple[LetterCase, ...] = Field(LETTER_CASES, min_length=1)
    """How letters may be written."""
    signs: str | None = None
    """Punctuation is in only if it is made of these signs; null allows every ASCII sign."""
    max_signs: int | None = Field(None, ge=1, le=128)
    """Most signs of one punctuation token; null sets no bound."""
    max_blanks: int | None = Field(None, ge=1, le=128)
    """Most spaces or newlines in a row; null sets no bound."""
    joined_signs: str = ""
    """Letters joined to one of these signs in front (``'s``, ``(the``) are in where the letters are."""
    prompt_tokens: bool = False
    """The tokens of the prompt and the end of an answer are in."""
    also: tuple[str, ...] = ()
    """Texts of further tokens that are in, such as the one for padding."""


class TokenRules(BaseModel):
    """All rules by name, and the one that training, evaluation and serving use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: str = "english"
    """Name of the rule whose tokens are the subset in use."""
    rules: dict[str, TokenRule] = Field(min_length=1)
    """The rules by name."""

    @model_validator(mode="after")
    def _used_rule_is_known(self) -> TokenRules:
        if self.use not in self.rules:
            raise ValueError(
                f"token_rules.use: {self.use!r} is no rule; known are {', '.join(self.rules)} "
                "(conf/base/study/token_analysis/rules.yml)"
            )
        return self
