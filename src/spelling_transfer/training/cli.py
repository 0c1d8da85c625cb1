"""Training without Kedro: Lightning's own command line over this project's module and data.

``python -m spelling_transfer.training fit --help`` lists every setting; a YAML file takes them with ``--config``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.strategies import StrategyRegistry

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import sha256_of
from spelling_transfer.models.folder import ModelFolder, check_replaceable, new_folder
from spelling_transfer.models.load import load_model, pick_device
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.trainable import LoraSettings, attach_lora, save_adapter, train_all_weights
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.progress import progress_bar
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, load_chat_tokenizer
from spelling_transfer.training.callbacks import Metrics
from spelling_transfer.training.checkpoints import Checkpoints
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import AnswerData, EncodedExamples, TrainingDataError
from spelling_transfer.training.module import AnswerModule
from spelling_transfer.training.parallel import Sharded
from spelling_transfer.training.passes import Cutter
from spelling_transfer.training.preflight import check_examples, check_weights, lightning_precision
from spelling_transfer.training.run import fit, quiet, seeded

_DESCRIPTION = (
    "Trains a base model on encoded examples, without Kedro. Example: python -m spelling_transfer.training fit "
    "--model.base data/01_raw/models/tiny-qwen3 --data.encoded data/05_model_input/encoded_examples.parquet "
    "--model.training.max_steps 60 --model.training.warmup_steps 10 --out adapter"
)


class SpellingModule(AnswerModule):
    """A base model with what is trained of it, from settings alone.

    Args:
        base: Folder of the base model.
        training: Optimiser, batches, schedule.
        lora: The adapter; not used by the method ``full``.
        method: ``lora`` trains an adapter, ``full`` all weights.
        profile: How the base model is loaded.
    """

    def __init__(
        self,
        base: Path,
        training: TrainingSettings = TrainingSettings(),  # noqa: B008  (frozen, and shown by --help)
        lora: LoraSettings = LoraSettings(),  # noqa: B008
        method: Literal["lora", "full"] = "lora",
        profile: ModelProfile = ModelProfile(name="base"),  # noqa: B008
    ) -> None:
        folder = ModelFolder.open(base)
        loaded = load_model(folder, profile, device="cpu")  # Lightning moves it to where it trains
        if method == "full":
            train_all_weights(loaded)
        else:
            with seeded(training.seed, training.threads):  # the adapter starts from random numbers
                attach_lora(loaded, lora, profile.lora_targets)
        super().__init__(loaded, training)
        self.base = folder
        self.vocabulary = loaded.vocabulary
        self.lora = lora
        self.method = method

    def save(self, target: Path) -> None:
        """Writes the adapter, or the model, as a folder with its manifest."""
        notes = {"base_sha256": self.base.sha256, "training": self.settings.model_dump(mode="json")}
        if self.method == "lora":
            with new_folder(target, {"kind": "adapter", "lora": self.lora.model_dump(mode="json"), **notes}) as work:
                save_adapter(self.model, work, self.base.path.name)
            return
        with new_folder(target, {"kind": "model", **notes}) as work:
            self.model.save_pretrained(str(work), safe_serialization=True)
            for name in (TOKEN_IDS_FILE, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
                if (self.base.path / name).is_file():
                    shutil.copy(self.base.path / name, work)


class SpellingData(AnswerData):
    """Encoded examples from a file.

    Args:
        encoded: ``encoded_examples.parquet``, as ``kedro run --pipelines local_prep`` leaves it.
        split: Which of its splits to train on.
        kind: Which kind of its examples; ``real`` is the mixture, others are for other arms.
        tasks: Tasks to train on; all by default.
    """

    def __init__(self, encoded: Path, split: str = "train", kind: str = "real", tasks: list[str] | None = None) -> None:
        pl.LightningDataModule.__init__(self)  # the examples come when the model is known
        self.encoded = encoded
        self.split, self.kind, self.tasks = split, kind, tasks
        self.first_step = 0
        self.cutter, self.shapes = Cutter(), None

    def read(self, module: SpellingModule) -> None:
        """Reads the examples, and checks them against the model.

        Raises:
            TrainingDataError: The file is not there or another one, or holds nothing of what is asked for.
        """
        if not self.encoded.is_file():
            raise TrainingDataError(
                f"data.encoded: {self.encoded} does not exist. Make it with 'kedro run --pipelines local_prep'."
            )
        try:
            frame = pd.read_parquet(self.encoded)
            frame[["split", "kind", "task", "example_id", "input_ids", "label_start"]]
        except (KeyError, ValueError) as error:
            raise TrainingDataError(f"data.encoded: {self.encoded} holds no encoded examples ({error}).") from error
        for column, wanted in (("split", [self.split]), ("kind", [self.kind]), ("task", self.tasks)):
            if wanted is None:
                continue
            known = sorted(frame[column].unique())
            frame = frame[frame[column].isin(wanted)]
            if frame.empty:
                raise TrainingDataError(
                    f"data.{column}: no examples of {', '.join(wanted)} in {self.encoded}; it holds {', '.join(known)}."
                )
        self.settings = module.settings
        file = module.base.path / "tokenizer.json"
        own = file.is_file() and sha256_of(file) != QWEN3_TOKENIZER_SHA256
        end_id = load_chat_tokenizer(module.base.path if own else None).end_id
        self.examples = EncodedExamples(frame.reset_index(drop=True), module.vocabulary, end_id)
        self.row_tokens = check_examples(self.examples, module.model, module.settings, None)


class TrainingCLI(LightningCLI):
    """Lightning's command line with this project's defaults."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Returns what can be run, and which arguments of the trainer's method are not asked for."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "ckpt_path", "weights_only"}}

    def add_arguments_to_parser(self, parser: Any) -> None:
        """Adds where the result and the checkpoints go; the trainer's own settings follow the module's."""
        parser.add_argument("--out", type=Path | None, default=None, help="Folder to write what was trained to.")
        parser.add_argument(
            "--checkpoints", type=Path | None, default=None, help="Folder of this run's checkpoints; it resumes there."
        )
        parser.add_argument("--checkpoint_every", type=int, default=100, help="Steps between checkpoints.")
        parser.link_arguments("model.training.max_steps", "trainer.max_steps")
        parser.link_arguments(
            ("model.training.precision", "trainer.accelerator"), "trainer.precision", compute_fn=_precision
        )

    def fit(self, model: SpellingModule, datamodule: SpellingData, **_: Any) -> None:
        """Trains, and writes the result."""
        config = self.config["fit"]
        if config["out"]:
            check_replaceable(Path(config["out"]))
        check_weights(model.model)
        datamodule.read(model)
        folder = config["checkpoints"]
        checkpoints = Checkpoints(Path(folder), config["checkpoint_every"]) if folder else None
        with progress_bar("Training", total=model.settings.max_steps) as advance:
            result = fit(
                self.trainer, model, datamodule, progress=advance, checkpoints=checkpoints, on_metrics=_print_row
            )
        if not self.trainer.is_global_zero:
            return
        if config["out"]:
            model.save(Path(config["out"]))
            sys.stdout.write(f"Wrote {config['out']}\n")
        sys.stdout.write(f"{result.steps} steps, final loss {result.losses[-1]:.4f}\n")


