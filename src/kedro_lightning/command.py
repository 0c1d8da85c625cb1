"""The shell script of a job: unpack the code, reach the data, run the nodes, never longer than is allowed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import MACHINES_VARIABLE
from .code import PACKAGES_FILE, Bundle
from .hooks import PARAMS_VARIABLE
from .jobs.work import EXIT_MARK

STUDIO_FOLDER = "/teamspace/studios/this_studio"
MONITOR = ".kedro-compute/monitor.py"
"""Among the files of a Studio that was set up with monitoring."""

_KILL_AFTER_SECONDS = 60


@dataclass(frozen=True)
class Source:
    """Where the rented machine finds the code: a bundle among its Studio's files, or a repository and a commit.

    ``packages`` is what a bundle holds as ``PACKAGES_FILE`` and a commit does not: the versions of the run.
    """

    bundle: Bundle | None = None
    repository: str = ""
    commit: str = ""
    packages: str = ""


@dataclass(frozen=True)
class NodeRun:
    """The part of a run that a job does."""

    run_id: str
    nodes: tuple[str, ...]
    env: str | None
    params: Mapping[str, object]
    runner: str


def job_script(
    work: Sequence[str],
    source: Source,
    mounts: Mapping[str, str],
    limit_seconds: int,
    folder: str,
    machines: int = 1,
) -> str:
    """Returns a script that does one command in a fresh copy of the project and prints its exit code last.

    The platform's own limit of a job is none, so the command is put under ``timeout``.

    Args:
        work: The command and its arguments.
        source: Where the code is.
        mounts: Folder of the project -> place on the machine.
        limit_seconds: After this the command is ended.
        folder: Name of the working folder.
        machines: How many machines do this together; each has to be told its number and the address of the first.
    """
    lines = ["set -eu", f"S={STUDIO_FOLDER}", '[ -d "$S" ] || S="$PWD"', f'W="$HOME/.kedro-compute/work/{folder}"']
    if source.bundle is not None:
        place = shlex.quote(source.bundle.place)
        lines += [
            'mkdir -p "$W"',
            f'echo "{source.bundle.sha256}  $S/"{place} | sha256sum --check --quiet',
            f'tar -xzf "$S/"{place} -C "$W"',
        ]
    else:
        repository, commit = shlex.quote(source.repository), shlex.quote(source.commit)
        lines += [
            f'[ -d "$W" ] || git clone --quiet {repository} "$W"',
            f'git -C "$W" checkout --quiet {commit}',
            f'mkdir -p "$W/{Path(PACKAGES_FILE).parent}"',
            f'printf %s {shlex.quote(source.packages)} > "$W/{PACKAGES_FILE}"',
        ]
    lines += ['cd "$W"', "mkdir -p conf/local"]  # credentials stay at home, but Kedro wants the folder
    lines.append('export PYTHONPATH="$W/src${PYTHONPATH:+:$PYTHONPATH}"')  # the code of this run, not what is installed
    for name, place in mounts.items():
        lines += [
            f'mkdir -p {shlex.quote(place)} "$(dirname {shlex.quote(name)})"',
            f"[ -e {shlex.quote(name)} ] || ln -s {shlex.quote(place)} {shlex.quote(name)}",
        ]
    if machines > 1:
        lines += [
            ': "${NODE_RANK:?is not set by the platform}" "${MASTER_ADDR:?is not set by the platform}"',
            f'export {MACHINES_VARIABLE}={machines} LOCAL_RANK=0 MASTER_PORT="${{MASTER_PORT:-29500}}"',
        ]
    command = " ".join(shlex.quote(part) for part in work)
    lines += [
        'A="${LIGHTNING_ARTIFACTS_DIR:-$W/.kedro-compute}"',
        f'M="$S/{MONITOR}"',
        'if [ -f "$M" ]; then python "$M" "$A/machine.csv" & M=$!; else M=; fi',
        "code=0",
        f"timeout --kill-after={_KILL_AFTER_SECONDS} {limit_seconds} {command} || code=$?",
        'if [ -n "$M" ]; then kill "$M" 2>/dev/null && wait "$M" || true; fi',
        f'echo "{EXIT_MARK}$code"',
        "exit $code",
    ]
    return "\n".join(lines)


def kedro_run(run: NodeRun) -> list[str]:
    """Returns the ``kedro run`` of a part of a run; parameters that ``--params`` cannot hold are in no argument."""
    command = ["kedro", "run", f"--nodes={','.join(run.nodes)}", f"--runner={run.runner}"]
    if run.env:
        command.append(f"--env={run.env}")
    if run.params and not params_variable(run.params):
        command.append(f"--params={','.join(parameter_list(run.params))}")
    return command


def params_variable(params: Mapping[str, object]) -> dict[str, str]:
    """Returns the variable that carries parameters which ``--params`` cannot hold, such as lists; else nothing.

    Raises:
        ValueError: A value cannot be written down at all; the message is its name.
    """
    try:
        parameter_list(params)
    except ValueError as error:
        try:
            text = json.dumps(params)
            if json.loads(text) == params:
                return {PARAMS_VARIABLE: text}
        except (TypeError, ValueError):
            pass
        raise error from None
    return {}


def parameter_list(params: Mapping[str, object], prefix: str = "") -> list[str]:
    """Returns parameters as ``--params`` takes them.

    Raises:
        ValueError: A value cannot be written so that it would be read back the same.
    """
    found: list[str] = []
    for name, value in params.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found += parameter_list(value, f"{path}.")
            continue
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        if isinstance(value, list | tuple) or "," in text or "\n" in text:
            raise ValueError(path)
        found.append(f"{path}={text}")
    return found
