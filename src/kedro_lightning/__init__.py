"""Kedro nodes on rented machines of Lightning AI: a plugin for any project.

A node whose tag is in ``compute.yml`` runs as a job; everything else runs locally. Use :class:`StudioRunner` as the
runner of a project, ``kedro compute`` for plans, jobs, Studios and costs, and :class:`CommandJobs` for commands that
are jobs of their own. Without ``compute.yml`` nothing is rented.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
