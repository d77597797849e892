"""What the OpenAPI document says of AUTOMATIC1111's API."""

from __future__ import annotations

from typing import Any

from easel.doors.a1111 import NOTHING, ROOT
from easel.doors.a1111_fields import MAX_SIDE_PX, SCRIPT
from easel.doors.openapi_parts import (
    ANY,
    NUMBER,
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
from pipelines.core.request import MAX_IMAGES, SEED_COUNT
from pipelines.registry import Registry

TAG = "AUTOMATIC1111's API"
REFRESH = ("refresh-checkpoints", "refresh-vae", "refresh-loras")


def a1111_schemas() -> dict[str, Schema]:
    """The schemas that the paths name."""
    place = several({"anyOf": [TEXT, WHOLE, {"type": "null"}]})
    return {
        "A1111Error": record({"error": TEXT, "detail": TEXT, "body": TEXT, "errors": TEXT},
                             ["error", "detail", "body", "errors"], more=False),
        "A1111Invalid": record({"detail": several(record(
            {"type": TEXT, "loc": place, "msg": TEXT}, ["type", "loc", "msg"]))}, ["detail"]),
        "A1111Model": record({"title": TEXT, "model_name": TEXT}, ["title", "model_name"]),
        "A1111Images": record({
            "images": several({**TEXT, "contentEncoding": "base64"}), "parameters": record({}),
            "info": {**TEXT, "description": "JSON of what is known of them."}},
            ["images", "parameters", "info"])}


def a1111_paths(registry: Registry) -> dict[str, Any]:
    """The paths below /sdapi/v1.

    Args:
        registry: the generators, which are its checkpoints.
    """
    error, invalid = ref("A1111Error"), ref("A1111Invalid")
    bodies = {**refusals(error, _413="The body is too large.",
                         _503="Too much is asked at the same time."),
              "422": answer("The body cannot be read.", invalid)}
    drawn = {
        "200": answer("The pictures, best first.", ref("A1111Images")), **bodies,
        **refusals(error, _404="There is no such checkpoint, or no picture to start from.",
                   _500="A picture cannot be read, or could not be drawn.")}
    drawn["422"] = answer("A field has a wrong value, or is not to be had of this generator.",
                          {"anyOf": [invalid, error]})
    progress = record({"progress": NUMBER, "eta_relative": NUMBER, "state": record({}),
                       "current_image": or_null(TEXT), "textinfo": or_null(TEXT)},
                      ["progress", "eta_relative", "state", "current_image", "textinfo"])
    nothing = {"200": answer("It is done.")}
    paths: dict[str, Any] = {
        "/txt2img": {"post": _draws("Draw a prompt.", _asked(registry, False), drawn)},
        "/img2img": {"post": _draws("Draw a prompt from a picture.", _asked(registry, True),
                                    drawn)},
        "/options": {
            "get": _asks("The generator that this program chose.", answer("It is told.", record(
                {"sd_model_checkpoint": TEXT}, ["sd_model_checkpoint"]))),
            "post": {**_asks("Choose a generator.", answer("It is chosen.")),
                     "requestBody": body(json=record({"sd_model_checkpoint": _names(registry)})),
                     "responses": {**nothing, **bodies, **refusals(
                         error, _500="There is no such generator.")}}},
        "/sd-models": {"get": _asks("The generators.", answer(
            "They are all told.", several(ref("A1111Model"))))},
        "/progress": {"get": {
            **_asks("How far the runs of whoever asks are.", answer("It is told.", progress)),
            "parameters": [parameter("skip_current_image", TRUTH, "Whether no picture is wanted.",
                                     "query")]}},
        "/png-info": {"post": {
            **_asks("The settings in a picture.", answer("They are told.")),
            "requestBody": body(json=record({"image": _picture()}, ["image"])),
            "responses": {"200": answer("They are told.", record(
                {"info": TEXT, "items": record({}), "parameters": record({})},
                ["info", "items", "parameters"])), **bodies,
                "422": answer("There is no picture.", invalid),
                **refusals(error, _500="The picture cannot be read.")}}},
        **{f"/{name}": {"post": {**_asks("Stop the runs of whoever asks.", nothing["200"]),
                                 "responses": {**nothing, **refusals(
                                     error, _403="It is not known who asks.")}}}
           for name in ("interrupt", "skip")},
        **{f"/{name}": {"post": _asks("Nothing: there is nothing to refresh.", nothing["200"])}
           for name in REFRESH},
        **{f"/{name}": {"get": _asks("What clients ask for at their start.", answer("It is told."))}
           for name in NOTHING}}
    return {f"{ROOT}{path}": methods for path, methods in paths.items()}


def _asks(summary: str, schema: Schema) -> dict[str, Any]:
    return {"tags": [TAG], "summary": summary, "responses": {"200": schema}}


def _draws(summary: str, asked: Schema, drawn: Schema) -> dict[str, Any]:
    return {"tags": [TAG], "summary": summary, "requestBody": body(json=asked), "responses": drawn}


def _names(registry: Registry) -> Schema:
    return {**TEXT, "enum": list(registry.names())}


def _picture() -> Schema:
    return {**TEXT, "description": "Base64, or a data URL."}


def _asked(registry: Registry, is_img2img: bool) -> Schema:
    options = {"anyOf": [ref(f"{name}_options") for name in registry.names()]}
    scripts = record({SCRIPT: record({"args": several(options)}, ["args"])}, more=False)
    known: dict[str, Schema] = {
        "prompt": TEXT, "negative_prompt": TEXT, "seed": whole(-1, SEED_COUNT - 1),
        "batch_size": whole(1, MAX_IMAGES), "n_iter": whole(1, MAX_IMAGES),
        "width": whole(1, MAX_SIDE_PX), "height": whole(1, MAX_SIDE_PX), "steps": WHOLE,
        "cfg_scale": NUMBER, "denoising_strength": {**NUMBER, "minimum": 0, "maximum": 1},
        "send_images": TRUTH, "alwayson_scripts": scripts,
        "override_settings": record({"sd_model_checkpoint": _names(registry)})}
    if is_img2img:
        known |= {"init_images": several(_picture(), 1), "mask": _picture(),
                  "inpainting_mask_invert": whole(0, 1)}
    # Clients send fields of diffusion models by the dozen, which are left out and named.
    return record(known | {"sampler_name": ANY}, ["init_images"] if is_img2img else [])
