"""From files to settings: parameters are merged in layers, with the source of each value.

`ProjectConfigLoader` is Kedro's loader with that merge, `Presets` reads ready settings and a user's own, and the hook
`ConfigurationCheck` refuses unknown settings before a run. `run_defaults` reads ``.kedro.yml``.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
