"""From files to settings: one merge of parameters, in layers that know where each value was set.

`ProjectConfigLoader` is Kedro's loader with that merge, `Presets` reads ready settings and a user's own, and the hook
`ConfigurationCheck` refuses what nothing understands before a run. `run_defaults` reads ``.kedro.yml``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.configuration.documents import ConfigurationError, read_file, write_file
    from spelling_transfer.configuration.hook import ConfigurationCheck
    from spelling_transfer.configuration.loader import ProjectConfigLoader
    from spelling_transfer.configuration.presets import Presets, save_experiment

__all__ = [
    "ConfigurationCheck",
    "ConfigurationError",
    "Presets",
    "ProjectConfigLoader",
    "read_file",
    "save_experiment",
    "write_file",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "spelling_transfer.configuration.documents": ["ConfigurationError", "read_file", "write_file"],
        "spelling_transfer.configuration.hook": ["ConfigurationCheck"],
        "spelling_transfer.configuration.loader": ["ProjectConfigLoader"],
        "spelling_transfer.configuration.presets": ["Presets", "save_experiment"],
    },
)
