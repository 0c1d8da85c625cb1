"""From files to settings: one merge of parameters, in layers that know where each value was set.

`ProjectConfigLoader` is Kedro's loader with that merge, `Presets` reads ready settings and a user's own, and the hook
`ConfigurationCheck` refuses what nothing understands before a run. `run_defaults` reads ``.kedro.yml``.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
