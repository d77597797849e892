"""Pieces of which the OpenAPI document of the doors is put together.

Source: OpenAPI Specification 3.1.0, whose schemas are those of JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Schema = dict[str, Any]
JSON, FORM, PNG, EVENTS = "application/json", "multipart/form-data", "image/png", \
    "text/event-stream"
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
TRUTH: Schema = {"type": "boolean"}
ANY: Schema = {}
FILE: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}


def record(properties: Mapping[str, Schema], required: Collection[str] = (),
           more: bool = True) -> Schema:
    """The schema of an object.

    Args:
        properties: by name.
        required: names that must be there.
        more: whether there may be others.
    """
    found: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        found["required"] = list(required)
    if not more:
        found["additionalProperties"] = False
    return found


def several(items: Schema, most: int | None = None) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": items, **({} if most is None else {"maxItems": most})}


def whole(low: int, high: int) -> Schema:
    """The schema of a whole number with bounds, both of them included."""
    return {**WHOLE, "minimum": low, "maximum": high}


def or_null(schema: Schema) -> Schema:
    """The schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    """A schema of the components, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def answer(description: str, schema: Schema | None = None, kind: str = JSON) -> Schema:
    """An answer with a body of one kind."""
    return {"description": description, "content": {kind: {"schema": schema or ANY}}}


def refusals(schema: Schema, **said: str) -> dict[str, Schema]:
    """Answers of one form, by status.

    Args:
        schema: of each body.
        said: why, by the status after an underscore, as in ``_404="..."``.
    """
    return {status.lstrip("_"): answer(why, schema) for status, why in said.items()}


def parameter(name: str, schema: Schema, description: str, where: str = "path") -> Schema:
    """A part of an address, or of its query."""
    return {"name": name, "in": where, "required": where == "path", "schema": schema,
            "description": description}


def body(**schemas: Schema) -> Schema:
    """What is sent.

    Args:
        schemas: by kind: ``json`` and ``form``.
    """
    kinds = {"json": JSON, "form": FORM}
    return {"required": True, "content": {kinds[kind]: {"schema": schema}
                                          for kind, schema in schemas.items()}}
