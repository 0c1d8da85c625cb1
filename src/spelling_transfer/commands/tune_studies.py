"""``kedro tune list``, ``dashboard`` and ``sync``: studies that have been run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import CommandError, one_clear_error
from spelling_transfer.commands.project import config_loader, enter_project, json_option, print_json
from spelling_transfer.commands.tune_plan import studies_folder
from spelling_transfer.study.interfaces import COUNTED_STATES, FINISHED_STATES, StudySnapshot

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer


@click.command("list", context_settings=CONTEXT_SETTINGS)
@json_option
@env_option
def list_studies(as_json: bool, env: str | None) -> None:
    """List the studies with their progress and best score.

    \b
    Example:
      kedro tune list
    """  # noqa: D301
    with one_clear_error(env=env):
        rows = studies(enter_project(), env)
        if as_json:
            print_json(rows)
            return
        if not rows:
            click.echo("No study yet: 'kedro tune --mode single --name first' runs one.")
            return
        width = max(len("study"), *(len(row["name"]) for row in rows))
        heading = f"{'study':<{width}} {'sampler':<13} {'focus':<8} {'trials':>9} {'failed':>6}"
        click.echo(f"{heading} {'best':>6} {'by':<8} state")
        for row in rows:
            best = "" if row["best_score"] is None else f"{row['best_score']:.1%}"
            trials = f"{row['done']} of {row['planned']}"
            click.echo(
                f"{row['name']:<{width}} {row['sampler']:<13} {row['focus']:<8} {trials:>9} {row['failed']:>6} "
                f"{best:>6} {row['select_by']:<8} {row['state']}"
            )


def studies(project: Path, env: str | None) -> list[dict[str, Any]]:
    """Returns a row a study, by name.

    Args:
        project: The project's folder; Kedro has been set up for it.
        env: The environment.
    """
    folder = studies_folder(project, env)
    kept = {file.stem: file for file in folder.glob("*.yml")}
    begun = {each.name for each in folder.iterdir() if each.is_dir()} if folder.is_dir() else set()
    return [_row(name, folder / name, kept.get(name)) for name in sorted(begun | kept.keys())]


def _row(name: str, folder: Path, file: Path | None) -> dict[str, Any]:
    from spelling_transfer.configuration.documents import read_file
    from spelling_transfer.errors import SpellingTransferError
    from spelling_transfer.study.storage import recorded_name
    from spelling_transfer.tracking import NothingToSyncError, read_study

    row: dict[str, Any] = {"name": name, "sampler": "", "focus": "", "planned": 0, "done": 0, "failed": 0}
    row |= {"best_score": None, "select_by": "", "state": "not begun"}
    settings: dict[str, Any] = {}
    try:
        if file is not None:
            settings = read_file(file)["study"]
            row |= {key: settings[key] for key in ("sampler", "focus")} | {"planned": settings.get("n_trials") or 0}
        study = read_study(recorded_name(name) if file is None else name, folder, settings)
    except NothingToSyncError:
        return row
    except (SpellingTransferError, KeyError) as error:
        return {**row, "state": f"cannot be read: {error}"}
    return {**row, **_progress(study)}


def _progress(study: StudySnapshot) -> dict[str, Any]:
    done = [trial for trial in study.trials if trial.state in FINISHED_STATES]
    counted = [trial for trial in done if trial.state in COUNTED_STATES and trial.curve]
    scores = [trial.curve[-1]["selection_score"] for trial in counted]
    running = any(trial.state == "running" for trial in study.trials)
    state = "finished" if len(done) == study.n_trials else "running" if running else "can be resumed"
    return {
        "sampler": study.settings["sampler"],
        "focus": study.settings["focus"],
        "planned": study.n_trials,
        "done": len(done),
        "failed": sum(trial.state == "failed" for trial in done),
        "best_score": max(scores, default=None),
        "select_by": study.settings.get("select_by", ""),
        "state": state,
    }


@click.command("dashboard", context_settings=CONTEXT_SETTINGS)
@click.argument("name")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one."
)
@env_option
def dashboard(name: str, port: int, env: str | None) -> None:
    """Show the study NAME in optuna-dashboard, on this machine only.

    \b
    Example:
      kedro tune dashboard first
    """  # noqa: D301
    with one_clear_error(env=env):
        server = dashboard_server(enter_project(), env, name, port)
        click.echo(f"http://127.0.0.1:{server.server_port}/dashboard (Ctrl-C ends it)")
        try:
            server.serve_forever()
        finally:
            server.server_close()


def dashboard_server(project: Path, env: str | None, name: str, port: int) -> WSGIServer:
    """Returns a server of the dashboard that listens on the loopback.

    Raises:
        CommandError: There is no such study, or the port is taken.
        StorageError: Its storage cannot be opened.
    """
    from wsgiref.simple_server import make_server

    import optuna
    from optuna_dashboard import wsgi  # type: ignore[import-untyped]

    from spelling_transfer.study.storage import FILE_NAME, open_engine, storage_url

    _, folder, kept = _found(project, env, name)
    storage = kept.get("study", {}).get("storage")
    if storage is None and not (folder / FILE_NAME).is_file():
        raise CommandError(f"{folder}: the study {name!r} has not begun.")
    url = storage_url(storage, folder)
    open_engine(url).dispose()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    application = wsgi(optuna.storages.RDBStorage(url.render_as_string(hide_password=False)))
    try:
        return make_server("127.0.0.1", port, application)
    except OSError as error:
        raise CommandError(f"--port {port}: {error.strerror}. Take another one, or 0 for any.") from error


def _found(project: Path, env: str | None, name: str) -> tuple[str, Path, dict[str, Any]]:
    """Returns the name of a study in its records, its folder, and the configuration that is kept for it, if any is."""
    from spelling_transfer.configuration.documents import read_file
    from spelling_transfer.study.storage import recorded_name

    folder = studies_folder(project, env) / name
    file = folder.with_name(f"{name}.yml")
    known = [row["name"] for row in studies(project, env)]
    if name not in known:
        raise CommandError(f"there is no study {name!r}. Known: {', '.join(known) or 'none yet'}.")
    if not file.is_file():
        return recorded_name(name), folder, {}
    return name, folder, read_file(file)


@click.command("sync", short_help="Send the trials of a study to Weights & Biases.", context_settings=CONTEXT_SETTINGS)
@click.argument("name")
@json_option
@env_option
def sync(name: str, as_json: bool, env: str | None) -> None:
    """Send the trials of the study NAME that Weights & Biases does not have yet.

    \b
    Example:
      kedro tune sync first
    """  # noqa: D301
    from spelling_transfer.tracking import TrackingSettings, read_study, sync_study

    with one_clear_error(env=env):
        project = enter_project()
        recorded, folder, kept = _found(project, env, name)
        tracking = TrackingSettings.model_validate(
            config_loader(project, env, kept.get("params"))["parameters"].get("tracking", {})
        )
        report = sync_study(read_study(recorded, folder, kept.get("study")), tracking, folder)
        if as_json:
            print_json(report._asdict())
        else:
            click.echo(str(report))
