"""The shell script of a job: unpack the code, reach the data, run the nodes, never longer than is allowed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from .code import Source
from .config import conf_source
from .jobs.work import EXIT_MARK
from .packages import PACKAGES_FILE
from .variables import MACHINES_VARIABLE

STUDIO_FOLDER = "/teamspace/studios/this_studio"
MONITOR = ".kedro-compute/monitor.py"
"""Among the files of a Studio that was set up with monitoring."""

_KILL_AFTER_SECONDS = 60


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
        machines: How many machines do this together; the platform gives each its number and the address of the first.
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
    local = shlex.quote(f"{conf_source()}/local")
    lines += ['cd "$W"', f"mkdir -p {local}"]  # credentials stay at home, but Kedro wants the folder
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
