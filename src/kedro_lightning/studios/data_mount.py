"""The data of a Studio: mounted folders can be written, stores that are reached by key have their key."""

from __future__ import annotations

import shlex

from .plugin import StudioContext

_KEY_NAMES = {"s3://": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


class DataMountPlugin:
    """Makes the mounted folders and looks whether they can be used.

    A connection to a bucket cannot be made from the SDK: mount one on the platform's pages, or keep the key of the
    bucket in the platform's store of secrets.
    """

    def install(self, context: StudioContext) -> None:
        """Makes the folders."""
        for place in context.config.data.mounts.values():
            context.run(f"mkdir -p {shlex.quote(place)}")

    def configure(self, context: StudioContext) -> None:
        """Has nothing to set: each job links the folders into its copy of the project."""

    def check(self, context: StudioContext) -> list[str]:
        """Writes and removes a file in each folder, and looks for the names of keys."""
        problems = []
        for name, place in context.config.data.mounts.items():
            probe = shlex.quote(f"{place}/.kedro-compute-probe-{context.task}")
            if not context.succeeds(f"touch {probe} && rm {probe}"):
                problems.append(f"data.mounts.{name}: {place} cannot be written there")
        secrets = set(context.config.secrets)
        for names in _KEY_NAMES.values():
            declared = secrets & set(names)
            if declared and declared != set(names):
                missing = ", ".join(sorted(set(names) - declared))
                problems.append(f"secrets: {', '.join(sorted(declared))} without {missing}")
        return problems
