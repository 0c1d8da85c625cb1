"""The rules of non-thinking mode: ``conf/base/policy.yml`` as settings, read whole and checked, and its exemptions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import PolicyFileError, UncheckableError
from .findings import Finding, UsedExemption
from .trees import PairList, read_yaml

POLICY_FILE = "policy.yml"
_DEFAULT = "default_policy.yml"
UNUSED = "exemption-unused"
_MATERIAL = "test-material"

Text = Annotated[str, Field(min_length=10)]
"""A sentence, so that no rule and no exemption goes without its reason."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

Names = Annotated[tuple[str, ...], Field(min_length=1)]


def _hyphenate(name: str) -> str:
    return name.replace("_", "-")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Exemption(_Settings):
    """One place where a rule does not hold."""

    path: str = Field(min_length=1, description="File or glob below the project's root, or dataset:NAME.")
    reason: Text = Field(description="Why the rule does not hold there.")
    made_by_runs: bool = Field(False, description="Whether runs make the file, so that it may not be there.")

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
        description="The end of a non-thinking prompt, directly before the answer."
    )
    tokenizer_sha256: Annotated[tuple[Sha256, ...], Field(min_length=1)] = Field(
        description="Hashes of the tokenizer.json files in which the think tags have these ids."
    )


class Sampling(_Settings):
    """The four sampling values of deployment, always sent explicitly."""

    temperature: float = Field(ge=0, le=2, description="Softmax temperature.")
    top_p: float = Field(gt=0, le=1, description="Nucleus size as a probability.")
    top_k: int = Field(ge=0, description="Candidates kept; 0 keeps all.")
    min_p: float = Field(ge=0, le=1, description="Least probability relative to the best candidate.")


class SamplingRule(Sampling, Rule):
    """How a deployed model samples."""

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


class Policy(_Settings):
    """The whole of ``policy.yml``."""

    version: int = Field(ge=1, le=1, description="Format of the file.")
    scan: ScanSettings = Field(description="What the scanner reads.")
    rules: Rules = Field(description="The rules by id.")

    @property
    def by_id(self) -> dict[str, Rule]:
        """Every rule by its id, in the order of the file format."""
        return {_hyphenate(name): getattr(self.rules, name) for name in Rules.model_fields}

    @property
    def sampling(self) -> Sampling:
        """The sampling values that a deployed model uses: serving reads them here and nowhere else."""
        return Sampling(**self.rules.deployment_sampling.model_dump(include=set(Sampling.model_fields)))

    @property
    def think_ids(self) -> tuple[int, int]:
        """The two token ids that no answer may hold."""
        return self.rules.think_token.open_id, self.rules.think_token.close_id


# -- the file ----------------------------------------------------------------------------------------------------------


def load_policy(file: Path | None = None) -> Policy:
    """Loads the rules.

    Args:
        file: A ``policy.yml``; ``None`` takes the rules that come with the plugin.

    Raises:
        PolicyFileError: The file cannot be read, or breaks the format: an unknown key, a rule without its reason, an
            exemption without a path.
    """
    try:
        if file is None:
            name, text = _DEFAULT, resources.files(__package__).joinpath(_DEFAULT).read_text(encoding="utf-8")
        else:
            name, text = str(file), file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyFileError(f"{file}: cannot be read ({error}). The policy needs its rules to start.") from error
    return parse_policy(text, name)


def parse_policy(text: str, name: str) -> Policy:
    """Parses the text of a ``policy.yml``; ``name`` is what errors call it.

    Raises:
        PolicyFileError: The text breaks the format.
    """
    try:
        documents = [_unique(value) for value, _ in read_yaml(text)]
    except UncheckableError as error:
        raise PolicyFileError(f"{name}: {error}.") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise PolicyFileError(f"{name}: expected one mapping with 'version', 'scan' and 'rules'.")
    try:
        return Policy.model_validate(documents[0])
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}" for entry in error.errors()
        )
        raise PolicyFileError(f"{name}: {details}.") from error


