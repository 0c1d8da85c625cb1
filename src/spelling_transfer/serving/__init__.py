"""The endpoint of the trained model, in non-thinking mode only, and its check before it ships.

`deployable` is the folder that is served, `protocol` what is said to the endpoint and `responses` what it says.
`engine` and `batch` answer without HTTP, `vllm_engine` does so with vLLM; `worker` is the process around them, `link`
the front's end of its pipe, `messages` what goes through it. `front` has the routes, `guard` what stands before them,
`outcome` how each request ended; `server` is the process of these, and `process` starts and ends it. `client` asks;
`checks` and `deployment` find out whether the endpoint obeys and how fast it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.serving.client import EndpointClient, LoadSettings
    from spelling_transfer.serving.deployable import read_card, require_conformance, write_deployable
    from spelling_transfer.serving.deployment import check_deployable, probe_merged, require_no_thoughts
    from spelling_transfer.serving.process import running_endpoint
    from spelling_transfer.serving.settings import (
        DeploymentCheckSettings,
        EndpointSettings,
        ListenSettings,
        ServedSettings,
    )

__all__ = [
    "DeploymentCheckSettings",
    "EndpointClient",
    "EndpointSettings",
    "ListenSettings",
    "LoadSettings",
    "ServedSettings",
    "check_deployable",
    "probe_merged",
    "read_card",
    "require_conformance",
    "require_no_thoughts",
    "running_endpoint",
    "write_deployable",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "spelling_transfer.serving.client": ["EndpointClient", "LoadSettings"],
        "spelling_transfer.serving.deployable": ["read_card", "require_conformance", "write_deployable"],
        "spelling_transfer.serving.deployment": ["check_deployable", "probe_merged", "require_no_thoughts"],
        "spelling_transfer.serving.process": ["running_endpoint"],
        "spelling_transfer.serving.settings": [
            "DeploymentCheckSettings",
            "EndpointSettings",
            "ListenSettings",
            "ServedSettings",
        ],
    },
)
