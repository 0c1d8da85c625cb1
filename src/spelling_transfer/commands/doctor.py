"""``kedro doctor``: what is installed, signed in and reachable, and what to do about what is not.

Nothing here logs in anywhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import json_option, load_context, print_json, project_folder
from spelling_transfer.errors import SpellingTransferError, causes, reinstall_command

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog

DISTRIBUTION = "spelling-transfer"

_MEMORY_NEEDED_MB = 3000
"""A whole run on the embedded model, its endpoint included."""
_PATIENCE_SECONDS = 3.0
_ROOM_NEEDED_MB = 500
"""A whole run on the embedded model leaves some 100 MB; training and the export hold as much again for a while."""

HOSTS = {"huggingface.co": 443, "lightning.ai": 443}
"""Hosts and their ports; the one of Weights & Biases is what its client is set to."""


@click.command("doctor", context_settings=CONTEXT_SETTINGS)
@click.option("--offline", is_flag=True, help="Do not try to reach any host.")
@json_option
@env_option
@click.pass_context
def doctor(context: click.Context, /, offline: bool, as_json: bool, env: str | None) -> None:
    """Check this machine: packages, files, accounts and hosts, with a remedy for each problem.

    Ends with exit code 1 where something is amiss that a run needs.

    \b
    Examples:
      kedro doctor
      kedro doctor --offline
      kedro doctor --env=qwen3_4b --json
    """  # noqa: D301
    with one_clear_error(env=env):
        checks = _examine(offline, env)
        if as_json:
            print_json([asdict(check) for check in checks])
        else:
            _print(checks)
        if any(check.needed and not check.ok for check in checks):
            context.exit(1)


def _examine(offline: bool, env: str | None) -> list[Check]:
    from rich.console import Console

    from spelling_transfer.storage.history import storage_root_of

    with Console(stderr=True).status("Looking ...") as status, _no_downloads():
        found = list(check_installed())  # before the project, which needs these packages
        groups: dict[str, Callable[[], Iterator[Check]]] = {"accounts": check_signed_in}
        status.update("Looking at the project ...")
        try:
            context = load_context(env)
        except SpellingTransferError as error:  # its configuration, or a store that has to say which run is the latest
            remedy = "Fix this first; files and places are checked after it."
            found.append(Check("files", "project", False, True, str(error), remedy))
        else:
            groups = {
                "files": lambda: check_files(cast("DataCatalog", context.catalog), offline=offline),
                "places": lambda: check_places(storage_root_of(context) or "data", offline=offline),
                **groups,
            }
            if not offline:
                groups["machines"] = lambda: check_machines(context)
        if not offline:
            groups["hosts"] = lambda: check_reachable(HOSTS)
            groups["Weights & Biases"] = lambda: check_reachable(_tracking_host())
        for name, group in groups.items():
            status.update(f"Looking at {name} ...")
            try:
                found += group()
            except SpellingTransferError as error:
                found.append(Check(name, name, False, False, "not known", str(error)))
    return found


def _tracking_host() -> dict[str, int]:
    """Returns the host and port that runs of Weights & Biases are sent to."""
    from spelling_transfer.tracking.runs import server_url

    address = urlsplit(server_url())
    return {address.hostname: address.port or (80 if address.scheme == "http" else 443)} if address.hostname else {}


@contextmanager
def _no_downloads() -> Iterator[None]:
    """Keeps the hub's client from downloading: to look is not to fetch 8 GB."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _print(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("", "", "found", box=None)
    group = ""
    for check in checks:
        mark = "[green]ok[/green]" if check.ok else "[red]needed[/red]" if check.needed else "[yellow]optional[/yellow]"
        if check.group != group:
            group = check.group
            table.add_row(f"[bold]{group}[/bold]", "", "")
        table.add_row(f"  {check.name}", mark, escape(check.found))
    console.print(table)
    for check in checks:
        if not check.ok:
            console.print(f"{check.name}: {check.remedy}", markup=False)
    if all(check.ok or not check.needed for check in checks):
        console.print("Everything that 'kedro run' needs is available.", style="green")


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        group: installed, files, signed in or reachable.
        name: What was looked at.
        ok: Whether it is as it should be.
        needed: Whether a run in this environment needs it.
        found: What was found.
        remedy: What to do where it is not as it should be.
    """

    group: str
    name: str
    ok: bool
    needed: bool
    found: str
    remedy: str = ""


def check_installed() -> Iterator[Check]:
    """Compares Python, the packages of this distribution, and the accelerator with what is asked for."""
    from packaging.requirements import Requirement

    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("installed", "Python", sys.version_info >= (3, 11), True, version, "Install Python 3.11 or later.")
    asked = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    asked = [requirement for requirement in asked if requirement.marker is None or requirement.marker.evaluate()]
    fine = 0
    for requirement in asked:
        found = _version(requirement.name)
        if found is not None and requirement.specifier.contains(found, prereleases=True):
            fine += 1
        else:
            yield Check(
                "installed", requirement.name, False, True, found or "not installed", f"pip install '{requirement}'"
            )
    found = f"{fine} of {len(asked)} as required"
    yield Check("installed", "packages", fine == len(asked), True, found, reinstall_command())
    yield _check_accelerator()


def check_files(catalog: DataCatalog, *, offline: bool = True) -> Iterator[Check]:
    """Opens the tokenizer and the base model, and looks whether they belong together.

    A model of the hub that is not here yet is needed where there is no network; else a run downloads it.
    """
    from spelling_transfer.models.load import tokenizer_sha256_of
    from spelling_transfer.storage.sources import NotDownloadedError

    found = {}
    for name in ("tokenizer", "base_model"):
        if name not in catalog:
            continue
        try:
            loaded = catalog.load(name)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is the finding
            absent = next((cause for cause in causes(error) if isinstance(cause, NotDownloadedError)), None)
            if absent is None:
                yield Check("files", name, False, True, "cannot be used", str(error.__cause__ or error))
            else:
                yield Check("files", name, False, offline, "not downloaded", str(absent))
        else:
            found[name] = loaded
            yield Check("files", name, True, True, f"sha256 {loaded.sha256[:12]}")
    if len(found) < 2:
        return
    profile = catalog.load("params:model_profile") if "params:model_profile" in catalog else None
    own = getattr(profile, "tokenizer_sha256", None) or tokenizer_sha256_of(found["base_model"])
    if own not in (None, found["tokenizer"].sha256):
        remedy = "Give the environment the model's own tokenizer, as conf/smollm2/catalog/shared.yml does."
        yield Check("files", "together", False, True, f"the model was made for the tokenizer {own[:12]}", remedy)


def check_places(storage_root: str, *, offline: bool = False) -> Iterator[Check]:
    """Writes where a run will write, and takes it away again; looks for room and memory.

    Args:
        storage_root: Where data are kept, a folder or a URL.
        offline: Leave out a place that is reached over the network.
    """
    import psutil

    folder = project_folder()
    free_mb = shutil.disk_usage(folder).free // 10**6
    remedy = f"Make {_ROOM_NEEDED_MB} MB of room in {folder}."
    yield Check("files", "disk", free_mb >= _ROOM_NEEDED_MB, True, f"{free_mb:,} MB free", remedy)
    memory_mb = psutil.virtual_memory().available // 10**6
    remedy = f"End other programs: a run on the embedded model takes up to {_MEMORY_NEEDED_MB:,} MB."
    yield Check("files", "memory", memory_mb >= _MEMORY_NEEDED_MB, True, f"{memory_mb:,} MB available", remedy)
    places = {"folder": str(folder), "storage": storage_root if "://" in storage_root else str(folder / storage_root)}
    for name, place in places.items():
        if offline and "://" in place:
            continue
        problem = _problem_of_writing(place)
        remedy = "Make the folder writable." if "://" not in place else "Check the keys and their permissions."
        yield Check("files", name, not problem, True, place if not problem else f"{place}: {problem}", remedy)


def _problem_of_writing(place: str) -> str:
    import fsspec

    from spelling_transfer.storage.errors import explain_remote

    try:
        filesystem, path = fsspec.core.url_to_fs(place)
        while "://" not in place and not filesystem.exists(path):
            path = os.path.dirname(path)  # noqa: PTH120 - where the folder will be made
        file = f"{path.rstrip('/')}/.doctor-{os.getpid()}"
        filesystem.pipe_file(file, b"written by kedro doctor, and taken away")
        filesystem.rm_file(file)
    except Exception as error:  # noqa: BLE001 - whatever keeps a run from writing is the finding
        return explain_remote(error, place, "write") or str(error.__cause__ or error)
    return ""


def check_signed_in() -> Iterator[Check]:
    """Looks whether credentials are in place, by name alone: none is read or sent."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - without a home it stays '~', where nothing is
    places: dict[str, tuple[list[str], list[Path], str]] = {
        "Lightning AI": (
            ["LIGHTNING_API_KEY"],
            [home / ".lightning" / "credentials.json"],
            "Needed for GPU nodes: set LIGHTNING_USER_ID and LIGHTNING_API_KEY, or run 'lightning login'.",
        ),
        "Weights & Biases": (
            ["WANDB_API_KEY"],
            [home / ".netrc", home / "_netrc"],
            "Needed only for online tracking: run 'wandb login'.",
        ),
        "Hugging Face": (
            ["HF_TOKEN"],
            [home / ".cache" / "huggingface" / "token"],
            "Qwen3 is public and needs none; a token lifts download limits: run 'hf auth login'.",
        ),
        "AWS (S3)": (
            ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"],
            [home / ".aws" / "credentials", home / ".aws" / "config"],
            "Needed if storage_root is on S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
        ),
    }
    for name, (variables, files, remedy) in places.items():
        found = [variable for variable in variables if os.environ.get(variable)]
        found += [str(file) for file in files if file.is_file()]
        yield Check("signed in", name, bool(found), False, found[0] if found else "no", remedy)


