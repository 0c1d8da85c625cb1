"""The rules of non-thinking mode as settings: ``conf/base/policy.yml`` is one :class:`Policy`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

Text = Annotated[str, Field(min_length=10)]
"""A sentence, so that no rule and no exemption goes without its reason."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

Names = Annotated[tuple[str, ...], Field(min_length=1)]


def _hyphenate(name: str) -> str:
    return name.replace("_", "-")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Exemption(_Settings):
    """One place where a rule does not hold."""

    path: str = Field(min_length=1, description="File or glob below the project's root, or dataset:NAME.")
    reason: Text = Field(description="Why the rule does not hold there.")

    @field_validator("path")
    @classmethod
    def _names_a_place(cls, path: str) -> str:
        if not path.strip(" */."):
            raise ValueError(f"{path!r} would exempt everything; name a file, a folder or a dataset")
        return path


class Rule(_Settings):
    """What every rule says about itself."""

    forbids: Text = Field(description="What is not allowed.")
    why: Text = Field(description="What goes wrong where it is done.")
    remedy: Text = Field(description="What to do instead.")
    check: Text = Field(description="The line of the team checklist.")
    exemptions: tuple[Exemption, ...] = Field(
        (), description="Where the rule does not hold; an unused one is an error."
    )


class SwitchRule(Rule):
    """Settings that switch thinking on."""

    must_be_false: Names = Field(description="Keys that mean nothing else: only false will do.")
    must_not_enable: Names = Field(description="Keys with other uses too: a value that switches on is refused.")
    must_not_be_false: Names = Field(description="Keys that switch thinking off: false is refused.")


class KeyRule(Rule):
    """Settings that are refused whatever they hold, unless it is empty, none or zero."""

    keys: Names = Field(description="Names of the settings.")


class CallRule(Rule):
    """Functions that render a prompt."""

    functions: Names = Field(description="Names of functions that need an explicit enable_thinking=False.")


class FlagRule(Rule):
    """Options of inference servers."""

    flags: Names = Field(description="Options as they are typed.")


class SoftSwitchRule(Rule):
    """Words in a prompt that switch thinking on."""

    switches: Names = Field(description="The words.")


class TagRule(Rule):
    """Tags that surround thoughts."""

    tags: Names = Field(description="Names of the tags, without brackets.")


class TokenRule(Rule):
    """Thoughts by token id."""

    open_id: int = Field(ge=0, description="Token that opens a thought.")
    close_id: int = Field(ge=0, description="Token that closes a thought.")
    prompt_end_ids: Annotated[tuple[int, ...], Field(min_length=1)] = Field(
        description="What stands right before the answer of a non-thinking prompt."
    )
    tokenizer_sha256: Annotated[tuple[Sha256, ...], Field(min_length=1)] = Field(
        description="Hashes of the tokenizer.json files in which the think tags have these ids."
    )


class SamplingRule(Rule):
    """How a deployed model samples."""

    temperature: float = Field(ge=0, le=2, description="Softmax temperature.")
    top_p: float = Field(gt=0, le=1, description="Nucleus size as a probability.")
    top_k: int = Field(ge=0, description="Candidates kept; 0 keeps all.")
    min_p: float = Field(ge=0, le=1, description="Least probability relative to the best candidate.")
    deployment_paths: Names = Field(description="Globs of the files that belong to deployment.")
    deployment_commands: Names = Field(description="Commands that start a server.")


class ModelRule(Rule):
    """Models that have no non-thinking mode."""

    patterns: Names = Field(description="Regular expressions over model names, in any case.")

    @field_validator("patterns")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression ({error})") from error
        return patterns


class PolicyOffRule(Rule):
    """Ways around the policy."""

    plugins: Names = Field(description="Distributions whose hooks must not be disabled.")


class Rules(BaseModel):
    """All rules, by id. None may be left out: a rule that is forgotten is not the same as one that is not needed."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=_hyphenate)

    thinking_switch: SwitchRule
    template_arguments: KeyRule
    reasoning_parser: KeyRule
    thinking_budget: KeyRule
    template_call: CallRule
    chat_template: Rule
    server_flag: FlagRule
    soft_switch: SoftSwitchRule
    think_tag: TagRule
    think_token: TokenRule
    reasoning_content: KeyRule
    deployment_sampling: SamplingRule
    thinking_only_model: ModelRule
    policy_off: PolicyOffRule


class ScanSettings(_Settings):
    """What the scanner reads."""

    max_file_megabytes: float = Field(gt=0, le=1000, description="Larger files are reported as not checked.")
    exclude: tuple[str, ...] = Field(description="Folder names that are never entered: caches and environments.")
    test_material: tuple[Exemption, ...] = Field(
        (), description="Files that break rules on purpose, to test this policy; they are not read."
    )


class Sampling(_Settings):
    """The four sampling values of deployment, always sent explicitly."""

    temperature: float = Field(description="Softmax temperature.")
    top_p: float = Field(description="Nucleus size as a probability.")
    top_k: int = Field(description="Candidates kept; 0 keeps all.")
    min_p: float = Field(description="Least probability relative to the best candidate.")


class Policy(_Settings):
    """The whole of ``policy.yml``."""

    version: int = Field(ge=1, le=1, description="Format of the file.")
    scan: ScanSettings = Field(description="What the scanner reads.")
    rules: Rules = Field(description="The rules by id.")

    @property
    def by_id(self) -> dict[str, Rule]:
        """Every rule by its id, in the order of the file format."""
        return {_hyphenate(name): getattr(self.rules, name) for name in Rules.model_fields}

    def rule(self, rule_id: str) -> Rule:
        """Returns the rule with this id.

        Raises:
            KeyError: There is no such rule.
        """
        return self.by_id[rule_id]

    @property
    def sampling(self) -> Sampling:
        """The sampling values that a deployed model uses: serving reads them here and nowhere else."""
        rule = self.rules.deployment_sampling
        return Sampling(temperature=rule.temperature, top_p=rule.top_p, top_k=rule.top_k, min_p=rule.min_p)

    @property
    def think_ids(self) -> tuple[int, int]:
        """The two token ids that no answer may hold."""
        return self.rules.think_token.open_id, self.rules.think_token.close_id
