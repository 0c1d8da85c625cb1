"""The connection: who we are, which teamspace, and the SDK's client without its repeats."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NotSignedInError, PreflightError
from ..secret_values import clean_variables
from .calls import Calls

KEY_VARIABLE = "LIGHTNING_API_KEY"
TEAMSPACE_VARIABLE = "LIGHTNING_TEAMSPACE"


@dataclass(frozen=True)
class Teamspace:
    """A teamspace of the platform; ``balance_usd`` is its credit, where the platform says."""

    id: str
    name: str
    owner_id: str
    balance_usd: float | None


class Connection:
    """A client that never repeats a request by itself, and the teamspace that is used.

    Each request raises a `PlatformError` where the platform refuses or does not answer; there is never an empty answer
    in its place.
    """

    def __init__(self, client: Any, calls: Calls, teamspace: Teamspace) -> None:
        self.client, self.calls, self.teamspace = client, calls, teamspace

    def read(self, what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Makes a request about the teamspace that changes nothing, or does no more when it is repeated."""
        return self.calls.read(what, function, *arguments, **self._with(named))

    def once(self, what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Makes a request about the teamspace a single time, as one must that creates something."""
        return self.calls.once(what, function, *arguments, **self._with(named))

    def pages(self, what: str, function: Callable[..., Any], **named: Any) -> Iterator[Any]:
        """Yields the answers to a request that lists something, page by page."""
        token = ""
        while True:
            answer = self.read(what, function, **named, **({"page_token": token} if token else {}))
            yield answer
            token = str(getattr(answer, "next_page_token", "") or "")
            if not token:
                return

    def _with(self, named: dict[str, Any]) -> dict[str, Any]:
        """Adds the teamspace, and a limit to the wait for an answer, which generated methods have not."""
        return {"project_id": self.teamspace.id, **named, "_request_timeout": self.calls.timeout_seconds}

    def sdk(self, kind: type[Any]) -> Any:
        """Returns one of the SDK's API classes that asks through our client.

        Private, of lightning-sdk: these classes take no client, and theirs repeats requests that create things, so
        ``_client`` is replaced. ``test_sdk.py`` notices when the attribute goes.
        """
        api = kind()
        api._client = self.client
        return api


def connect(teamspace: str | None, calls: Calls | None = None) -> Connection:
    """Signs in and looks up the teamspace.

    Args:
        teamspace: ``owner/name`` or ``name``; ``None`` for the environment variable.
        calls: Makes the requests; a new one if left out.

    Raises:
        NotSignedInError: There is no key, or the platform does not take it.
        PreflightError: The teamspace is not set, or is not one of ours.
        PlatformError: The platform does not answer.
    """
    if not signed_in():
        raise NotSignedInError(
            f"Not signed in to Lightning AI: {KEY_VARIABLE} is not set and {credentials_file()} has no key. "
            "Run 'lightning login', or set LIGHTNING_USER_ID and LIGHTNING_API_KEY."
        )
    wanted = teamspace or os.environ.get(TEAMSPACE_VARIABLE)
    if not wanted:
        raise PreflightError(
            f"compute: teamspace: not set. Name it as owner/teamspace in compute.yml, or set {TEAMSPACE_VARIABLE}."
        )
    calls = calls or Calls()
    client = _make_client()
    answer = calls.read("list teamspaces", client.projects_service_list_memberships, _request_timeout=(10, 30))
    owner, _, name = wanted.rpartition("/")
    found = [entry for entry in answer.memberships or [] if name in (entry.name, entry.display_name)]
    if owner:
        found = [entry for entry in found if owner == _owner(client, calls, entry)]
    if len(found) != 1:
        known = sorted(str(entry.name) for entry in answer.memberships or [])
        problem = "is not unique; write owner/teamspace" if found else "is not one of yours"
        raise PreflightError(
            f"compute: teamspace: {wanted!r} {problem}. Yours: {', '.join(known) or 'none'} "
            f"(compute.yml or {TEAMSPACE_VARIABLE})."
        )
    entry = found[0]
    balance = getattr(entry, "balance", None)
    usd = None if balance is None else float(balance)
    return Connection(client, calls, Teamspace(str(entry.project_id), str(entry.name), str(entry.owner_id), usd))


def credentials_file() -> Path:
    """Returns the file in which ``lightning login`` keeps a key."""
    return Path(os.environ.get("LIGHTNING_CREDENTIAL_PATH") or Path.home() / ".lightning" / "credentials.json")


def signed_in() -> bool:
    """Returns whether there is a key, in the environment or in the file; whether it is valid only a request can say.

    This is found out without the SDK: with a browser at hand, the SDK waits for a login.
    """
    if os.environ.get(KEY_VARIABLE) or os.environ.get("LIGHTNING_AUTH_TOKEN"):
        return True
    try:
        content = json.loads(credentials_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and bool(content.get("api_key") or content.get("auth_token"))


def import_sdk() -> None:
    """Imports ``lightning_sdk``, once and quietly; half a second and 70 MB, so only where it is needed."""
    if "lightning_sdk" in sys.modules:
        return
    clean_variables(KEY_VARIABLE, "LIGHTNING_USER_ID", "LIGHTNING_AUTH_TOKEN")
    # Read by the SDK when it is imported; without it the import asks a package index, and waits for the answer.
    os.environ.setdefault("LIGHTNING_DISABLE_VERSION_CHECK", "1")
    with contextlib.ExitStack() as stack:
        try:
            sys.stderr.fileno()
        except (OSError, AttributeError, ValueError):
            # The import looks whether standard error is a terminal; in a notebook or a test it may be no file at all.
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(Path(os.devnull).open("w"))))
        import lightning_sdk  # noqa: F401


def _make_client() -> Any:
    import_sdk()
    from lightning_sdk.lightning_cloud import env
    from lightning_sdk.lightning_cloud.rest_client import LightningClient

    if url := os.environ.get("LIGHTNING_CLOUD_URL"):
        env.LIGHTNING_CLOUD_URL = url  # the SDK keeps the value it found when it was imported
    return LightningClient(retry=False)


def _owner(client: Any, calls: Calls, entry: Any) -> str:
    what, timeout = "look up the owner of a teamspace", {"_request_timeout": calls.timeout_seconds}
    if str(entry.owner_type).lower().endswith("organization"):
        answer = calls.read(what, client.organizations_service_get_organization, id=entry.owner_id, **timeout)
        return str(answer.name)
    answer = calls.read(what, client.user_service_search_users, query=entry.owner_id, **timeout)
    return str(answer.users[0].username) if answer.users else ""