def _precision(asked: Any, accelerator: Any) -> str:
    return lightning_precision(asked, accelerator if accelerator in ("cpu", "cuda", "mps") else pick_device())


def _print_row(row: Metrics) -> None:
    values = "  ".join(f"{name.removeprefix('train/')} {value:.4g}" for name, value in row.items() if name != "step")
    sys.stdout.write(f"step {row['step']:.0f}  {values}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, or 1 where the run could not be made."""
    if "fsdp2" not in StrategyRegistry:
        StrategyRegistry.register("fsdp2", Sharded, description="Parameters spread over the devices (fully_shard)")
    try:
        with quiet():
            TrainingCLI(
                SpellingModule,
                SpellingData,
                args=None if arguments is None else list(arguments),
                save_config_callback=None,
                auto_configure_optimizers=False,  # they are settings of the module
                seed_everything_default=False,  # the run seeds itself, from model.training.seed
                trainer_defaults={
                    "logger": False,
                    "enable_checkpointing": False,
                    "enable_model_summary": False,
                    "enable_progress_bar": False,
                    "use_distributed_sampler": False,
                    "plugins": [{"class_path": "spelling_transfer.training.checkpoints.WholeFiles"}],
                },
                parser_kwargs={"description": _DESCRIPTION},
            )
    except SpellingTransferError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
