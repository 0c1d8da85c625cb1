"""The results of a run, and a catalog on disk for them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset

from spelling_transfer.storage import CSVDataset, JSONDataset, ParquetDataset, PlotlyDataset, TextDataset

PARAMETERS: dict[str, Any] = {
    "model_profile": {"name": "tiny-qwen3"},
    "evaluation": {"confidence": 0.95},
    "study": {"focus": "balanced"},
}


def _change(task: str, before: float, after: float, low: float, high: float, **other: Any) -> dict[str, Any]:
    verdict = "up" if low > 0 else "down" if high < 0 else "unclear"
    row = {
        "measure": "exact_match", "task": task, "group": "all", "value": "all", "reference": "base",
        "arm": "spelling", "n": 600, "families": 600, "reference_score": before, "arm_score": after,
        "reference_low": before - 0.04, "reference_high": before + 0.04, "arm_low": after - 0.04,
        "arm_high": after + 0.04, "difference": after - before, "low": low, "high": high, "only_reference": 20,
        "only_arm": 60, "p_value": 0.01, "p_adjusted": 0.02, "gap_closed": 0.2,
        "gap_low": 0.1, "gap_high": 0.3, "verdict": verdict,
    }  # fmt: skip
    return row | other


COMPARISON = pd.DataFrame(
    [
        _change("spelling", 0.53, 0.79, 0.22, 0.30),
        _change("position", 0.30, 0.29, -0.04, 0.02),
        _change("count", 0.57, 0.50, -0.11, -0.03),
        _change("spelling", 0.5, 0.6, 0.01, 0.2, group="word_set", value="random", n=150),
        _change("all", 0.529, 0.467, -0.109, -0.016, measure="transfer_score", group="focus", value="balanced")
        | dict.fromkeys(("only_reference", "only_arm", "p_value", "p_adjusted", "gap_closed", "gap_low", "gap_high")),
    ]
)
SCORES = pd.DataFrame(
    [
        {
            "arm": arm, "task": task, "group": group, "value": group, "n": 600, "families": 600, "exact_match": 0.5,
            "low": 0.46, "high": 0.54, "lenient": 0.5, "invalid_rate": 0.0, "majority": 0.1, "similarity": None,
        }
        for arm in ("base", "spelling")
        for task in ("spelling", "position", "count")
        for group in ("all", "difficulty")
    ]
)  # fmt: skip
TRIALS = pd.DataFrame({"number": [0, 1, 2], "lora.r": [4, 8, 16], "training.learning_rate": [1e-3, 2e-3, 3e-3]})
MANIFEST = {
    "counts": {"words_kept": 37064, "examples": {"train/real/spelling/word": 22294, "test/real/count/word": 1084}}
}
BEST = {"trial": 2, "transfer_score": 0.47, "config": {"lora": {"r": 16}, "training": {"learning_rate": 3e-3}}}
CONFORMANCE = {
    "obeys": True,
    "checks": [
        {"id": "refuses/enable-thinking", "requirement": "A request to think is refused.", "passed": True},
        {"id": "answers/no-think-token", "requirement": "No answer holds a think token.", "passed": True},
    ],
}


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """The entries of the project that a summary reads and writes, none of them there yet."""
    reporting = tmp_path / "08_reporting"
    summary = {"summary": {"heading": "Learning curves", "caption": "By step."}}
    return DataCatalog(
        {
            "parameters": MemoryDataset(PARAMETERS),
            "prep_manifest": JSONDataset(filepath=str(tmp_path / "prep_manifest.json")),
            "trials": ParquetDataset(filepath=str(tmp_path / "trials.parquet")),
            "best_config": JSONDataset(filepath=str(tmp_path / "best_config.json")),
            "scores": CSVDataset(filepath=str(reporting / "scores.csv"), save_args={"index": False}),
            "comparison": CSVDataset(filepath=str(reporting / "comparison.csv"), save_args={"index": False}),
            "conformance": JSONDataset(filepath=str(reporting / "conformance.json")),
            "tuning_curves_plot": PlotlyDataset(filepath=str(reporting / "curves.json"), metadata=summary),
            "tuning_transfer_plot": PlotlyDataset(filepath=str(reporting / "transfer.json")),
            "evaluation_page": TextDataset(filepath=str(reporting / "evaluation" / "index.html")),
            "run_summary": JSONDataset(filepath=str(reporting / "run_summary.json")),
            "summary_page": TextDataset(filepath=str(reporting / "index.html")),
        }
    )
