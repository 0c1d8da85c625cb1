"""Non-thinking mode as a guarantee, in any Kedro project.

Anything in a project that would make the model think is refused, with rule, place and remedy. Named in a project's
``HOOKS``, the hook stops a run before its first node; ``kedro policy`` checks files and endpoints. The rules are in
``conf/base/policy.yml``; a project without that file gets those of ``default_policy.yml``. The public API is in
``__init__.pyi``: the rules, the masks at the token, the scanner, the probe.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
