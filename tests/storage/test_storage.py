"""The public names of the package."""

import subprocess
import sys

from spelling_transfer import storage


def test_every_public_name_can_be_had():
    assert all(getattr(storage, name).__name__ == name for name in storage.__all__)


def test_a_part_that_needs_no_tables_does_not_import_pandas():
    script = "import sys, spelling_transfer.storage.errors; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
