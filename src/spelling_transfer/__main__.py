"""``python -m spelling_transfer …`` and ``spelling-transfer …``: Kedro's commands, from any folder of the project.

Kedro reads ``conf/logging.yml`` in the current folder alone, before any code of a project runs; elsewhere its first log
line goes to standard output. Here the project's file is named before Kedro is imported, so that what ``--json`` prints
stands alone. The commands are the same as those of ``kedro``.
"""

from __future__ import annotations

import os
from pathlib import Path


def main() -> None:
    """Runs ``kedro`` with the logging of the project that the current folder belongs to."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        logging = folder / "conf" / "logging.yml"
        if logging.is_file() and (folder / "pyproject.toml").is_file():
            os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(logging))
            break
    from kedro.framework.cli import main as kedro

    kedro()


if __name__ == "__main__":
    main()
