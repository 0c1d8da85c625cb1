"""The model card of an export: what it is, what it scores, how to ask it, what to open each form with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.profile import ModelProfile

_ARMS = {"base": "before training", "spelling": "this model"}
_OPEN = {
    "merged": (
        "base and adapter merged, as safetensors, for transformers, vLLM, lm-eval and mlx-lm",
        'AutoModelForCausalLM.from_pretrained("merged"), AutoTokenizer.from_pretrained("merged")',
    ),
    "trimmed": (
        "the same with only the tokens of the English subset; other text is split into smaller tokens",
        'AutoModelForCausalLM.from_pretrained("trimmed"), AutoTokenizer.from_pretrained("trimmed")',
    ),
    "adapter": ("the LoRA adapter, for PEFT", ""),
    "base": ("the base model of the adapter, which is not on the hub", 'AutoModelForCausalLM.from_pretrained("base")'),
    "gguf": ("for llama.cpp and Ollama, in the type of the weights", "ollama create NAME -f gguf/Modelfile"),
}


def model_card(
    profile: ModelProfile,
    sampling: Sampling,
    forms: Sequence[str],
    *,
    fingerprint: str,
    seed: int | None,
    scores: pd.DataFrame | None,
    verdict: Mapping[str, Any] | None,
    conformance: Mapping[str, Any] | None,
) -> str:
    """Returns the card as Markdown, with the head that model hubs read.

    Args:
        profile: The base model's profile.
        sampling: The only way to sample.
        forms: What the export holds.
        fingerprint: Of the deployable.
        seed: That the adapter was trained with: other seeds of its arm are other models. All of them if not known.
        scores: Of the evaluation, as the dataset ``scores`` holds them; ``None`` where it was never evaluated.
        verdict: The answer of the study, as the dataset ``verdict`` holds it.
        conformance: What the deployment check found.
    """
    rows = [] if scores is None else _scores(scores, seed)
    # Both are of one evaluation, and the verdict says at which level.
    interval = f"{verdict['confidence']:.0%} interval" if verdict else "interval"
    base = profile.hub_id or profile.name
    head: dict[str, Any] = {
        "license": profile.licence or "unknown",
        "language": "en",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["spelling", "lora", "non-thinking"],
    }
    if profile.hub_id:
        head |= {"base_model": profile.hub_id, "base_model_relation": "finetune"}
    if found := [_result(row, interval) for row in rows if row["arm"] == "spelling"]:
        head["model-index"] = [{"name": f"{profile.name}-spelling", "results": found}]
    opened = [f"| `{form}` | {_OPEN[form][0]} | `{_how(form, profile.hub_id or 'base')}` |" for form in forms]
    values = ", ".join(f"{name} {value:g}" for name, value in sampling.model_dump().items())
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        f"# {profile.name}, taught to spell",
        f"{base} with a LoRA adapter that was trained on spelling words letter by letter, to find out whether that "
        "also teaches where letters stand and how many there are. It answers short questions about the letters of "
        f"English words. The deployable it was made from has the fingerprint `{fingerprint}`.",
        "## Scores",
        *_score_lines(rows, interval),
        _answer_line(verdict),
        "## How to prompt it",
        f"One question in one turn, in non-thinking mode; the chat templates here render no other prompt. Sampling: "
        f"{values}. The scores were measured with greedy decoding.",
        "`generation_config.json` has these values, and masks think tags in transformers. Other tools have no such "
        "mask; this project's own endpoint (`kedro serve`) enforces it, and the English subset.",
        "## What is here",
        "| folder | what | open it |\n|---|---|---|\n" + "\n".join(opened),
        "`policy_report.json` lists what was checked for non-thinking mode; verify `SHA256SUMS` with "
        "`sha256sum -c SHA256SUMS`." + _conformance_line(conformance),
    ]
    return "\n\n".join(lines) + "\n"


def _how(form: str, base: str) -> str:
    if form == "adapter":
        return f'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "adapter")'
    return _OPEN[form][1]


def _scores(scores: pd.DataFrame, seed: int | None) -> list[dict[str, Any]]:
    wanted = scores[(scores["group"] == "all") & scores["arm"].isin(_ARMS)]
    if seed is not None:
        wanted = wanted[(wanted["arm"] == "base") | (wanted["seed"] == seed)]
    return [{str(name): value for name, value in row.items()} for row in wanted.to_dict("records")]


def _score_lines(rows: Sequence[Mapping[str, Any]], interval: str) -> list[str]:
    if not rows:
        return ["Not evaluated."]
    table = [
        f"| {row['task']} | {_ARMS[row['arm']]} | {row['exact_match']:.1%} | {row['low']:.1%} to {row['high']:.1%} | "
        f"{int(row['n'])} | {row['seed'] if row['seed'] >= 0 else ''} |"
        for row in sorted(rows, key=lambda row: str(row["task"]))
    ]
    return [
        "Exact match on held-out word families, greedy.",
        f"| task | model | exact | {interval} | questions | seed |\n|---|---|---:|---:|---:|---:|\n" + "\n".join(table),
    ]


def _answer_line(verdict: Mapping[str, Any] | None) -> str:
    question = "Does training on spelling alone carry over to position and count?"
    return f"{question} The study's answer: **{verdict['answer'] if verdict else 'not evaluated'}**."


def _result(row: Mapping[str, Any], interval: str) -> dict[str, Any]:
    about = f"{interval} {row['low']:.4f} to {row['high']:.4f}, {int(row['n'])} questions"
    return {
        "task": {"type": "text-generation", "name": str(row["task"])},
        "dataset": {"type": "spelling-transfer", "name": "held-out word families"},
        "metrics": [
            {"type": "exact_match", "name": f"exact match ({about})", "value": round(float(row["exact_match"]), 4)}
        ],
    }


def _conformance_line(conformance: Mapping[str, Any] | None) -> str:
    if conformance is None:
        return " Its endpoint was not checked."
    return (
        f" Its endpoint passed {conformance['n_checks'] - conformance['n_failed']} of {conformance['n_checks']} checks "
        "(`conformance.json`)."
    )
