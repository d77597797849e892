"""Prompt-based image generation: requests in, events out.

A request is validated (``pipelines.core.request``), a pipeline is found by name
(``pipelines.registry``) and its ``run`` yields the events of ``pipelines.core.events``. The page,
the API and the command line read that same stream. Importing this package loads no model and
touches no file.
"""

from pipelines.core.version import __version__

__all__ = ["__version__"]
