"""``python -m spelling_transfer.training``: training without Kedro."""

from __future__ import annotations

import sys

from spelling_transfer.training.cli import main

if __name__ == "__main__":
    sys.exit(main())
