"""What ``gpu.py`` measures: which contestants take part in which part, and which of them share a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PARTS = ("correct", "train-mission", "train-32", "train-128", "train-512", "small-cards", "generate", "shapes")
QUICK_PARTS = ("correct", "train-mission", "generate")
MISSION = "8 × 4"
L4_GIB, T4_GIB = 22.0, 14.5
"""What torch finds on an L4 and a T4, whose 24 and 16 GB hold the driver's share and the error correction too."""
CONTEXT_GIB = 0.5
"""Of that, what CUDA's context and libraries take before the first tensor."""
STEPS, LONG_RUN = 12, 100
SMALL_PASSES = "ours, pass_tokens 480"
WIDER = "generate, 1,024 side by side"
"""Of the peer, beside 512: what our generator takes by itself."""
FOUR_BIT = "32 × 1, 4 bits, float16"
ONE_STEP = "one step's examples"
"""Trained on over and over: a step is then the same one however it is cut."""

ANSWERS: dict[str, dict[str, Any]] = {
    "answers": {},
    "sampled answers": {"sampled": True},
    "answers of the subset": {"subset": True},
    "sampled answers of the subset": {"sampled": True, "subset": True},
}
"""Ways of answering that are compared between a GPU and a CPU."""


@dataclass(frozen=True)
class Contestant:
    """One measurement.

    Attributes:
        part: The part it belongs to.
        contestant: Who is measured.
        setting: In what setting.
        process: Those of one name run one after another in one process, in the order of the plan.
        run: The function of ``gpu_contestants.py``.
        options: Its arguments.
        limit_s: The most seconds it may take, imports included if it is the first of its process.
        on_cpu: Whether the GPU is hidden from it.
    """

    part: str
    contestant: str
    setting: str
    process: str
    run: str
    options: dict[str, Any] = field(default_factory=dict)
    limit_s: float = 60.0
    on_cpu: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from the others."""
        return self.part, self.contestant, self.setting


def plan(parts: tuple[str, ...], *, quick: bool = False) -> list[Contestant]:
    """Returns what the parts measure, in the order in which it is run: what matters most first."""
    everything = _quick() if quick else [*_correct(), *_mission(), *_generate(), *_training(), *_small(), *_shapes()]
    return [each for each in everything if each.part in parts]


def _correct() -> list[Contestant]:
    small = {"shape": "small", "batch": 32, "accumulate": 1, "steps": 20}
    asked = {"shape": "small", "dtype": "float32", "questions": 64, "new_tokens": 8, "keep_answers": True}
    found = []

    def add(who: str, setting: str, run: str, options: dict[str, Any], *, on_cpu: bool = False) -> None:
        process = "correct-cpu" if on_cpu else "correct"
        found.append(Contestant("correct", who, setting, process, run, options, 90 if on_cpu else 60, on_cpu))

    add("float32, CPU", "32 × 1", "train_ours", {**small, "precision": "fp32"}, on_cpu=True)
    for where in ("CPU", "CUDA"):
        for who, more in ANSWERS.items():
            add(f"{who}, {where}", "64 × 8", "generate_ours", {**asked, **more}, on_cpu=where == "CPU")
    add("answers of generate, CUDA", "64 × 8", "generate_peer", asked)
    for precision, name in (("fp32", "float32"), ("bf16", "bfloat16")):
        for batch, accumulate in ((32, 1), (8, 4)):
            options = {**small, "precision": precision, "batch": batch, "accumulate": accumulate, "one_step": True}
            add(f"{name}, CUDA", f"{batch} × {accumulate}, {ONE_STEP}", "train_ours", options)
        for eager in (False, True):
            options = {**small, "precision": precision, "steps": LONG_RUN, "eager": eager}
            add(f"{name}, CUDA{', eager' if eager else ''}", "32 × 1", "train_ours", options)
    return found


def _mission() -> list[Contestant]:
    ours = {"batch": 8, "accumulate": 4, "steps": LONG_RUN}
    peer = {"batch": 8, "accumulate": 4, "steps": STEPS}
    part, liger = "train-mission", {**peer, "liger": True}
    return [
        Contestant(part, "ours", MISSION, "ours", "train_ours", ours, 100),
        Contestant(part, "TRL", MISSION, "TRL", "train_trl", peer, 75),
        Contestant(part, "Trainer", MISSION, "TRL", "train_trainer", peer, 60),
        Contestant(part, "TRL, liger", MISSION, "TRL, liger", "train_trl", liger, 60),
    ]


def _training() -> list[Contestant]:
    def options(batch: int, steps: int = STEPS, **more: Any) -> dict[str, Any]:
        return {"batch": batch, "accumulate": 1, "steps": steps, **more}

    small_passes = {"batch": 8, "accumulate": 4, "steps": 24, "pass_tokens": 480}
    return [
        Contestant("train-128", "ours", "128 × 1", "ours, large", "train_ours", options(128, 24)),
        Contestant("train-mission", SMALL_PASSES, MISSION, "ours, large", "train_ours", small_passes, 60),
        Contestant("train-128", "ours, subset", "128 × 1", "ours, large", "train_ours", options(128, 24, subset=True)),
        Contestant("train-128", "ours, liger head", "128 × 1", "ours, large", "train_ours", options(128, head="liger")),
        Contestant("train-32", "ours", "32 × 1", "ours, large", "train_ours", options(32, 24)),
        Contestant("train-512", "ours", "512 × 1", "ours, large", "train_ours", options(512, 8)),
        Contestant("train-128", "TRL", "128 × 1", "TRL", "train_trl", options(128)),
        Contestant("train-32", "TRL", "32 × 1", "TRL", "train_trl", options(32)),
        Contestant("train-32", "Trainer", "32 × 1", "TRL", "train_trainer", options(32)),
        Contestant("train-128", "TRL, liger", "128 × 1", "TRL, liger", "train_trl", options(128, liger=True)),
    ]


def _small() -> list[Contestant]:
    found = []
    for card, gib, dtype, precision in (("L4", L4_GIB, "bfloat16", "bf16"), ("T4", T4_GIB, "float16", "fp16")):
        options = {
            "batch": 32,
            "accumulate": 1,
            "steps": STEPS,
            "dtype": dtype,
            "precision": precision,
            "limit_gib": gib - CONTEXT_GIB,
        }
        found.append(Contestant("small-cards", f"{card}'s memory", f"32 × 1, {dtype}", card, "train_ours", options))
        if card == "T4":
            four_bit = {**options, "four_bit": True}
            found.append(Contestant("small-cards", "T4's memory", FOUR_BIT, card, "train_ours", four_bit, 120))
    return found


def _generate() -> list[Contestant]:
    part, short, wide = "generate", {"questions": 1_024, "new_tokens": 16}, {"questions": 512, "new_tokens": 64}
    drawn, wider = {**short, "sampled": True}, {**short, "side_by_side": 1_024}
    evaluation = {"questions": 5_000, "new_tokens": 24, "once": True}
    return [
        Contestant(part, "ours", "5,000 questions, 24 tokens", "ours, generate", "generate_ours", evaluation, 100),
        Contestant(part, "ours", "1,024 questions, 16 tokens", "ours, generate", "generate_ours", short),
        Contestant(part, "ours", "512 questions, 64 tokens", "ours, generate", "generate_ours", wide),
        Contestant(part, "ours, sampled", "1,024 questions, 16 tokens", "ours, generate", "generate_ours", drawn),
        Contestant(part, "generate", "1,024 questions, 16 tokens", "generate", "generate_peer", short, 100),
        Contestant(part, WIDER, "1,024 questions, 16 tokens", "generate", "generate_peer", wider),
        Contestant(part, "generate, sampled", "1,024 questions, 16 tokens", "generate", "generate_peer", drawn),
    ]


def _shapes() -> list[Contestant]:
    return [
        Contestant("shapes", backend, "attention, 32 rows", "generate", "attention_shapes", {"backend": backend}, 60)
        for backend in ("flash", "efficient", "cudnn")
    ]


def _quick() -> list[Contestant]:
    """A tiny model on whatever is here: shows that all runs, proves nothing."""
    tiny = {"shape": "tiny", "precision": "fp32", "steps": 3}
    asked = {"shape": "tiny", "dtype": "float32", "questions": 6, "new_tokens": 4, "side_by_side": 4}
    answers = {**asked, "keep_answers": True}
    small, accumulated = {**tiny, "batch": 4, "accumulate": 1}, {**tiny, "batch": 2, "accumulate": 2}
    cut = {**accumulated, "one_step": True}
    return [
        Contestant("correct", "float32, CPU", f"32 × 1, {ONE_STEP}", "ours", "train_ours", {**small, "one_step": True}),
        Contestant("correct", "float32, CPU", f"8 × 4, {ONE_STEP}", "ours", "train_ours", cut),
        Contestant("correct", "answers, CPU", "64 × 8", "ours", "generate_ours", answers),
        Contestant("correct", "answers of generate, CPU", "64 × 8", "ours", "generate_peer", answers),
        Contestant("train-mission", "ours", MISSION, "ours", "train_ours", accumulated),
        Contestant("generate", "ours", "1,024 questions, 16 tokens", "ours", "generate_ours", asked),
        Contestant("generate", "generate", "1,024 questions, 16 tokens", "ours", "generate_peer", asked),
        Contestant("train-mission", "TRL", MISSION, "TRL", "train_trl", accumulated),
        Contestant("train-mission", "Trainer", MISSION, "TRL", "train_trainer", accumulated),
    ]