def check_machines(context: KedroContext) -> Iterator[Check]:
    """Asks the platform for machines that run, and cost, though no run here waits for them; not without an account."""
    from kedro_lightning import ComputeError, NotSignedInError, PreflightError, left_running, load_config

    try:
        jobs, studios = left_running(Path(context.project_path), load_config(context.config_loader))
    except (NotSignedInError, PreflightError):
        return
    except ComputeError as error:
        yield Check("machines", "rented machines", False, False, "not known", str(error))
        return
    remedy = "They cost money, and no run here waits for them: end them with 'kedro compute stop --all'."
    yield Check("machines", "jobs", not jobs, False, ", ".join(jobs) or "none without a run", remedy)
    remedy = "They cost money until they go to sleep: 'kedro compute studios stop --all' puts them to sleep."
    yield Check("machines", "Studios awake", not studios, False, ", ".join(studios) or "none", remedy)


def check_reachable(hosts: Mapping[str, int]) -> Iterator[Check]:
    """Opens a connection to each host and closes it again."""

    def connect(host: str) -> str:
        try:
            socket.create_connection((host, hosts[host]), timeout=_PATIENCE_SECONDS).close()
        except OSError as error:
            return error.strerror or str(error) or type(error).__name__
        return ""

    with ThreadPoolExecutor(max_workers=max(len(hosts), 1)) as pool:
        for host, problem in zip(hosts, pool.map(connect, hosts), strict=True):
            remedy = "Check the connection and its proxy. The embedded model needs no network."
            yield Check("reachable", host, not problem, False, problem or "yes", remedy)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _check_accelerator() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("installed", "accelerator", False, True, str(error), reinstall_command())
    if torch.cuda.is_available():
        found = torch.cuda.get_device_name(0)
    elif torch.backends.mps.is_available():
        found = "Apple GPU"
    else:
        found = f"none; {torch.get_num_threads()} CPU threads"
    return Check("installed", "accelerator", True, False, found)
