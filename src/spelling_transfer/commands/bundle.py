"""``kedro bundle``: transfers files as complete, verified versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.utils import find_kedro_project
from rich.filesize import decimal

from spelling_transfer.commands.errors import CommandError, one_clear_error
from spelling_transfer.commands.project import config_loader, enter_project, json_option, print_json
from spelling_transfer.commands.streams import printable

if TYPE_CHECKING:
    from spelling_transfer.storage.bundles.stores import BundleStore
    from spelling_transfer.storage.bundles.stores.base import Counter, Progress
    from spelling_transfer.storage.bundles.verify import Problem

_INTERRUPTED = "What was finished is kept; the same command resumes from there."
_DEFAULT_DATASET = "prep_manifest"

_env_option = click.option(
    "--env", "-e", default=None, envvar="KEDRO_ENV", help="Kedro environment, for the credentials of S3."
)
_jobs_option = click.option(
    "--jobs", "-j", type=click.IntRange(1, 64), default=8, show_default=True, help="Files at once."
)
_locks_option = click.option("--ignore-locks", is_flag=True, help="Do not wait for locks of other processes.")
_key_type = click.Path(path_type=Path, dir_okay=False)


@click.group(epilog="\b\nExample:\n  kedro bundle push data s3://bucket/study --include '0[35]_*'")
def bundle() -> None:
    """Transfer data as versions with checksums: from a laptop to rented machines and back."""


@bundle.command(short_help="Push FOLDER as the next version of the bundle at STORE.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("store")
@click.option("--include", multiple=True, help="Pattern of files to take, such as '03_primary/*'. May be repeated.")
@click.option("--exclude", multiple=True, help="Pattern of files to leave out. May be repeated.")
@click.option("--note", default="", help="A note on this version.")
@click.option("--sign-key", type=_key_type, default=None, help="ed25519 private key (PEM) to sign the version with.")
@click.option(
    "--encryption",
    type=click.Choice(["auto", "AES256", "aws:kms", "none"]),
    default="auto",
    show_default=True,
    help="Encryption at rest to ask S3 for; auto is AES256 except on loopback.",
)
@click.option("--rehash", is_flag=True, help="Read all files again, those unchanged since the last push included.")
@_jobs_option
@_locks_option
@_env_option
@json_option
def push(
    folder: Path, store: str, note: str, sign_key: Path | None, encryption: str, rehash: bool, jobs: int,
    ignore_locks: bool, env: str | None, as_json: bool, include: tuple[str, ...], exclude: tuple[str, ...],
) -> None:  # fmt: skip
    """Make FOLDER the next version of the bundle at STORE; send only what is not there yet.

    STORE is s3://bucket/prefix, lightning://owner/teamspace/folder, or a folder. Without a change no version is made.
    After an interruption, run the same command again: it resumes where it stopped.

    \b
    Examples:
      kedro bundle push data s3://bucket/study --include '03_primary/*' --include '05_model_input/*'
      kedro bundle push data/06_models /media/drive/models --note "best of 40 trials"
    """  # noqa: D301
    with one_clear_error(kept=_INTERRUPTED), _bar("sending") as progress:
        from spelling_transfer.storage.bundles.push import push_bundle

        result = push_bundle(
            folder,
            _open_place(store, env, encryption, jobs),
            include=include,
            exclude=exclude,
            is_needed=_datasets_of(folder, env),
            note=note,
            sign_key=sign_key,
            rehash=rehash,
            jobs=jobs,
            progress=progress,
            ignore_locks=ignore_locks,
        )
    for each in result.left_out:
        click.echo(f"left out: {each}", err=True)
    if as_json:
        print_json(asdict(result))
        return
    made = "version" if result.is_new else "nothing new since version"
    click.echo(
        f"{result.store}: {made} {result.number}, {result.n_files} files, {decimal(result.size_bytes)}; "
        f"sent {result.sent_files} files, {decimal(result.sent_bytes)}"
    )


@bundle.command(short_help="Pull a version of the bundle at STORE into FOLDER.")
@click.argument("store")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--version", "number", type=click.IntRange(1), default=None, help="The version; the latest by default.")
@click.option("--overwrite", is_flag=True, help="Replace files that were changed here, and lose the changes.")
@click.option(
    "--public-key",
    type=_key_type,
    default=None,
    help="Take only a version that is signed with the key to this one (PEM).",
)
@_jobs_option
@_env_option
@json_option
def pull(
    store: str, folder: Path, number: int | None, overwrite: bool, public_key: Path | None, jobs: int,
    env: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Bring FOLDER to a version of the bundle at STORE; fetch only what is not there yet.

    STORE is s3://bucket/prefix, lightning://owner/teamspace/folder, or a folder. Each file is checked before it can be
    seen. Files that were changed here are not replaced unless asked. After an interruption, run the same command again.

    \b
    Examples:
      kedro bundle pull s3://bucket/study data
      kedro bundle pull s3://bucket/study data --version 3 --public-key ours.pub
    """  # noqa: D301
    with one_clear_error(kept=_INTERRUPTED), _bar("fetching") as progress:
        from spelling_transfer.storage.bundles.pull import pull_bundle

        result = pull_bundle(
            _open_place(store, env, "none", jobs),
            folder,
            number=number,
            overwrite=overwrite,
            public_key=public_key,
            jobs=jobs,
            progress=progress,
        )
    if as_json:
        print_json(asdict(result))
        return
    click.echo(
        f"{result.folder}: version {result.number}, {result.n_files} files, {decimal(result.size_bytes)}; "
        f"fetched {result.received_files} files, {decimal(result.received_bytes)}"
        + (f"; removed {result.removed_files} that it no longer has" if result.removed_files else "")
    )


