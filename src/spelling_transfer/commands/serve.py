"""``kedro serve``: the endpoint of a deployable, in the foreground."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import find_stored
from spelling_transfer.errors import SpellingTransferError

if TYPE_CHECKING:
    from spelling_transfer.serving.settings import Engine

_START_SECONDS = 3600.0
"""A large model takes long to load from a cold disk; one that cannot be loaded ends the endpoint by itself."""


@click.command(
    context_settings=CONTEXT_SETTINGS,
    epilog="\b\nExample, the second line in another terminal:\n  kedro serve --port 8000\n"
    "  curl -s http://127.0.0.1:8000/v1/models",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="the environment's",
    help="The deployable to serve: what 'kedro run --pipelines=deployment_check' exported and checked.",
)
@click.option("--port", type=click.IntRange(1024, 65535), default=8000, show_default=True, help="TCP port.")
@click.option(
    "--host",
    type=click.Choice(["127.0.0.1", "0.0.0.0", "::"]),  # noqa: S104  a choice of the user's, and it needs a key
    default="127.0.0.1",
    show_default=True,
    help="Interface. Any but 127.0.0.1 needs a key in SPELLING_TRANSFER_API_KEY (or _API_KEYS_FILE).",
)
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where the model runs; auto is where it was checked.",
)
@click.option(
    "--engine",
    type=click.Choice(["slots", "vllm"]),
    help="Inference engine: slots is ours, vllm needs SPELLING_TRANSFER_VLLM_PYTHON; the first that was checked "
    "if left out.",
)
@click.option(
    "--conformance",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="the environment's",
    help="Result of the deployment check; nothing is served unless this deployable passed.",
)
@click.option("--unchecked", is_flag=True, help="Serve a deployable that was not checked, or that failed.")
@env_option
def serve(
    folder: Path | None,
    port: int,
    host: str,
    accelerator: str,
    engine: Engine | None,
    conformance: Path | None,
    unchecked: bool,
    env: str | None,
) -> None:
    """Serve the trained model as an OpenAI-compatible endpoint, in non-thinking mode only.

    Ctrl+C stops it.
    """
    from spelling_transfer.models.folder import ModelFolder
    from spelling_transfer.serving.deployable import NotConformingError, read_card, require_conformance
    from spelling_transfer.serving.process import can_bind, running_endpoint
    from spelling_transfer.serving.settings import ListenSettings, check_key

    listen = ListenSettings.model_validate({"host": host, "port": port})
    try:
        check_key(listen)
        with one_clear_error(env=env):
            stored = folder or find_stored(env, "deployable")
            checked = conformance or find_stored(env, "conformance")
        deployable = ModelFolder(stored) if isinstance(stored, Path) else stored
        if not deployable.path.is_dir():
            in_env = f" --env={env}" if env else ""
            raise click.ClickException(
                f"{stored}: no such folder. 'kedro run --pipelines=deployment_check{in_env}' makes the default one; "
                "--folder names another."
            )
        try:
            accelerator = require_conformance(deployable, checked, accelerator, engine)
        except NotConformingError as error:
            if not unchecked:
                raise
            click.echo(f"Warning: {error}", err=True)
        if not can_bind(listen):
            raise click.ClickException(f"port {port} of {host} is taken; choose another with --port.")
        settings = read_card(deployable, engine).settings
        threads = "the library's own number of" if settings.threads is None else settings.threads
        click.echo(
            f"Starting the endpoint of {deployable.path} as it was exported: {settings.engine} on {accelerator}, "
            f"{threads} threads, {settings.max_batch_size} answers side by side …"
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C: answers in flight are finished
        with running_endpoint(
            deployable,
            listen=listen,
            accelerator=accelerator,
            engine=engine,
            start_timeout_seconds=_START_SECONDS,
            stop_timeout_seconds=settings.drain_seconds + 10.0,
            show_log=True,
        ) as endpoint:
            click.echo(
                f"{endpoint.model} answers at http://{host}:{port}/v1/chat/completions, in non-thinking mode only. "
                "Ctrl+C stops it."
            )
            status = endpoint.process.wait()
            raise click.ClickException(f"the endpoint ended by itself, with exit status {status}; its log is above.")
    except KeyboardInterrupt:
        click.echo("Stopped.")
    except SpellingTransferError as error:
        raise click.ClickException(str(error)) from error
    except PermissionError as error:
        raise click.ClickException(f"{error.filename}: you may not read it, as the user that you are.") from error
