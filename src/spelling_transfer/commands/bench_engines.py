"""``kedro bench engines``: the evaluation's questions through several engines, and where their answers differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import json_option, load_catalog, print_json

if TYPE_CHECKING:
    import pandas as pd
    from kedro.io import DataCatalog

    from spelling_transfer.bench import Answerer
    from spelling_transfer.evaluation import EvaluationSettings

    Rows = Sequence[Mapping[str, Any]]

OURS, DRAWN, TRANSFORMERS, MLX = "ours", "ours-drawn", "transformers", "mlx"
_DEFAULT = (TRANSFORMERS, f"{OURS}@1", f"{OURS}@64")
_AT_ONCE = 8
_MOST_LISTED = 5


@click.command(
    "engines",
    short_help="Compare the answers of inference engines.",
    context_settings=CONTEXT_SETTINGS,
    epilog="\b\nExample:\n  kedro bench engines transformers ours@64 http://127.0.0.1:8000",
)
@click.argument("engines", nargs=-1, metavar="[ENGINE[@BATCH]]...")
@click.option("--arm", help="The arm to evaluate; its first seed.  [default: base]")
@click.option(
    "--model",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A model folder to evaluate in place of an arm, such as an export.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first so many questions of each task.")
@json_option
@env_option
def engines(
    engines: tuple[str, ...], arm: str | None, folder: Path | None, limit: int | None, as_json: bool, env: str | None
) -> None:
    """Evaluate one model through several inference engines, on held-out words, and compare each two.

    An ENGINE is ours, transformers (its own generate), mlx, or the URL of an OpenAI-compatible endpoint; @BATCH is how
    many questions run side by side, of an endpoint how many are sent at once. All answer greedily, in non-thinking
    mode. An endpoint that takes no temperature of 0, such as that of kedro serve, samples: compare it with ours-drawn,
    which samples by the policy from the same seeds.

    Without an ENGINE they are transformers, ours@1 and ours@64.
    """
    with one_clear_error(env=env):
        from spelling_transfer.bench import (
            as_documents,
            ask_engines,
            compare_engines,
            differing_answers,
            score_engines,
        )
        from spelling_transfer.evaluation import EvaluationSettings
        from spelling_transfer.models import cpu_threads

        if arm is not None and folder is not None:
            raise click.UsageError("--arm names an arm of this project, --model a folder: give one.")
        if len(set(engines)) < len(engines):
            raise click.UsageError("An engine is named twice. Give each once, or with another batch, such as ours@64.")
        specs = [_parsed(each) for each in engines or _DEFAULT]
        catalog = load_catalog(env)
        settings = EvaluationSettings.model_validate(catalog.load("params:evaluation"))
        sample = _questions(catalog, settings, limit)
        tokenizer = tokenizer_of(catalog, folder)
        prompts: dict[str, dict[int, int]] = {}
        with cpu_threads(settings.threads):
            opened = _opened(specs, catalog, arm, folder, tokenizer, settings, sample["question"].tolist(), prompts)
            answers = ask_engines(sample, opened)
        differences = differing_answers(answers, tokenizer)
        scores = score_engines(answers, confidence=settings.confidence)
        pairs = compare_engines(answers, differences, confidence=settings.confidence)
        for name, frame in (("answers", answers), ("scores", scores), ("pairs", pairs), ("differences", differences)):
            catalog.save(f"engine_{name}", frame)
        shown = {"scores": scores, "pairs": pairs, "differences": differences}
        report = {name: as_documents(frame) for name, frame in shown.items()}
        if as_json:
            print_json({**report, "other_prompts": prompts})
        else:
            _print(report["scores"], report["pairs"], report["differences"], prompts)


def _parsed(spec: str) -> tuple[str, str, int | None]:
    """Returns what was typed, the engine, and its batch if one is said."""
    engine, _, batch = spec.rpartition("@")
    if not engine or not batch.isdecimal():
        engine, batch = spec, ""
    known = (OURS, DRAWN, TRANSFORMERS, MLX)
    if engine not in known and not engine.startswith(("http://", "https://")):
        raise click.UsageError(f"There is no engine {engine!r}; there are {', '.join(known)} and URLs of endpoints.")
    if batch and int(batch) < 1:
        raise click.UsageError(f"{spec}: a batch holds at least one question.")
    return spec, engine, int(batch) if batch else None


def _questions(catalog: DataCatalog, settings: EvaluationSettings, limit: int | None) -> pd.DataFrame:
    """Returns the questions of the evaluation that claims rest on."""
    from spelling_transfer.evaluation.questions import core_questions, sample_test_examples

    per_task = min(settings.examples_per_task, limit or settings.examples_per_task)
    return core_questions(
        sample_test_examples(catalog.load("examples"), per_task=per_task, per_other_word_set=0, seed=settings.seed)
    )


def tokenizer_of(catalog: DataCatalog, folder: Path | None) -> Any:
    """Returns the tokenizer of a model folder that has one; else the project's."""
    from spelling_transfer.tokenizer import load_chat_tokenizer

    own = folder is not None and (folder / "tokenizer.json").is_file()
    return load_chat_tokenizer(folder) if own else catalog.load("tokenizer")


