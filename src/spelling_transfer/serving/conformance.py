"""Whether a deployable may be served: what the deployment check found out about this very folder."""

from __future__ import annotations

import json
from pathlib import Path

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.deployable import read_card

_REMEDY = "Check it with 'kedro run --pipelines=deployment_check', or serve it all the same with --unchecked."


class NotConformingError(SpellingTransferError):
    """Nothing says that a deployable obeys."""


def require_conformance(folder: ModelFolder, conformance: Path) -> None:
    """Makes sure that the deployment check was made with this very folder, and passed.

    Args:
        folder: The deployable.
        conformance: The file that the check wrote.

    Raises:
        NotConformingError: The file is missing or unreadable, is about another folder, or says that it disobeys.
        DeployableError: The folder is no deployable.
    """
    card = read_card(folder)
    try:
        found = json.loads(conformance.read_text(encoding="utf-8"))
        obeys, fingerprint = found["obeys"], found["fingerprint"]
        failed = [str(check["id"]) for check in found["checks"] if not check["passed"]]
    except FileNotFoundError:
        raise NotConformingError(
            f"{conformance}: no such file, so {folder.path} was never checked. {_REMEDY}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotConformingError(f"{conformance}: not what a deployment check writes ({error!r}). {_REMEDY}") from error
    if fingerprint != card.fingerprint:
        raise NotConformingError(
            f"{conformance}: is about the deployable {fingerprint}, but {folder.path} is {card.fingerprint}. {_REMEDY}"
        )
    if obeys is not True or failed:
        named = f" ({', '.join(failed[:3])}{' and more' if len(failed) > 3 else ''})" if failed else ""
        raise NotConformingError(f"{conformance}: {folder.path} failed {len(failed)} checks{named}. {_REMEDY}")
