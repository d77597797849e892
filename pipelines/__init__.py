"""Prompt-based image generation: requests in, events out.

A request is checked, and its pipeline found by name, by the registry (``pipelines.registry``);
the pipeline's ``run`` yields the events of ``pipelines.core.events``. The page, the API and the
command line read that same stream. Importing this package loads no model and touches no file.
"""

from pipelines.core.version import __version__

__all__ = ["__version__"]
