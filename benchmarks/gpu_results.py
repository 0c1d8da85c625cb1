"""Rows with ratios and goals from what each contestant of ``gpu.py`` measured, and what changed since another run."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmark_table import in_lines, row
from gpu_plan import ANSWERS, FOUR_BIT, L4_GIB, LONG_RUN, MISSION, ONE_STEP, SMALL_PASSES, T4_GIB, WIDER

Detail = dict[str, Any]
Rows = list[dict[str, Any]]

GOAL_MISSION, GOAL_128, GOAL_WALL, GOAL_STALL, GOAL_MEMORY = 12, 1.7, 3, 3, 1
GOAL_GENERATE, GOAL_TOKENS, GOAL_EVALUATION_S = 3, 25_000, 30
CHANGED = 0.05
COMPARED = (
    "examples_per_second",
    "median_ms",
    "start_up_s",
    "peak_gb",
    "seconds",
    "first_s",
    "tokens_per_second",
    "decode_tokens_per_second",
)
"""The figures that `changes` looks at."""
_MORE_IS_BETTER = ("_per_second",)
_SHORT, _WIDE, _EVALUATION = "1,024 questions, 16 tokens", "512 questions, 64 tokens", "5,000 questions, 24 tokens"


class Results:
    """What was measured, by part, contestant and setting."""

    def __init__(self, details: list[Detail]) -> None:
        self._found = {(each["part"], each["contestant"], each["setting"]): each for each in details}

    def get(self, part: str, contestant: str, setting: str) -> Detail | None:
        """Returns what was measured, or ``None``."""
        return self._found.get((part, contestant, setting))

    def figure(self, part: str, contestant: str, setting: str, name: str) -> float | None:
        """Returns one figure, or ``None``."""
        return (self.get(part, contestant, setting) or {}).get(name)


def make_rows(details: list[Detail]) -> Rows:
    """Returns a row for each comparison of which our side was measured; without the peer's it has no ratio."""
    results = Results(details)
    return [*_training(results), *_steadiness(results), *_small(results), *_generation(results), *_correct(results)]


def _training(results: Results) -> Rows:
    rows: Rows = []
    for part, setting, peers in (
        ("train-mission", MISSION, {"TRL": GOAL_MISSION, "TRL, liger": None, "Trainer": None}),
        ("train-32", "32 × 1", {"TRL": None, "Trainer": None}),
        ("train-128", "128 × 1", {"TRL": GOAL_128, "TRL, liger": None}),
        ("train-512", "512 × 1", {}),
    ):
        ours = results.get(part, "ours", setting)
        if ours is None:
            continue
        what = f"training, {setting}"
        if not peers:
            rows.append(row(what, ours["examples_per_second"], unit="examples/s"))
            rows.append(row(f"{what}: peak memory", ours["peak_gb"], unit="GB"))
        for peer, goal in peers.items():
            speed = results.figure(part, peer, setting, "examples_per_second")
            rows.append(row(what, ours["examples_per_second"], speed, peer, "examples/s", goal=goal, more=True))
            peak = results.figure(part, peer, setting, "peak_gb")
            goal = GOAL_MEMORY if peer == "TRL" else None
            rows.append(row(f"{what}: peak memory", ours["peak_gb"], peak, peer, "GB", goal=goal))
    if small := results.get("train-mission", SMALL_PASSES, MISSION):
        what, trl = f"training, {MISSION}, pass_tokens 480", results.get("train-mission", "TRL", MISSION) or {}
        speed, peak = (trl.get(name) for name in ("examples_per_second", "peak_gb"))
        rows.append(row(what, small["examples_per_second"], speed, "TRL", "examples/s", goal=GOAL_MISSION, more=True))
        rows.append(row(f"{what}: peak memory", small["peak_gb"], peak, "TRL", "GB", goal=GOAL_MEMORY))
    for variant in ("subset", "liger head"):
        if found := results.get("train-128", f"ours, {variant}", "128 × 1"):
            rows.append(row(f"training, 128 × 1, {variant}", found["examples_per_second"], unit="examples/s"))
    return rows


def _steadiness(results: Results) -> Rows:
    rows: Rows = []
    if ours := results.get("train-mission", "ours", MISSION):
        theirs = results.get("train-mission", "TRL", MISSION)
        seconds = hundred_steps_s(theirs) if theirs else None
        name = "TRL, extrapolated from its median" if theirs else None
        what = f"training, {MISSION}: start-up and {LONG_RUN} steps"
        rows.append(row(what, hundred_steps_s(ours), seconds, name, "s", goal=GOAL_WALL))
        what = f"training, {MISSION}: slowest step after the third"
        if slowest := slowest_in_medians(ours):
            rows.append(row(what, slowest, unit="medians", goal=GOAL_STALL))
    return rows


def hundred_steps_s(detail: Detail) -> float:
    """Returns the seconds from the start of the process until so many steps are done.

    Measured where so many were; else the start-up (the first step is in it) and the median for each other step, which
    leaves out the stalls of the others.
    """
    steps = detail["steps_ms"]
    if len(steps) >= LONG_RUN:
        return round(float(detail["start_up_s"]) + sum(steps[1:LONG_RUN]) / 1e3, 2)
    return round(float(detail["start_up_s"]) + (LONG_RUN - 1) * detail["median_ms"] / 1e3, 2)


