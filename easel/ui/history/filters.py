"""Filters of the history as the page, its addresses and programs state them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from easel.history.records import MAX_RATING, Filters, filter_text
from pipelines.core.errors import InvalidRequest

KEYS = ("text", "since_s", "until_s", "pipeline", "model", "min_rating", "favourite", "deleted")


def build_filters(raw: Mapping[str, Any]) -> Filters:
    """Check filters by name; what is left out or None does not filter.

    Raises:
        InvalidRequest: one sentence about the first that is not valid.
    """
    if not isinstance(raw, Mapping):
        raise InvalidRequest('Filters must be an object, as in {"text": "apple"}.', field="filters")
    if strange := sorted(set(map(str, raw)) - set(KEYS)):
        raise InvalidRequest("There is no filter called {!r}; there are: {}.", strange[0][:40],
                             ", ".join(KEYS), field="filters")
    given = {key: value for key, value in raw.items() if value not in (None, "")}
    return Filters(
        text=_text(given, "text"), since_s=_moment(given, "since_s"),
        until_s=_moment(given, "until_s"), pipeline=_text(given, "pipeline"),
        model=_text(given, "model"), min_rating=_stars(given),
        favourite=_flag(given, "favourite"), deleted=_flag(given, "deleted"))


def filters_from_query(query: Mapping[str, str]) -> Filters:
    """Filters from the query of an address.

    Raises:
        InvalidRequest: as ``build_filters``.
    """
    raw: dict[str, Any] = dict(query)
    for key in ("favourite", "deleted"):
        if key in raw:
            raw[key] = raw[key] == "true"
    return build_filters(raw)


def query_of(filters: Filters) -> str:
    """The query of an address that means these filters; empty for none."""
    given = {key: value for key in KEYS if (value := getattr(filters, key))}
    return urlencode({key: "true" if value is True else value for key, value in given.items()})


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key, "")
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()  # no half characters
    return filter_text(key, value)


def _moment(given: Mapping[str, Any], key: str) -> float | None:
    if key not in given:
        return None
    try:
        value = math.nan if isinstance(given[key], bool) else float(given[key])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InvalidRequest("The filter {} must be seconds since 1970.", key, field=key)
    return value


def _stars(given: Mapping[str, Any]) -> int:
    value = given.get("min_rating", 0)
    try:
        whole = int(value)
    except (TypeError, ValueError, OverflowError):
        whole = -1
    if isinstance(value, bool) or not 0 <= whole <= MAX_RATING or float(value) != whole:
        raise InvalidRequest("The filter min_rating must be 0 to {}.", MAX_RATING,
                             field="min_rating")
    return whole


def _flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise InvalidRequest("The filter {} must be true or false.", key, field=key)
    return value
