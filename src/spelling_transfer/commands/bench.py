"""``kedro bench``: public benchmarks and other harnesses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.bench_engines import engines, tokenizer_of
from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import json_option, load_catalog, print_json

if TYPE_CHECKING:
    import pandas as pd
    from kedro.io import DataCatalog

    from spelling_transfer.bench import Answerer, Contents, PublicSet
    from spelling_transfer.evaluation import EvaluationSettings


def _example(arguments: str) -> str:
    return f"\b\nExample:\n  kedro bench {arguments}"


@click.group("bench", context_settings=CONTEXT_SETTINGS)
def bench() -> None:
    """Evaluate on public benchmarks, and export our tasks to other evaluation harnesses.

    \b
    Examples:
      kedro bench list
      kedro bench run cute --file CUTE/data/spell.tsv
      kedro bench run rg_spell_backward --size 200 --arm base --arm spelling
      kedro bench engines transformers ours@1 ours@64 http://127.0.0.1:8000
      kedro bench export lm-eval lm_eval_tasks
    """  # noqa: D301


bench.add_command(engines)


@bench.command("list", short_help="List the public benchmarks, their licences and files.", epilog=_example("list"))
@json_option
def list_sets(as_json: bool) -> None:
    """List the public benchmarks, with their licences and the files they are read from."""
    from spelling_transfer.bench import load_sets

    with one_clear_error():
        keys = ("title", "source", "licence", "needs")
        sets = {name: {key: getattr(each, key) for key in keys} for name, each in load_sets().items()}
        if as_json:
            print_json(sets)
            return
        for name, facts in sets.items():
            click.secho(name, bold=True)
            click.echo(f"  {facts['title']}\n  from     {facts['source']}")
            click.echo(f"  licence  {facts['licence']}\n  --file   {facts['needs']}")


@bench.command(
    "run",
    short_help="Evaluate a model on a public benchmark.",
    context_settings=CONTEXT_SETTINGS,
    epilog=_example("run cute --file CUTE/data --limit 100"),
)
@click.argument("name")
@click.option(
    "--file", "path", type=click.Path(path_type=Path), help="Your copy of the benchmark; 'kedro bench list' says what."
)
@click.option(
    "--arm", "arms", multiple=True, help="An arm to evaluate, or base; may be repeated.  [default: base, spelling]"
)
@click.option(
    "--model",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A model folder to evaluate in place of the arms, such as an export.",
)
@click.option(
    "--endpoint", "url", metavar="URL", help="An OpenAI-compatible endpoint to evaluate, such as that of kedro serve."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first so many questions of each kind.")
@click.option("--size", type=click.IntRange(1), default=500, show_default=True, help="Questions to generate.")
@click.option(
    "--max-new-tokens", type=click.IntRange(1, 4096), default=100, show_default=True, help="Longest answer, in tokens."
)
@json_option
@env_option
def run(
    name: str,
    path: Path | None,
    arms: tuple[str, ...],
    folder: Path | None,
    url: str | None,
    limit: int | None,
    size: int,
    max_new_tokens: int,
    as_json: bool,
    env: str | None,
) -> None:
    """Evaluate a model on a public benchmark, with its authors' prompts and with ours: greedy, in non-thinking mode.

    Answers and per-item correctness go to the dataset public_set_answers.NAME, the printed report to
    public_set_report.NAME; both hold the last run alone.
    """
    with one_clear_error(env=env):
        import pandas as pd

        from spelling_transfer.bench import ask, choose_set, exposure, first_of_each_kind
        from spelling_transfer.evaluation import EvaluationSettings
        from spelling_transfer.models import cpu_threads

        if (folder is not None) + (url is not None) + bool(arms) > 1:
            raise click.UsageError("--arm names arms of this project, --model a folder, --endpoint a URL: give one.")
        chosen = choose_set(name)
        contents = chosen.read(path, size)
        items = first_of_each_kind(contents.items, limit)
        catalog = load_catalog(env)
        words = catalog.load("words")
        settings = EvaluationSettings.model_validate(catalog.load("params:evaluation"))
        not_asked: dict[str, int] = {}
        frames, decoding = [], "greedy"
        with cpu_threads(settings.threads):
            for arm, seed, answer in _answerers(catalog, arms, folder, url, settings, max_new_tokens):
                frame, left_out = ask(chosen, items, answer)
                frames.append(frame.assign(arm=arm, seed=seed))
                decoding = answer.decoding
                not_asked |= left_out  # arms share a vocabulary, so it is the same for all
        answers = pd.concat(frames, ignore_index=True)
        known = exposure(answers["text"].tolist(), words)
        answers = answers.assign(seen=known["seen"], family=known["family"])
        report = _report(chosen, contents, answers, not_asked, settings) | {"decoding": decoding}
        catalog.save(f"public_set_answers.{name}", answers)
        catalog.save(f"public_set_report.{name}", report)
        if as_json:
            print_json(report)
        else:
            _print(report)


@bench.command(
    "export",
    short_help="Export our tasks to another harness.",
    context_settings=CONTEXT_SETTINGS,
    epilog=_example("export lm-eval lm_eval_tasks"),
)
@click.argument("harness", metavar="HARNESS", type=click.Choice(["lm-eval", "inspect"]))
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--answers", "with_answers", is_flag=True, help="For inspect: add the last evaluation's answers, for logs."
)
@env_option
def export(harness: str, target: Path, with_answers: bool, env: str | None) -> None:
    """Export the evaluation's questions and our scoring as tasks of another harness, into the folder TARGET.

    The harness needs this package beside it, for the scoring alone.
    """
    with one_clear_error(env=env):
        from spelling_transfer.bench import export_inspect, export_lm_eval
        from spelling_transfer.evaluation import EvaluationSettings, sample_test_examples

        if with_answers and harness != "inspect":
            raise click.UsageError("--answers is for inspect alone: lm-eval has no format for given answers.")
        catalog = load_catalog(env)
        settings = EvaluationSettings.model_validate(catalog.load("params:evaluation"))
        questions = sample_test_examples(
            catalog.load("examples"),
            per_task=settings.examples_per_task,
            per_other_word_set=settings.examples_per_other_word_set,
            per_trained_words=settings.examples_per_trained_words,
            seed=settings.seed,
        )
        if harness == "lm-eval":
            tasks = export_lm_eval(questions, target, settings.max_new_tokens)
            hint = (
                f"lm_eval --model hf --model_args pretrained=MODEL,enable_thinking=False --apply_chat_template "
                f"--include_path {target} --tasks spelling_transfer --log_samples --output_path results"
            )
        else:
            answers = catalog.load("marked_answers") if with_answers else None
            tasks = export_inspect(questions, target, settings.max_new_tokens, answers)
            hint = (
                f"cd {target} && inspect eval spelling_transfer_tasks.py --model hf/MODEL -M do_sample=false "
                "-M enable_thinking=false"
            )
        click.echo(f"{target}: {len(questions):,} questions of {len(tasks)} tasks")
        click.echo(f"Evaluate an exported model, whose folder is MODEL:\n  {hint}")
        if with_answers:
            click.echo(f"Write the logs where inspect_ai is installed:\n  python {target / 'write_logs.py'}")


def _answerers(
    catalog: DataCatalog,
    arms: tuple[str, ...],
    folder: Path | None,
    url: str | None,
    settings: EvaluationSettings,
    max_new_tokens: int,
) -> Iterator[tuple[str, int, Answerer]]:
    """Yields the arms that are asked, one in memory at a time."""
    from spelling_transfer.bench import EndpointAnswerer, local_answerer, open_endpoint
    from spelling_transfer.evaluation import BASE, FINE_TUNED, EvaluationError
    from spelling_transfer.evaluation.answering import adapters_of
    from spelling_transfer.evaluation.strata import NO_SEED
    from spelling_transfer.models import ModelFolder, ModelProfile, load_model

    if url is not None:
        with open_endpoint(url) as client:
            think_ids = catalog.load("tokenizer").think_ids
            yield client.model, NO_SEED, EndpointAnswerer(client, max_new_tokens, think_ids=think_ids)
        return
    limits: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_size": settings.batch_size}
    if folder is not None:
        opened = ModelFolder.open(folder)
        tokenizer = tokenizer_of(catalog, folder)
        yield folder.name, NO_SEED, local_answerer(load_model(opened), tokenizer, name=folder.name, **limits)
        return
    base, tokenizer = catalog.load("base_model"), catalog.load("tokenizer")
    profile = ModelProfile.model_validate(catalog.load("params:model_profile"))
    wanted = arms or (BASE, FINE_TUNED)
    runs: list[tuple[str, int, ModelFolder | None]] = [(BASE, NO_SEED, None)]
    if set(wanted) != {BASE}:
        runs += adapters_of(catalog.load("arm_adapters"), base)
    if unknown := sorted(set(wanted) - {arm for arm, _, _ in runs}):
        there = ", ".join(dict.fromkeys(arm for arm, _, _ in runs))
        raise EvaluationError(f"--arm: there is no {', '.join(unknown)}; trained here are {there}.")
    for arm, seed, adapter in runs:
        if arm in wanted:
            yield arm, seed, local_answerer(load_model(base, profile, adapter), tokenizer, name=arm, **limits)


def _report(
    chosen: PublicSet,
    contents: Contents,
    answers: pd.DataFrame,
    not_asked: dict[str, int],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    from spelling_transfer.bench import as_documents, differences, score
    from spelling_transfer.evaluation import BASE

    exposed = answers.drop_duplicates("item_id")["seen"].value_counts()
    return {
        "set": chosen.name,
        "title": chosen.title,
        "source": chosen.source,
        "licence": chosen.licence,
        "version": contents.version,
        "hashes": contents.hashes,
        "prompts": contents.prompts,
        "items": len(contents.items),
        "asked": int(answers["item_id"].nunique()),
        "not_asked": not_asked,
        "broken": [f"{row.where}: {row.reason}" for row in contents.broken],
        "word_was_trained": int(exposed.get("word", 0)),
        "family_was_trained": int(exposed.get("family", 0)),
        "did_not_end": int((~answers["ended"]).sum()),
        "confidence": settings.confidence,
        "scores": as_documents(score(answers, confidence=settings.confidence)),
        "differences": as_documents(
            differences(answers, BASE, confidence=settings.confidence, seed_spread=settings.verdict.seed_spread)
        ),
    }


_MOST_LISTED = 10


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from spelling_transfer.pages.numbers import format_value

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{report['set']}[/bold]  {report['title']}")
    console.print(f"  version  {report['version']}", markup=False)
    console.print(f"  prompts  {report['prompts']}", markup=False)
    console.print(f"  answers  {report['decoding']}", markup=False)
    console.print(
        f"  items    {report['items']:,} read, {report['asked']:,} evaluated; training saw a word of "
        f"{report['word_was_trained']:,}, only its family of {report['family_was_trained']:,}; the rest is clean"
    )
    for reason, count in report["not_asked"].items():
        console.print(f"  left out  {count:,} of form {reason}", markup=False)
    if report["did_not_end"]:
        console.print(f"  {report['did_not_end']:,} answers did not end within --max-new-tokens")
    for number, line in enumerate(report["broken"]):
        if number == _MOST_LISTED:
            console.print(f"  and {len(report['broken']) - number:,} more; public_set_report.{report['set']} has all")
            break
        console.print(f"  left out  {line}", markup=False)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("kind", "form", "arm", "items", "n", "right", "lenient", "unread"):
        table.add_column(name, no_wrap=True)
    for row in report["scores"]:
        arm = row["arm"] if row["seed"] < 0 else f"{row['arm']}/{row['seed']}"
        interval = "" if row["low"] is None else f" ({100 * row['low']:.0f}–{100 * row['high']:.0f})"
        right, lenient, unread = (format_value(row[name], ".1%") for name in ("correct", "lenient", "invalid"))
        cells = [row["kind"], row["form"], arm, row["items"], f"{row['n']:,}", right + interval, lenient, unread]
        table.add_row(*cells)
    console.print(table, markup=False)
    for row in report["differences"]:
        console.print(
            f"{row['arm']} - {row['reference']}, {row['form']}, {row['items']} items: {100 * row['difference']:+.1f} "
            f"points ({100 * row['low']:+.1f} to {100 * row['high']:+.1f}), n = {row['n']:,}, p = {row['p_value']:.2g}",
            markup=False,
        )