def slowest_in_medians(detail: Detail) -> float:
    """Returns the slowest step after the third as a multiple of the median; 0 where there were no more than three."""
    late = detail["steps_ms"][3:]
    return round(max(late) / statistics.median(late), 2) if late else 0.0


def _small(results: Results) -> Rows:
    rows: Rows = []
    for card, gib, setting in (
        ("L4", L4_GIB, "32 × 1, bfloat16"),
        ("T4", T4_GIB, "32 × 1, float16"),
        ("T4", T4_GIB, FOUR_BIT),
    ):
        if found := results.get("small-cards", f"{card}'s memory", setting):
            what, limit = f"training, {setting}, in the memory of a {card}", round(gib * 2**30 / 1e9, 1)
            rows.append(row(what, found["examples_per_second"], unit="examples/s"))
            rows.append(row(f"{what}: reserved", found["reserved_gb"], unit="GB", goal=limit))
    return rows


def _generation(results: Results) -> Rows:
    rows: Rows = []
    for ours_name, peer, goal in (
        ("ours", "generate", GOAL_GENERATE),
        ("ours", WIDER, GOAL_GENERATE),
        ("ours, sampled", "generate, sampled", None),
    ):
        if ours := results.get("generate", ours_name, _SHORT):
            drawn = ", sampled" if "sampled" in ours_name else ""
            for name, what in (("tokens_per_second", "whole calls"), ("decode_tokens_per_second", "decoding alone")):
                speed = results.figure("generate", peer, _SHORT, name)
                target = goal if name == "tokens_per_second" else None
                label = f"generation{drawn}, {_SHORT}: {what}"
                peer_name = WIDER if peer == WIDER else "generate"
                rows.append(row(label, ours[name], speed, peer_name, "tokens/s", goal=target, more=True))
    if wide := results.get("generate", "ours", _WIDE):
        rows.append(row(f"generation, {_WIDE}", wide["tokens_per_second"], unit="tokens/s", goal=GOAL_TOKENS))
        alone = wide["decode_tokens_per_second"]
        rows.append(row(f"generation, {_WIDE}: decoding alone", alone, unit="tokens/s"))
    if evaluation := results.get("generate", "ours", _EVALUATION):
        what = f"generation, {_EVALUATION}, first call"
        rows.append(row(what, evaluation["seconds"], unit="s", goal=GOAL_EVALUATION_S))
    return rows


def _correct(results: Results) -> Rows:
    rows: Rows = []
    for one, other in (
        (("float32, CUDA", "32 × 1"), ("float32, CPU", "32 × 1")),
        (("bfloat16, CUDA", "32 × 1"), ("float32, CPU", "32 × 1")),
        (("float32, CPU", f"8 × 4, {ONE_STEP}"), ("float32, CPU", f"32 × 1, {ONE_STEP}")),
        (("float32, CUDA", f"8 × 4, {ONE_STEP}"), ("float32, CUDA", f"32 × 1, {ONE_STEP}")),
        (("bfloat16, CUDA", f"8 × 4, {ONE_STEP}"), ("bfloat16, CUDA", f"32 × 1, {ONE_STEP}")),
        (("float32, CUDA", "32 × 1"), ("float32, CUDA, eager", "32 × 1")),
        (("bfloat16, CUDA", "32 × 1"), ("bfloat16, CUDA, eager", "32 × 1")),
    ):
        losses = [results.figure("correct", *each, "losses") for each in (one, other)]
        if losses[0] and losses[1]:
            pairs = list(zip(*losses, strict=False))
            largest = max(abs(a - b) for a, b in pairs)
            what = f"losses of {len(pairs)} steps, {', '.join(one)} and {', '.join(other)}: largest difference"
            rows.append(row(what, largest * 1e6, unit="1e-6 nats a token"))
    for one_name, other_name in (
        ("answers, CUDA", "answers of generate, CUDA"),
        ("answers, CPU", "answers of generate, CPU"),
        *((f"{who}, CUDA", f"{who}, CPU") for who in ANSWERS),
    ):
        found = [results.figure("correct", name, "64 × 8", "answers") for name in (one_name, other_name)]
        if found[0] and found[1]:
            same = statistics.mean(a == b for a, b in zip(*found, strict=True))
            rows.append(row(f"{one_name} and {other_name}: equal", same, unit="share"))
    return rows


def changes(details: list[Detail], before: list[Detail]) -> list[str]:
    """Returns a line for each figure that differs by more than 5% from an earlier run's."""
    earlier, lines = Results(before), []
    for detail in details:
        key = (detail["part"], detail["contestant"], detail["setting"])
        for name in COMPARED:
            now, then = detail.get(name), earlier.figure(*key, name)
            if not now or not then:
                continue
            change = now / then - 1
            if abs(change) > CHANGED:
                better = (change > 0) == name.endswith(_MORE_IS_BETTER)
                word = "better" if better else "worse"
                lines.append(f"{', '.join(key)}: {name} {then:g} → {now:g} ({change:+.0%}, {word})")
    return lines


def read_results(file: Path) -> dict[str, Any]:
    """Reads what ``gpu.py`` wrote; an empty result where there is no file."""
    if not file.is_file():
        return {"rows": [], "details": [], "failures": [], "not_measured": [], "versions": {}}
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def write_results(file: Path, results: dict[str, Any]) -> None:
    """Writes results, the rows made anew, in one move: a run that is ended leaves a whole file."""
    results["rows"] = make_rows(results["details"])
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.part")
    beside.write_text(in_lines(results))
    beside.replace(file)
