"""Storage and transfer of data: dataset classes of the catalog, separate folders per run, bundles.

Datasets are saved atomically, on a disk and on an object store, and each run records where data come from. The public
names are in ``__init__.pyi``, imported lazily, as those for tables need pandas; :mod:`.bundles` implements ``kedro
bundle``.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