@bundle.command("list", short_help="List the versions of the bundle at STORE.")
@click.argument("store")
@_env_option
@json_option
def list_(store: str, env: str | None, as_json: bool) -> None:
    """List the versions of the bundle at STORE: when, by whom, how large, and what is new in each.

    STORE is s3://bucket/prefix, lightning://owner/teamspace/folder, or a folder.

    \b
    Example:
      kedro bundle list s3://bucket/study
    """  # noqa: D301
    with one_clear_error(kept=_INTERRUPTED):
        from spelling_transfer.storage.bundles.versions import list_versions

        versions = list_versions(_open_place(store, env))
    if as_json:
        print_json([vars(version) for version in versions])
        return
    from rich.console import Console
    from rich.table import Column, Table

    # In 80 columns the names and notes are folded, and nothing is cut.
    whole = [Column(name, no_wrap=True) for name in ("when (UTC)", "files", "size", "new", "signed", "policy")]
    by, note = (Column(name, overflow="fold") for name in ("by", "note"))
    table = Table("version", whole[0], by, *whole[1:], note, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    policy = {True: "kept", False: "broken", None: ""}
    for each in versions:
        date = each.created_at[:16].replace("T", " ")
        table.add_row(
            str(each.number), date, printable(each.created_by), str(each.n_files), decimal(each.size_bytes),
            decimal(each.new_bytes), "yes" if each.signed else "", policy[each.policy_kept], printable(each.note),
        )  # fmt: skip
    Console(highlight=False).print(table if versions else f"{store}: holds no bundle.", markup=False)


@bundle.command(short_help="Remove all but the latest versions at STORE.")
@click.argument("store")
@click.option("--keep", type=click.IntRange(1), required=True, help="How many of the latest versions stay.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@_locks_option
@_env_option
@json_option
def prune(store: str, keep: int, dry_run: bool, ignore_locks: bool, env: str | None, as_json: bool) -> None:
    """Remove all but the latest versions at STORE, and what no other version refers to.

    What a version that stays refers to is never removed. While a push is under way nothing is.

    \b
    Examples:
      kedro bundle prune s3://bucket/study --keep 5 --dry-run
      kedro bundle prune s3://bucket/study --keep 5
    """  # noqa: D301
    with one_clear_error(kept=_INTERRUPTED):
        from spelling_transfer.storage.bundles.versions import prune as prune_store

        result = prune_store(_open_place(store, env), keep, dry_run=dry_run, ignore_locks=ignore_locks)
    if as_json:
        print_json(asdict(result))
        return
    would = "would remove" if dry_run else "removed"
    click.echo(
        f"{result.store}: {len(result.kept)} versions stay; {would} {len(result.removed)} versions, "
        f"{result.removed_files} files, {decimal(result.removed_bytes)}"
    )


@bundle.command()
@click.argument("place", required=False)
@click.option("--version", "number", type=click.IntRange(1), default=None, help="Of a store: the version.")
@click.option("--drop-damaged", is_flag=True, help="Of a store: remove damaged content, so that a push sends it again.")
@_env_option
@json_option
def verify(place: str | None, number: int | None, drop_damaged: bool, env: str | None, as_json: bool) -> None:
    """Compare every file of a bundle with its manifest.

    PLACE is a manifest (a path or URL that ends in .json), a folder that was pushed or pulled, or a store of bundles;
    without it, the manifest that local_prep wrote. Exits with 0 if all is well, 1 if a file is missing or altered, 2 if
    they cannot be compared.

    \b
    Examples:
      kedro bundle verify data/05_model_input/prep_manifest.json
      kedro bundle verify data
      kedro bundle verify s3://bucket/study --version 3
    """  # noqa: D301
    try:
        with one_clear_error(kept=_INTERRUPTED if drop_damaged else "Nothing was changed."):
            place, n_files, problems = _verify(place, number, drop_damaged, env)
    except CommandError as error:
        error.show()
        raise SystemExit(2) from error  # 1 says that one is not as it should be
    if as_json:
        report = {"manifest": place, "files": n_files, "problems": [vars(problem) for problem in problems]}
        print_json(report)
    else:
        for problem in problems:
            click.echo(str(problem))
        wrong = len({problem.file for problem in problems})
        click.echo(f"{place}: {n_files} files, " + (f"{wrong} not as the manifest says" if wrong else "all as said"))
    raise SystemExit(1 if problems else 0)


@bundle.command(short_help="Make a key pair to sign versions with.")
@click.argument("private_key", type=_key_type)
def keygen(private_key: Path) -> None:
    """Make a key pair to sign versions with: PRIVATE_KEY, and beside it the public one, ending in .pub.

    Keep the private key to yourself; give the public one to whoever pulls.

    \b
    Example:
      kedro bundle keygen ours.pem
    """  # noqa: D301
    with one_clear_error(kept=_INTERRUPTED):
        from spelling_transfer.storage.bundles.manifest import make_keys

        click.echo(f"{private_key}: keep it secret; {make_keys(private_key)}: for those who pull")


@bundle.command(short_help="Print the JSON schema of a bundle's manifest.")
def schema() -> None:
    """Print the JSON schema of a bundle's manifest, for other programs that read it.

    \b
    Example:
      kedro bundle schema > bundle.schema.json
    """  # noqa: D301
    from spelling_transfer.storage.bundles.manifest import BundleManifest

    print_json(BundleManifest.model_json_schema())


def _verify(
    place: str | None, number: int | None, drop_damaged: bool, env: str | None
) -> tuple[str, int, list[Problem]]:
    from spelling_transfer.storage.bundles.local_files import RECORD
    from spelling_transfer.storage.bundles.stores.base import MANIFESTS
    from spelling_transfer.storage.bundles.verify import read_manifest, verify_bundle, verify_store

    _set_up(env)
    place = place or _manifest_of_project(env)
    if "://" not in place and (Path(place) / RECORD).is_file() and not (Path(place) / MANIFESTS).is_dir():
        place = str(Path(place) / RECORD)
    if place.endswith(".json"):
        if number is not None or drop_damaged:
            raise click.UsageError(f"{place}: is no store of bundles, so leave out --version and --drop-damaged.")
        return place, len(read_manifest(place)["files"]), verify_bundle(place)
    with _bar("reading") as progress:
        manifest, problems = verify_store(_open_place(place, env), number, drop_damaged=drop_damaged, progress=progress)
    return f"{place}, version {manifest.number}", len(manifest.files), problems


def _open_place(url: str, env: str | None, encryption: str = "none", jobs: int = 8) -> BundleStore:
    """Returns the store that a URL names, with the credentials of a Kedro environment."""
    from spelling_transfer.storage import open_store

    _set_up(env)
    return open_store(url, encryption=encryption, jobs=jobs)


def _set_up(env: str | None) -> None:
    """Makes the credentials of a Kedro environment known, where this is a Kedro project."""
    from spelling_transfer.configuration.environment import check_environment
    from spelling_transfer.storage import set_up_stores

    project = find_kedro_project(Path.cwd())
    if project is not None:
        check_environment(Path(project) / "conf", env, "local")
        set_up_stores(Path(project) / "conf", env)


def _datasets_of(folder: Path, env: str | None) -> Callable[[Path], bool]:
    """Returns what tells whether a dataset of the folder's project is at a path, in it, or around it.

    Of a folder that belongs to no project nobody knows what is needed, so everything is.
    """
    from spelling_transfer.storage.bundles.local_files import everything_is_needed

    folder = folder.resolve()
    around = find_kedro_project(folder)
    found = around or find_kedro_project(Path.cwd())
    if found is None:
        return everything_is_needed
    from kedro.framework.startup import bootstrap_project

    project = Path(found)
    bootstrap_project(project)
    entries = [entry for entry in config_loader(project, env)["catalog"].values() if isinstance(entry, dict)]
    datasets = {
        (project / str(entry[key])).absolute(): str(entry.get("type", ""))
        for entry in entries
        for key in ("filepath", "path", "folder")
        if entry.get(key) and "://" not in str(entry[key])
    }
    # What lies in a folder to work in is nobody's dataset: a study keeps what libraries leave there, too.
    whole = [dataset for dataset, kind in datasets.items() if not kind.endswith("WorkFolderDataset")]
    if around is None and not any(dataset.is_relative_to(folder) for dataset in datasets):
        return everything_is_needed

    def is_needed(path: Path) -> bool:
        here = path.parent.resolve() / path.name  # the link itself, not what it leads to
        return any(map(here.is_relative_to, whole)) or any(dataset.is_relative_to(here) for dataset in datasets)

    return is_needed


@contextmanager
def _bar(description: str) -> Iterator[Progress]:
    """Gives what makes a bar once the number of bytes is known; the bar counts kilobytes."""
    from contextlib import ExitStack
    from threading import Lock

    from spelling_transfer.progress import progress_bar

    with ExitStack() as stack:

        def start(n_bytes: int) -> Counter:
            handle = stack.enter_context(progress_bar(f"{description} (kB)", n_bytes // 1000))
            guard, rest = Lock(), [0]

            def count(done: int) -> None:
                with guard:
                    rest[0] += done
                    kilobytes, rest[0] = rest[0] // 1000, rest[0] % 1000
                    handle(kilobytes)

            return count

        yield start


def _manifest_of_project(env: str | None) -> str:
    """Returns where the project's own manifest is, by its catalog.

    Raises:
        BundleError: This is no project, or its catalog has no such dataset.
    """
    from spelling_transfer.storage import BundleError

    if find_kedro_project(Path.cwd()) is None:
        raise BundleError(
            "No manifest is named and this is not a Kedro project: name one, or change to the project's folder."
        )
    project = enter_project()
    path = config_loader(project, env)["catalog"].get(_DEFAULT_DATASET, {}).get("filepath")
    if path is None:
        raise BundleError(f"The catalog has no file for {_DEFAULT_DATASET!r}: name a manifest.")
    return path if "://" in path else str(project / path)
