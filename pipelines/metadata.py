"""Draft"""
from __future__ import annotations
from typing import Any, Mapping
from pipelines.request import Request
def provenance(request: Request, weights: Mapping[str, str | None]) -> dict[str, Any]:
    return {"request": request.model_dump(exclude={"init_image"}), "weights": dict(weights)}