def _opened(
    specs: list[tuple[str, str, int | None]],
    catalog: DataCatalog,
    arm: str | None,
    folder: Path | None,
    tokenizer: Any,
    settings: EvaluationSettings,
    questions: list[str],
    prompts: dict[str, dict[int, int]],
) -> Iterator[tuple[str, Answerer]]:
    """Yields the engines; ``prompts`` receives how many of an endpoint's prompts are of another length than ours."""
    from kedro_non_thinking import Policy
    from spelling_transfer.bench import EndpointAnswerer, LocalAnswerer, local_answerer, open_endpoint, other_prompts
    from spelling_transfer.evaluation import BASE, EvaluationError
    from spelling_transfer.evaluation.layer_probes import first_seeds
    from spelling_transfer.models import (
        ALLOWED_IDS_FILE,
        ModelFolder,
        ModelProfile,
        Sampling,
        load_mlx,
        load_model,
        merged_folder,
        mlx_answers,
        transformers_answers,
    )

    limits: dict[str, Any] = {"max_new_tokens": settings.max_new_tokens}
    adapter, profile, loaded = None, None, None
    if folder is not None:
        base = ModelFolder.open(folder)
    else:
        base = catalog.load("base_model")
        profile = ModelProfile.model_validate(catalog.load("params:model_profile"))
        if arm not in (None, BASE):
            runs = first_seeds(catalog.load("arm_adapters"), base)
            if arm not in runs:
                raise EvaluationError(f"--arm: there is no {arm}; trained here are {', '.join(runs)}.")
            _, adapter = runs[arm]
    for _, engine, _ in specs:
        if engine.startswith("http"):  # before others have answered for hours
            with open_endpoint(engine):
                pass
    for spec, engine, batch in specs:
        if engine == MLX:
            loaded = None  # one model in memory at a time
            with merged_folder(base, adapter, profile) as merged:
                model, vocabulary = load_mlx(merged, profile)
            generate = partial(mlx_answers, model, vocabulary, tokenizer, batch_size=batch or 1, **limits)
            yield spec, LocalAnswerer(generate, vocabulary, tokenizer, name=spec, **limits)
            del model, generate
        elif engine.startswith("http"):
            with open_endpoint(engine) as client:
                answer = EndpointAnswerer(
                    client, settings.max_new_tokens, at_once=batch or _AT_ONCE, think_ids=tokenizer.think_ids
                )
                yield spec, answer
            if off := other_prompts(questions, answer.prompt_tokens, tokenizer):
                prompts[spec] = off
        else:
            loaded = loaded or load_model(base, profile, adapter)
            if engine == TRANSFORMERS:
                generate = partial(transformers_answers, loaded, tokenizer, batch_size=batch or 1, **limits)
                yield spec, LocalAnswerer(generate, loaded.vocabulary, tokenizer, name=spec, **limits)
                continue
            drawing: dict[str, Any] = {}
            if engine == DRAWN:  # as the endpoint of this folder does
                policy = Policy.model_validate(catalog.load("policy_rules"))
                drawing["sampling"] = Sampling(**policy.sampling.model_dump())
                subset = base.path / ALLOWED_IDS_FILE
                drawing["allowed_ids"] = json.loads(subset.read_text()) if subset.is_file() else None
            size = batch or settings.batch_size
            yield spec, local_answerer(loaded, tokenizer, batch_size=size, name=spec, **drawing, **limits)


def _print(scores: Rows, pairs: Rows, differences: Rows, prompts: dict[str, dict[int, int]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from spelling_transfer.evaluation.kept_answers import GREEDY

    console = Console(highlight=False, soft_wrap=True)

    def table(*names: str) -> Table:
        made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        for name in names:
            made.add_column(name, no_wrap=name not in ("engine", "other"), overflow="fold")  # a URL may be long
        return made

    shown = table("engine", "task", "n", "right", "lenient", "cut", "answers")
    for row in scores:
        right = f"{100 * row['exact']:.1f}% ({100 * row['low']:.0f}–{100 * row['high']:.0f})" if row["n"] else "–"
        lenient = f"{100 * row['lenient']:.1f}%" if row["n"] else "–"
        drawn = GREEDY if row["decoding"] == GREEDY else "drawn"
        shown.add_row(row["engine"], row["task"], f"{row['n']:,}", right, lenient, f"{row['not_ended']:,}", drawn)
    console.print(shown, markup=False)
    for row in scores:
        if row["task"] == "all" and row["no_answer"]:
            console.print(f"  not scored, {row['engine']}: {row['no_answer']}", markup=False)
    for engine, off in prompts.items():
        counts = "; ".join(f"{tokens:+} tokens ({count:,})" for tokens, count in off.items())
        console.print(f"  prompts of {engine} are not ours: {counts}. Its template is another one.", markup=False)
    console.print()
    shown = table("engine", "other", "task", "n", "differ", "token", "won", "lost")
    for row in pairs:
        named = [row["engine"], row["other"], row["task"], f"{row['n']:,}"]
        if row["problem"]:
            shown.add_row(*named, f"not compared: {row['problem']}")
        elif row["task"] == "all" or row["differ"]:
            interval = f"{100 * row['low']:.1f}–{100 * row['high']:.1f}"
            differ = f"{row['differ']:,.0f}: {100 * row['share']:.1f}% ({interval})"
            place = f"{row['first_place']:.0f}" if row["differ"] else "–"
            shown.add_row(*named, differ, place, f"{row['gained']:,.0f}", f"{row['lost']:,.0f}")
    console.print(shown, markup=False)
    for row in differences[:_MOST_LISTED]:
        said = f"    {row['engine']}: {row['output']!r}\n    {row['other']}: {row['output_other']!r}"
        console.print(f"  {row['question']}\n{said}", markup=False)
    if len(differences) > _MOST_LISTED:
        console.print(f"  and {len(differences) - _MOST_LISTED:,} more: kedro peek engine_differences")
