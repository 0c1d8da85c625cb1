"""Rented machines: processes with a folder and an environment of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def prepare(folder, files):
    """Puts files into a folder."""
    for place, content in files:
        (Path(folder) / place).parent.mkdir(parents=True, exist_ok=True)
        (Path(folder) / place).write_bytes(content)


def with_python(env):
    return {**env, "PATH": str(Path(sys.executable).parent) + os.pathsep + env.get("PATH", "")}


def start(command, folder, log, env):
    """Starts the command of a job in a session of its own."""
    with Path(log).open("wb") as out:
        return subprocess.Popen(
            ["bash", "-ec", command], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=with_python(env), cwd=folder, start_new_session=True,
        )  # fmt: skip


def run(command, folder, env):
    """Runs a command in a Studio; returns what it printed and its exit code."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, cwd=folder, env=with_python(env)
    )
    return done.stdout + done.stderr, done.returncode


def kill(job):
    """Ends the processes of a job: its session, since GNU timeout makes a process group of its own."""
    process = job.get("_proc")
    if process is None:
        return
    for how in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + 5
        while (left := session_of(process.pid)) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            process.poll()
            time.sleep(0.02)
    process.wait(5)


def session_of(leader):
    """The processes of a session, the leader first, so that its script does not go on meanwhile."""
    found = []
    listed = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    for pid, state, *_ in map(str.split, listed.splitlines()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(pid)) == leader and not state.startswith("Z"):
                found.append(int(pid))
    return sorted(found, key=lambda pid: pid != leader)
