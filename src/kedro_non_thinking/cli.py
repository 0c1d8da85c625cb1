"""``kedro policy``: check files, probe an endpoint, keep the checklist in step."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

# Everything else is imported where it is used: this module is imported for every `kedro --help`.
if TYPE_CHECKING:
    from .policy import Policy

VIOLATION = 1
MISUSE = 2
_DOCUMENT = Path("docs/non_thinking_policy.md")
_SHOW_PROGRESS_FROM = 300
_policy_option = click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path),
    help="A policy.yml; without it conf/base/policy.yml, or else the rules that come with the plugin.",
)


@click.group(name="policy", help="")  # Kedro would print it above all commands
def commands() -> None:
    """Commands of the policy: a project imports them in its ``cli.py`` under the name ``cli``."""


@commands.group(short_help="Keep the model in non-thinking mode: check, probe, checklist.")
def policy() -> None:
    """Keep the model in non-thinking mode: check files, probe an endpoint, print the checklist.

    \b
    Example:
        kedro policy check
    """  # noqa: D301 - \b keeps the example as it is


@policy.command(short_help="Check code, configuration, documents, scripts and data.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
@click.option(
    "--jobs", type=click.IntRange(1), help="Processes that read; one for each core where there are many files."
)
@_policy_option
def check(paths: tuple[Path, ...], form: str, jobs: int | None, policy_file: Path | None) -> None:
    """Check code, configuration, documents, notebooks, scripts and data.

    PATHS are files and folders, inside the project or elsewhere; without them the whole project is checked, as far as
    git knows it. Exit code 0: clean. 1: a violation, or a file that could not be checked. 2: misuse.

    \b
    Examples:
        kedro policy check
        kedro policy check conf docs --format json
        kedro policy check --format sarif > policy.sarif
    """  # noqa: D301 - \b keeps the examples as they are
    from .scanner import output
    from .scanner.engine import scan_paths

    missing = [path for path in paths if not path.exists() and not path.is_symlink()]
    if missing:
        _misuse(f"{', '.join(map(str, missing))}: there is no such file or folder.")
    root = _project()
    rules, place = _rules(policy_file, root)
    with _progress(form == "text") as progress:
        result = scan_paths(paths or None, rules, root, policy_path=place, jobs=jobs, progress=progress)
    if form == "text":
        click.echo(output.to_text(result, rules))
    else:
        content = output.to_json(result, rules) if form == "json" else output.to_sarif(result, rules, root)
        click.echo(json.dumps(content, indent=2))
    sys.exit(0 if result.clean else VIOLATION)


@policy.command(short_help="Try every known way to make an endpoint think.")
@click.argument("url")
@click.option("--model", help="Name of the model; without it the first one that the endpoint lists.")
@click.option("--api-key", envvar="POLICY_PROBE_API_KEY", help="Bearer token; better given as POLICY_PROBE_API_KEY.")
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(min=0.1), default=60.0, show_default=True)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_policy_option
def probe(
    url: str, model: str | None, api_key: str | None, timeout_seconds: float, form: str, policy_file: Path | None
) -> None:
    """Ask an endpoint to think in every known way, and look for thoughts in its answers.

    URL is the address of an endpoint with the chat interface of OpenAI. Exit code 0: the policy was kept. 1: it was
    not. 2: misuse, or no answer.

    \b
    Example:
        kedro policy probe http://127.0.0.1:8000
    """  # noqa: D301 - \b keeps the examples as they are
    from .errors import PolicyError
    from .probe import ask_endpoint, run_probe

    rules, _ = _rules(policy_file, _project())
    try:
        report = run_probe(ask_endpoint(url, model=model, api_key=api_key, timeout_seconds=timeout_seconds), rules)
    except PolicyError as error:
        _misuse(str(error))
    if form == "json":
        click.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
    else:
        for result in report.results:
            if not result.passed:
                click.echo(f"{result.name}: {'; '.join(result.problems)}")
        counts = ", ".join(f"{count} {outcome}" for outcome, count in report.as_dict()["counts"].items())
        click.echo(
            f"{len(report.results)} attempts: {counts}. {'The policy was kept.' if report.passed else 'NOT kept.'}"
        )
    sys.exit(0 if report.passed else VIOLATION)


@policy.command(short_help="Print the team checklist, or update the document's.")
@click.option("--write", is_flag=True, help=f"Update the checklist in {_DOCUMENT}.")
@click.option("--document", type=click.Path(path_type=Path), default=_DOCUMENT, show_default=True)
@_policy_option
def checklist(write: bool, document: Path, policy_file: Path | None) -> None:
    """Print the team checklist, made from the rules, or update the one in the document.

    \b
    Examples:
        kedro policy checklist
        kedro policy checklist --write
    """  # noqa: D301 - \b keeps the examples as they are
    from .checklist import checklist as make_checklist
    from .checklist import write_checklist
    from .errors import PolicyError

    root = _project()
    rules, _ = _rules(policy_file, root)
    if not write:
        click.echo(make_checklist(rules), nl=False)
        return
    file = document if document.is_absolute() else root / document
    try:
        changed = write_checklist(file, rules)
    except PolicyError as error:
        _misuse(str(error))
    click.echo(f"{document}: {'updated' if changed else 'already up to date'}.")


def _project() -> Path:
    from kedro.utils import find_kedro_project

    return find_kedro_project(Path.cwd()) or Path.cwd()


def _rules(policy_file: Path | None, root: Path) -> tuple[Policy, str]:
    """Returns the rules and where they are written; a broken file is misuse, since nothing can be checked with it."""
    from .errors import PolicyFileError
    from .policy import find_policy_file, load_policy

    file = policy_file or find_policy_file(root)
    if file is None:  # settings.py, whose import takes time, may say that the configuration is elsewhere
        from kedro.framework.project import settings

        base = settings.CONFIG_LOADER_ARGS.get("base_env") or "base"
        file = find_policy_file(root, root / settings.CONF_SOURCE, base)
    try:
        rules = load_policy(file)
    except PolicyFileError as error:
        _misuse(str(error))
    if file is None:
        return rules, "policy.yml"
    return rules, file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def _misuse(message: str) -> Any:
    click.secho(f"Error: {message}", err=True, fg="red")
    sys.exit(MISUSE)


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Gives a progress bar on standard error where somebody watches and there is much to read."""
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    with click.progressbar(length=1, label="Checking", file=sys.stderr, hidden=True) as bar:

        def step(done: int, total: int) -> None:
            bar.hidden, bar.length = total < _SHOW_PROGRESS_FROM, total
            bar.update(done - bar.pos)

        yield step
