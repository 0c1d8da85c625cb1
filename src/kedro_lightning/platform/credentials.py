"""Whether somebody is signed in, found out without the SDK: with a browser at hand, the SDK waits for a login."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import NotSignedInError

KEY_VARIABLE = "LIGHTNING_API_KEY"
TEAMSPACE_VARIABLE = "LIGHTNING_TEAMSPACE"


def credentials_file() -> Path:
    """Returns the file in which ``lightning login`` keeps a key."""
    return Path(os.environ.get("LIGHTNING_CREDENTIAL_PATH") or Path.home() / ".lightning" / "credentials.json")


def signed_in() -> bool:
    """Returns whether there is a key, in the environment or in the file; whether it is valid only a request tells."""
    if os.environ.get(KEY_VARIABLE) or os.environ.get("LIGHTNING_AUTH_TOKEN"):
        return True
    try:
        content = json.loads(credentials_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and bool(content.get("api_key") or content.get("auth_token"))


def require_credentials() -> None:
    """Makes sure that there is a key.

    Raises:
        NotSignedInError: There is none.
    """
    if not signed_in():
        raise NotSignedInError(
            f"Not signed in to Lightning AI: {KEY_VARIABLE} is not set and {credentials_file()} has no key. "
            "Run 'lightning login', or set LIGHTNING_USER_ID and LIGHTNING_API_KEY."
        )
