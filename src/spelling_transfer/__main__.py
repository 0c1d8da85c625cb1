"""``python -m spelling_transfer …`` and ``spelling-transfer …``: Kedro's commands, from any folder of the project.

Kedro reads ``conf/logging.yml`` in the current folder alone, before any code of a project runs; elsewhere its first log
line goes to standard output. Here the project's file is named before Kedro's framework is imported, so that what
``--json`` prints stands alone. The commands are the same as those of ``kedro``. Everywhere ``new`` makes a project.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kedro.utils import find_kedro_project


def main() -> None:
    """Runs ``kedro`` with the logging of the project that the current folder belongs to."""
    project = find_kedro_project(Path.cwd())
    if project is None or sys.argv[1:2] == ["new"]:
        from spelling_transfer.commands.new import outside

        outside(prog_name="spelling-transfer")
    elif (logging := project / "conf" / "logging.yml").is_file():
        os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(logging))
    from kedro.framework.cli import main as kedro

    kedro()


if __name__ == "__main__":
    main()
