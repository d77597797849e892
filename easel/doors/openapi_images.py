"""What the OpenAPI document says of OpenAI's images API."""

from __future__ import annotations

from typing import Any

from easel.doors.openai_fields import (
    ALLOWED,
    FIELDS,
    MAX_N,
    MAX_PARTIAL,
    Endpoint,
    takers,
)
from easel.doors.openapi_parts import (
    ANY,
    EVENTS,
    FILE,
    PNG,
    TEXT,
    TRUTH,
    WHOLE,
    Schema,
    answer,
    body,
    or_null,
    parameter,
    record,
    ref,
    refusals,
    several,
    whole,
)
from pipelines.core.request import MAX_PROMPT_CHARS, SEED_COUNT
from pipelines.registry import Registry

TAG = "OpenAI's images API"
SAYS: dict[Endpoint, str] = {"generations": "Draw a prompt.",
                             "edits": "Draw a prompt from a picture.",
                             "variations": "Draw variations of a picture."}


def image_schemas() -> dict[str, Schema]:
    """The schemas that the paths name."""
    fault = record({"message": TEXT, "type": TEXT, "param": or_null(TEXT), "code": or_null(TEXT)},
                   ["message", "type", "param", "code"], more=False)
    picture = record({
        "b64_json": {**TEXT, "contentEncoding": "base64", "contentMediaType": PNG}, "url": TEXT,
        "seed": WHOLE, "scores": {"type": "object"},
        "equal_to_seed": {**WHOLE, "description": "That of a better picture with the same pixels."},
    }, ["seed", "scores"])
    return {
        "OpenAIError": record({"error": fault}, ["error"]),
        "OpenAIModel": record({
            "id": TEXT, "object": {"const": "model"}, "created": WHOLE, "owned_by": TEXT,
            "title": TEXT, "sizes": several(TEXT)}, ["id", "object", "created", "owned_by"]),
        "OpenAIImages": record({
            "created": WHOLE, "data": several(picture), "output_format": TEXT, "background": TEXT,
            "size": TEXT, "usage": {"type": "object"}, "notice": TEXT}, ["created", "data"])}


def image_paths(registry: Registry) -> dict[str, Any]:
    """The paths below /v1.

    Args:
        registry: the generators, which are its models.
    """
    error = ref("OpenAIError")
    drawn = {
        "200": answer("The pictures, best first; as events where they are streamed.",
                      ref("OpenAIImages")),
        **refusals(error, _400="What is asked for cannot be drawn.", _404="No generator does that.",
                   _413="The body is too large.", _429="The queue is full, or the asker's share.",
                   _500="It could not be drawn.", _503="Too much is asked at the same time.")}
    drawn["200"]["content"][EVENTS] = {"schema": TEXT}
    paths: dict[str, Any] = {
        "/v1/models": {"get": {
            "tags": [TAG], "summary": "The generators.", "responses": {
                "200": answer("They are all told.", record({
                    "object": {"const": "list"}, "data": several(ref("OpenAIModel"))},
                    ["object", "data"]))}}},
        "/v1/models/{name}": {"get": {
            "tags": [TAG], "summary": "One generator.",
            "parameters": [parameter("name", TEXT, "Its name.")],
            "responses": {"200": answer("It is told.", ref("OpenAIModel")),
                          **refusals(error, _404="There is none of that name.")}}},
        "/v1/images/files/{name}": {"get": {
            "tags": [TAG], "summary": "A picture that was drawn by url.", "security": [],
            "parameters": [parameter("name", TEXT, "As its address has it.")],
            "responses": {"200": answer("The picture.", FILE, PNG),
                          **refusals(error, _404="There is none, or not any more.")}}}}
    for endpoint, says in SAYS.items():
        schema = _asked(endpoint, registry, is_form=False)
        form = _asked(endpoint, registry, is_form=True)
        sent = {"generations": {"json": schema}, "edits": {"json": schema, "form": form},
                "variations": {"form": form}}[endpoint]
        paths[f"/v1/images/{endpoint}"] = {"post": {
            "tags": [TAG], "summary": says, "requestBody": body(**sent), "responses": drawn}}
    return paths


def _asked(endpoint: Endpoint, registry: Registry, is_form: bool) -> Schema:
    names = [pipeline.name for pipeline in takers(registry, endpoint)]
    options = {"anyOf": [ref(f"{name}_options") for name in names]} if names else ANY
    file = FILE if is_form else {"anyOf": [TEXT, record({"image_url": TEXT}, ["image_url"])],
                                 "description": "Base64, or a data URL."}
    known: dict[str, Schema] = {
        "prompt": {**TEXT, "maxLength": MAX_PROMPT_CHARS},
        "model": {**TEXT, **({"enum": names} if names else {})}, "n": whole(1, MAX_N),
        "size": {**TEXT, "description": "Width x height in px, as models lists them, or auto."},
        "seed": whole(0, SEED_COUNT - 1), "stream": TRUTH, "partial_images": whole(0, MAX_PARTIAL),
        "options": options if not is_form else {
            **TEXT, "description": "JSON of them, or each as options[name]."},
        "user": TEXT, "safety_identifier": TEXT, "output_compression": whole(0, 100), "image": file,
        "images": several(file, 1), "mask": file,
        **{name: {**TEXT, "enum": list(values)} for name, values in ALLOWED.items()}}
    required = {"generations": ["prompt"], "edits": ["prompt"], "variations": ["image"]}[endpoint]
    found = record({name: known[name] for name in FIELDS[endpoint]}, required, more=False)
    if is_form:
        found["patternProperties"] = {r"^options\[\w+\]$": TEXT}
    return found
