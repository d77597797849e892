"""The endpoint that says what the Models tab shows."""

from __future__ import annotations

from typing import Any

from easel.ui.parts.endpoints import OBJECT, add_endpoint, json_value
from pipelines.models.cache.inventory import Models


def add_models_endpoint(inventory: Models) -> None:
    """Add ``/models`` to the page under construction."""
    def models() -> dict[str, Any]:
        return inventory.figures()

    add_endpoint(models, [], [json_value({}, OBJECT, "memory: budgets and bytes used; models: "
                                         "licence, source, sizes, state, last load, hits, misses "
                                         "and evictions of each")],
                 "Every model and where it is, with the model cache's figures.", queue=False)
