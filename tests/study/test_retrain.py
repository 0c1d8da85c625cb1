from __future__ import annotations

from pathlib import Path

import pytest

from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.study.config import TrialConfig
from spelling_transfer.study.confirm import Retraining
from spelling_transfer.study.interfaces import Evaluation, TrialOutcome


class Material:
    """Counts what is trained; an adapter is a file with the seed in it."""

    def __init__(self, data: str = "words") -> None:
        self.data = data
        self.trained: list[int] = []
        self.breaks = False

    def identity(self) -> dict[str, str]:
        return {"training_examples": self.data}

    def open(self) -> Material:
        return self

    def train_adapter(self, config: TrialConfig, target: Path) -> tuple[ModelFolder, TrialOutcome]:
        seed = config.training.seed
        self.trained.append(seed)
        with new_folder(target, {"kind": "adapter"}) as work:
            (work / "adapter.txt").write_text(str(seed))
        if self.breaks:
            raise KeyboardInterrupt
        end = Evaluation(60, 0.5, 0.4, 0.3, (True, False, True))
        return ModelFolder(target), TrialOutcome(
            [Evaluation(30, 0.1, 0.1, 0.1, (False, False, False)), end], 0.25, 60, "complete"
        )


def config(seed: int) -> TrialConfig:
    return TrialConfig().varied({"training.seed": seed})


def test_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    material = Material()
    first, outcome = Retraining(material, tmp_path).run(config(1))
    again, found = Retraining(material, tmp_path).run(config(1))
    assert material.trained == [1]
    assert again.path == first.path
    assert (again.path / "adapter.txt").read_text() == "1"
    assert found.curve[-1] == outcome.curve[-1]
    assert (found.final_loss, found.steps, found.verdict) == (0.25, 60, "complete")


def test_another_configuration_or_other_data_is_another_run(tmp_path: Path) -> None:
    material, other = Material(), Material("other words")
    paths = {Retraining(material, tmp_path).run(config(seed))[0].path for seed in (1, 2)}
    paths.add(Retraining(other, tmp_path).run(config(1))[0].path)
    assert len(paths) == 3
    assert (material.trained, other.trained) == ([1, 2], [1])


def test_a_run_that_was_cut_short_or_altered_is_trained_again(tmp_path: Path) -> None:
    material = Material()
    material.breaks = True
    with pytest.raises(KeyboardInterrupt):
        Retraining(material, tmp_path).run(config(1))
    material.breaks = False
    adapter, _ = Retraining(material, tmp_path).run(config(1))
    assert material.trained == [1, 1]
    (adapter.path / "adapter.txt").write_text("altered")
    adapter, _ = Retraining(material, tmp_path).run(config(1))
    assert material.trained == [1, 1, 1]
    assert (adapter.path / "adapter.txt").read_text() == "1"