def _unique(value: Any) -> Any:
    """Returns a tree with plain mappings; refuses a key that is given twice, where the second would silently win."""
    if isinstance(value, PairList):
        mapping = {key: _unique(entry) for key, entry in value}
        if len(mapping) < len(value):
            twice = next(key for key, count in Counter(key for key, _ in value).items() if count > 1)
            raise UncheckableError(f"the key {twice!r} is given twice")
        return mapping
    return [_unique(entry) for entry in value] if isinstance(value, list) else value


def find_policy_file(project_path: Path, conf_source: Path | None = None, base_env: str = "base") -> Path | None:
    """Returns the project's ``policy.yml``, or ``None`` where the rules that come with the plugin hold."""
    file = (conf_source or project_path / "conf") / base_env / POLICY_FILE
    return file if file.is_file() else None


def is_policy(data: object) -> bool:
    """Whether a mapping is a policy itself, whose lists of what is forbidden are no violation."""
    if not isinstance(data, dict) or data.keys() != Policy.model_fields.keys():
        return False
    try:
        Policy.model_validate(data)
    except ValidationError:
        return False
    return True


# -- exemptions --------------------------------------------------------------------------------------------------------


class Exemptions:
    """The exemptions of a policy, and how often each was used."""

    def __init__(self, policy: Policy) -> None:
        self._by_rule = {rule_id: rule.exemptions for rule_id, rule in policy.by_id.items()}
        self._material = policy.scan.test_material
        self._used: Counter[tuple[str, Exemption]] = Counter()

    def filter(self, findings: Iterable[Finding]) -> list[Finding]:
        """Returns the findings that no exemption lets pass."""
        left = []
        for finding in findings:
            exemption = next((e for e in self._by_rule[finding.rule] if matches(e.path, finding.path)), None)
            if exemption is None:
                left.append(finding)
            else:
                self._used[finding.rule, exemption] += 1
        return left

    def is_material(self, path: str) -> bool:
        """Returns whether a file is test material of the policy itself, which is not read."""
        entry = next((entry for entry in self._material if matches(entry.path, path)), None)
        if entry is not None:
            self._used[_MATERIAL, entry] += 1
        return entry is not None

    def used(self) -> tuple[UsedExemption, ...]:
        """Returns the exemptions that let something pass."""
        used = [UsedExemption(rule, entry.path, entry.reason, count) for (rule, entry), count in self._used.items()]
        return tuple(sorted(used, key=lambda entry: (entry.rule, entry.path)))

    def unused(self, scanned: Sequence[str], policy_path: str, *, everything: bool) -> list[Finding]:
        """Returns a finding for each exemption that is not needed.

        Args:
            scanned: The files that were read.
            policy_path: Where the exemptions are written.
            everything: Whether the whole project was read, so that a path that matches no file is wrong, too.
        """
        findings = []
        for rule_id, exemptions in (*self._by_rule.items(), (_MATERIAL, self._material)):
            for exemption in exemptions:
                if self._used[rule_id, exemption] or exemption.made_by_runs or exemption.path.startswith("dataset:"):
                    continue
                if everything or any(matches(exemption.path, path) for path in scanned):
                    message = f"the exemption of {rule_id} lets nothing pass any more"
                    findings.append(Finding(UNUSED, message, exemption.path).at(policy_path))
        return findings


def matches(pattern: str, path: str) -> bool:
    """Returns whether a path, with forward slashes, matches a glob; ``**`` stands for any number of folders."""
    names = path, path.split("#", 1)[0]  # behind it may stand a column of a table, or the rest of the name
    return any(_compile(pattern).fullmatch(name) is not None for name in names)


def matches_any(patterns: Iterable[str], path: str) -> bool:
    """Returns whether a path matches one of the globs and none of those that begin with ``!``."""
    patterns = list(patterns)
    if any(matches(pattern[1:], path) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(matches(pattern, path) for pattern in patterns if not pattern.startswith("!"))


@lru_cache(maxsize=512)
def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./"))
    signs = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    text = "".join(signs.get(part, re.escape(part)) for part in parts)
    return re.compile(text + (r".*" if pattern.endswith("/") else ""))
