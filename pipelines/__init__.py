"""Prompt-based image generation: requests in, events out.

A request is checked, and its pipeline found by name, by the registry (``pipelines.registry``);
the pipeline's ``run`` yields the events of ``pipelines.core.events``. The page, the API and the
command line read that same stream. Importing this package loads no model and touches no file.

For programs and notebooks there are four functions, ``pipelines.facade``:
``from pipelines import draw, compare, rank, classify``.
"""

from typing import TYPE_CHECKING, Any

from pipelines.core.version import __version__

if TYPE_CHECKING:
    from pipelines.facade import classify, compare, draw, rank

__all__ = ["__version__", "classify", "compare", "draw", "rank"]


def __getattr__(name: str) -> Any:
    """A function of the façade, imported when it is first asked for: torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipelines import facade

    return getattr(facade, name)
