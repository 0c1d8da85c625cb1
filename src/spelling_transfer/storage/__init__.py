"""Where data lie and how they travel: dataset classes of the catalog, runs kept apart, bundles.

What a dataset saves is there whole or not at all, on a disk and on an object store, and each run records where data
come from. Others use the names in ``__init__.pyi`` alone; :mod:`.bundles` has what ``kedro bundle`` does. Each is
imported when it is asked for: those for tables bring pandas along, which other modules can do without.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
