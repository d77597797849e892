"""The OpenAPI document of what programs may ask for by plain HTTP: the doors that are open, and
Easel's own addresses.

The page's functions have a document of their own, which Gradio writes.

Source: OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from easel.doors.openapi_a1111 import a1111_paths, a1111_schemas
from easel.doors.openapi_images import image_paths, image_schemas
from easel.doors.openapi_parts import (
    FILE,
    PNG,
    TEXT,
    TRUTH,
    WHOLE,
    Schema,
    answer,
    parameter,
    record,
    ref,
    refusals,
)
from easel.guard.visitors import COOKIE, HEADER
from easel.settings import Settings
from pipelines.registry import Registry

ADDRESS = "/openapi.json"
TAG = "Easel's own"
FILTERS: Mapping[str, Schema] = {
    "text": TEXT, "pipeline": TEXT, "model": TEXT, "since_s": {"type": "number"},
    "until_s": {"type": "number"}, "min_rating": WHOLE, "favourite": TRUTH, "deleted": TRUTH}


def openapi_route(registry: Registry, settings: Settings, keeps: bool) -> Route:
    """The address of the document, to go before the page's own.

    Args:
        registry: the generators, as they are when the document is asked for.
        settings: which doors are open, and whether they need keys.
        keeps: whether there is a history.
    """
    def show(request: Request) -> Response:
        root = str(request.scope.get("root_path", "")).rstrip("/")
        return JSONResponse({**describe(registry, settings, keeps), "servers": [{"url": root or "/"}
                                                                                ]},
                            headers={"Cache-Control": "no-store"})

    return Route(ADDRESS, show, methods=["GET"])


def describe(registry: Registry, settings: Settings, keeps: bool) -> dict[str, Any]:
    """The document without its servers; see ``openapi_route``."""
    doors, keyed = settings.open_doors(), bool(settings.keys())
    paths, schemas = _own_paths(settings.metrics, keeps), {
        "Detail": record({"detail": TEXT}, ["detail"])}
    schemes: dict[str, Any] = {
        "visitor": {"type": "apiKey", "in": "header", "name": HEADER},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE}}
    if {"openai", "a1111"} & set(doors):
        schemas |= _options(registry)
    if "openai" in doors:
        schemas |= image_schemas()
        paths |= _keyed(image_paths(registry), keyed, "bearer", ref("OpenAIError"))
        schemes["bearer"] = {"type": "http", "scheme": "bearer"}
    if "a1111" in doors:
        schemas |= a1111_schemas()
        paths |= _keyed(a1111_paths(registry), keyed, "basic", ref("Detail"))
        schemes["basic"] = {"type": "http", "scheme": "basic"}
    return {"openapi": "3.1.0",
            "info": {"title": "Easel", "version": "1",
                     "description": "Pictures from prompts, as other programs ask for them."},
            "externalDocs": {"url": "gradio_api/openapi.json",
                             "description": "The functions of the page."},
            "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": schemes}}


def _options(registry: Registry) -> dict[str, Schema]:
    """The schema of each generator's options, as the page's forms are made of them."""
    found = {}
    for pipeline in registry:
        schema = pipeline.Options.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[f"{pipeline.name}_options"] = schema
    return found


def _keyed(paths: dict[str, Any], keyed: bool, scheme: str, error: Schema) -> dict[str, Any]:
    """Paths with what a missing key is answered, where one is needed."""
    if keyed:
        for operation in (each for methods in paths.values() for each in methods.values()):
            if operation.setdefault("security", [{scheme: []}]):
                operation["responses"] |= refusals(error, _401="There is no key that fits.")
    return paths


def _own_paths(metrics: bool, keeps: bool) -> dict[str, Any]:
    detail, mine = ref("Detail"), [{"visitor": []}, {"cookie": []}]
    state = record({"status": {"enum": ["ok", "closing"]}, "running": WHOLE, "waiting": WHOLE,
                    "device": TEXT}, ["status", "running", "waiting", "device"])
    gone = {"anyOf": [state, record({"status": {"enum": ["no cluster"]}, "error": TEXT},
                                    ["status", "error"])]}
    unknown = refusals(detail, _401="It is not said who asks.")
    missing = refusals(detail, _404="There is none of that name, or it is somebody else's.")
    picture = {"tags": [TAG], "security": mine, "parameters": [
        parameter("picture_id", TEXT, "As the history lists it.")]}
    paths: dict[str, Any] = {
        "/healthz": {"get": {"tags": [TAG], "summary": "Whether the server works.", "responses": {
            "200": answer("It does.", state),
            "503": answer("It is ending, or draws on a cluster that does not answer.", gone)}}},
        "/presets/export": {"get": {
            "tags": [TAG], "summary": "One's own presets, as a file.", "security": mine,
            "responses": {"200": answer("They are here.", TEXT, "application/toml"),
                          **refusals(detail, _400="They cannot be read."), **unknown}}},
        "/wildcards/export": {"get": {
            "tags": [TAG], "summary": "One's own lists of words, as a file.", "security": mine,
            "responses": {"200": answer("They are here.", TEXT, "application/toml"),
                          **refusals(detail, _400="They cannot be read."), **unknown}}}}
    if metrics:
        paths["/metrics"] = {"get": {
            "tags": [TAG], "summary": "Figures in Prometheus' text format.",
            "responses": {"200": answer("They are here.", TEXT, "text/plain"),
                          "503": answer("A cluster that draws does not answer.", TEXT,
                                        "text/plain")}}}
    if keeps:
        for name, kind in (("picture", PNG), ("thumbnail", "image/webp")):
            paths[f"/history/{{picture_id}}/{name}"] = {"get": {
                **picture, "summary": f"The {name} of a kept picture.",
                "responses": {"200": answer("It is here.", FILE, kind), **unknown, **missing}}}
        paths["/history/export"] = {"get": {
            "tags": [TAG], "summary": "One's own pictures as a zip.", "security": mine,
            "parameters": [parameter(name, schema, "As the history's filters have it.", "query")
                           for name, schema in FILTERS.items()],
            "responses": {"200": answer("They are here.", FILE, "application/zip"), **unknown,
                          **missing, **refusals(detail, _400="A filter is wrong.")}}}
    return paths
