"""A page as a real browser shows it, opened from a file without a network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed (Debian: apt install chromium)")

REPORT_ERRORS = """<p id="errors"></p><script>
  const tell = (text) => { document.getElementById("errors").textContent += text; };
  addEventListener("error", (event) => tell(event.message));
  addEventListener("securitypolicyviolation", (event) => tell(event.violatedDirective));
</script>"""
"""Put into a page before its own scripts, this element holds whatever goes wrong in it; empty is well."""


def dom_of(page: str, folder: Path) -> str:
    """Opens a page, lets its scripts run, and returns what it has become."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
